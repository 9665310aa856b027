"""From an estimator to its endpoint and back, with nothing but the SDK's defaults: fit, deploy, predict, update, delete_endpoint."""

import json
import os

import numpy as np
from sagemaker.sklearn import SKLearn

estimator = SKLearn(
    entry_point="classify.py",
    source_dir="code",
    role=os.environ["SAGEMAKER_ROLE"],
    framework_version="1.2-1",
    instance_type="ml.t3.medium",
)
estimator.fit()
predictor = estimator.deploy(initial_instance_count=1, instance_type="ml.t2.medium")
print()
said = predictor.predict(np.array([[0.1, 0.2], [7.5, 8.5]]))
predictor.update_endpoint(initial_instance_count=2, instance_type="ml.t2.medium")
again = predictor.predict(np.array([[0.1, 0.2], [7.5, 8.5]]))
described = predictor.sagemaker_session.describe_endpoint(predictor.endpoint_name)
instances = described["ProductionVariants"][0]["CurrentInstanceCount"]
print()
print(json.dumps({"endpoint": predictor.endpoint_name, "said": said.tolist(), "again": again.tolist(), "instances": instances}))
predictor.delete_model()
predictor.delete_endpoint()
