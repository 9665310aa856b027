"""What the boto3 suite shares: plain clients set up by what `stint env` exports, and jobs that are shell commands.

Every test makes what it needs under names of its own, as all tests of the suite share one server.
"""

import itertools
import json
import os
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

JOB_LOGS = "/aws/sagemaker/TrainingJobs"
ACCOUNT = "000000000000"
REGION = os.environ["AWS_REGION"]
ROLE = os.environ["SAGEMAKER_ROLE"]

_numbers = itertools.count(1)


def unique(prefix="t"):
    """A name that nobody else has in this run; it is legal for jobs, buckets and users."""
    return f"{prefix}-{next(_numbers)}"


def client(service, key=None, **options):
    """A client as users make it; key is (id, secret) or (id, secret, token). Refusals are not to be tried again."""
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    config = Config(retries={"total_max_attempts": 1}).merge(options.pop("config", Config()))
    return boto3.client(service, config=config, **dict(zip(names, key or ())), **options)


def eventually(condition, what, limit=20):
    """Asks until the answer is true, and gives it."""
    deadline = time.monotonic() + limit
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {limit} s for {what}"
        time.sleep(0.02)


class refused:
    """The block must be refused with this code; the message is kept, and must hold all of the words."""

    def __init__(self, code, *words, status=None):
        self.code, self.words, self.status = code, words, status
        self.message = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        assert kind is not None, f"was not refused with {self.code}"
        if not isinstance(error, ClientError):
            return False
        self.message = error.response["Error"].get("Message", "")
        assert error.response["Error"]["Code"] == self.code, error
        for word in self.words:
            assert word in self.message, self.message
        if self.status:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == self.status
        return True


@pytest.fixture(scope="session")
def sm():
    return client("sagemaker")


@pytest.fixture(scope="session")
def s3():
    return client("s3")


@pytest.fixture(scope="session")
def logs():
    return client("logs")


@pytest.fixture(scope="session")
def iam():
    return client("iam")


@pytest.fixture(scope="session")
def sts():
    return client("sts")


@pytest.fixture(scope="session")
def bucket(s3):
    """One bucket for whoever needs no bucket of his own."""
    s3.create_bucket(Bucket="shared-bucket")
    return "shared-bucket"


def request(name, command, bucket, **more):
    """A request for a job that is a shell command."""
    r = {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "stint/exec:latest",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/sh", "-c", command],
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 300},
    }
    r["AlgorithmSpecification"].update(more.pop("algorithm", {}))
    r.update(more)
    return r


@pytest.fixture(scope="session")
def start(sm, bucket):
    """Starts a job and gives its name."""

    def start(command, name=None, **more):
        name = name or unique("job")
        sm.create_training_job(**request(name, command, bucket, **more))
        return name

    return start


@pytest.fixture(scope="session")
def ended(sm):
    """Waits for a job's end and describes it."""

    def ended(name):
        def look():
            d = sm.describe_training_job(TrainingJobName=name)
            return d["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") and d

        return eventually(look, f"the end of {name}", limit=60)

    return ended


@pytest.fixture(scope="session")
def training(sm):
    """Waits until a job's own code runs."""

    def training(name):
        def look():
            d = sm.describe_training_job(TrainingJobName=name)
            assert d["TrainingJobStatus"] == "InProgress", d
            return d["SecondaryStatus"] == "Training"

        eventually(look, f"{name} to train")
        return name

    return training


@pytest.fixture(scope="session")
def job_log(logs):
    """All lines of a job's log, read page by page as the SDKs do."""

    def job_log(name):
        streams = logs.describe_log_streams(logGroupName=JOB_LOGS, logStreamNamePrefix=name + "/")["logStreams"]
        lines = []
        for stream in streams:
            token = None
            while True:
                more = {"nextToken": token} if token else {}
                page = logs.get_log_events(
                    logGroupName=JOB_LOGS, logStreamName=stream["logStreamName"], startFromHead=True, **more
                )
                lines += [e["message"] for e in page["events"]]
                if page["nextForwardToken"] == token:
                    break
                token = page["nextForwardToken"]
        return lines

    return job_log


def policy(*statements):
    """A policy document of (effect, actions, resources)."""
    return json.dumps({
        "Version": "2012-10-17",
        "Statement": [{"Effect": e, "Action": a, "Resource": r} for e, a, r in statements],
    })


def trust(**principal):
    """A trust policy."""
    return json.dumps({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
    })


@pytest.fixture
def user(iam):
    """Makes a user with a policy and gives the user's access key."""

    def user(*statements, name=None):
        name = name or unique("user")
        iam.create_user(UserName=name)
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=policy(*statements))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    return user


@pytest.fixture
def role(iam):
    """Makes a role that training may use, with a policy, and gives its ARN."""

    def role(*statements, trusts=None):
        name = unique("role")
        arn = iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=trusts or trust(Service="sagemaker.amazonaws.com")
        )["Role"]["Arn"]
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="only", PolicyDocument=policy(*statements))
        return arn

    return role
