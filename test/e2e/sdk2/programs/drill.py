"""Takes the capacity of spot.py's job away as soon as the job works, while spot.py waits in fit()."""

import pathlib
import sys
import time

import boto3

sys.path.append(str(pathlib.Path(__file__).parents[2] / "spot"))
from calls import interrupt  # noqa: E402

logs = boto3.client("logs")
deadline = time.monotonic() + 240
while time.monotonic() < deadline:
    try:
        events = logs.filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix="spot-fit/")["events"]
    except logs.exceptions.ResourceNotFoundException:
        events = []
    if any(event["message"] == "life 1 works" for event in events):
        interrupt("spot-fit", Reason="a drill")
        sys.exit(0)
    time.sleep(0.2)
sys.exit("spot-fit does not work")
