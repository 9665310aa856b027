"""The program that newcomers have: the script's data is uploaded with boto3, and a PyTorch estimator fits. Nothing in it knows
of the server; bucket and role are filled in, and the imports."""

import os

import boto3
from sagemaker.pytorch import PyTorch

bucket, prefix = "document-data", "rows"
role = os.environ["SAGEMAKER_ROLE"]

s3 = boto3.client("s3")
for part in range(3):
    name = f"/tmp/rows-{os.getpid()}-{part}.csv"
    with open(name, "w") as file:
        file.writelines(f"{x},{2 * x + 1}\n" for x in range(part, 30, 3))
    s3.upload_file(name, bucket, f"{prefix}/rows-{part}.csv")
    os.remove(name)

estimator = PyTorch(
    entry_point="train.py",
    source_dir="code",
    role=role,
    framework_version="1.13",
    py_version="py39",
    instance_count=1,
    instance_type="ml.p3.2xlarge",
    hyperparameters={"epochs": 10, "batch-size": 32, "learning-rate": 0.001},
    input_mode="File",
)
estimator.fit({"train": f"s3://{bucket}/{prefix}/"})
print("job:", estimator.latest_training_job.name)
print("model:", estimator.model_data)
