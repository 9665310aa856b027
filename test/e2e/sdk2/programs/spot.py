"""A program of the guide to managed spot training: fit() waits for the job through an interruption, and tells what spot has saved."""

import os

from sagemaker.pytorch import PyTorch

bucket = "document-data"
estimator = PyTorch(
    entry_point="../../spot/lives.py",
    role=os.environ["SAGEMAKER_ROLE"],
    framework_version="1.13",
    py_version="py39",
    instance_count=1,
    instance_type="ml.p3.2xlarge",
    hyperparameters={"lives": 2},
    use_spot_instances=True,
    max_run=300,
    max_wait=900,
    max_retry_attempts=2,
    checkpoint_s3_uri=f"s3://{bucket}/spot/checkpoints",
    checkpoint_local_path="/opt/ml/checkpoints",
)
estimator.fit(job_name="spot-fit")
print("model:", estimator.model_data)
