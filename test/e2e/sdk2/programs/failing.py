"""A user whose script fails: fit() waits, shows the log, and raises."""

import os

from sagemaker.exceptions import UnexpectedStatusException
from sagemaker.sklearn import SKLearn

estimator = SKLearn(
    entry_point="fail.py",
    source_dir="code",
    role=os.environ["SAGEMAKER_ROLE"],
    framework_version="1.2-1",
    instance_count=1,
    instance_type="ml.t3.medium",
    hyperparameters={"rate": -1},
)
try:
    estimator.fit(logs="All")
except UnexpectedStatusException as error:
    print("status:", error.actual_status)
    print("error:", error)
