"""SageMaker Python SDK 2.x, as its users have it, against a running server.

The SDK is slow of itself: it waits 5 s before it first asks how a job is, and 10 s between looks at the log. So all jobs are
begun at once, without waiting, and each test then looks at what became of its own. Only what is about fit() waiting is left
to wait.
"""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import time

import boto3
import pytest
import sagemaker
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.pytorch import PyTorch
from sagemaker.sklearn import SKLearn
from sagemaker.xgboost import XGBoost

HERE = pathlib.Path(__file__).parent
CODE = HERE / "code"
LIMIT = 300  # seconds that a job may take when all run at once, on a busy machine
SMALL = {"instance_count": 1, "instance_type": "ml.t3.medium"}

# Every kind of value that the SDK takes, and the argument that the script must get.
HYPERPARAMETERS = {
    "epochs": 3,
    "learning-rate": 0.25,
    "tiny": 1e-7,
    "name": "blue whale",
    "digits": "007",
    "quotes": "it's \"so\" & $HOME",
    "accents": "Zürich 東京",
    "shuffle": True,
    "layers": [64, 32],
    "weights": {"b": 2, "a": 1},
    "nothing": None,
    "k": 5,
}
ARGUMENTS = {
    "--epochs": "3",
    "--learning-rate": "0.25",
    "--tiny": "1e-07",
    "--name": "blue whale",
    "--digits": "007",
    "--quotes": "it's \"so\" & $HOME",
    "--accents": "Zürich 東京",
    "--shuffle": "True",
    "--layers": "[64, 32]",
    "--weights": "a=1,b=2",
    "--nothing": "",
    "-k": "5",
}


class Server:
    """What boto3 sees of the jobs, without the SDK between."""

    def __init__(self):
        self.sagemaker = boto3.client("sagemaker")
        self.logs = boto3.client("logs")
        self.s3 = boto3.client("s3")

    def ended(self, name):
        """The description of a job that has ended."""
        return self.until(name, lambda job: job["TrainingJobStatus"] not in ("InProgress", "Stopping"))

    def until(self, name, holds):
        deadline = time.monotonic() + LIMIT
        while True:
            job = self.sagemaker.describe_training_job(TrainingJobName=name)
            if holds(job):
                return job
            if time.monotonic() > deadline:
                pytest.fail(f"{name} is still {job['SecondaryStatus']} after {LIMIT} s; its log:\n" + "\n".join(self.lines(name)))
            time.sleep(0.2)

    def completed(self, name):
        job = self.ended(name)
        if job["TrainingJobStatus"] != "Completed":
            pytest.fail(f"{name} {job['TrainingJobStatus']}: {job.get('FailureReason')}; its log:\n" + "\n".join(self.lines(name)))
        return job

    def events(self, name):
        """All events of a job's log in order."""
        group = "/aws/sagemaker/TrainingJobs"
        try:
            streams = self.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=name + "/")["logStreams"]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        found = []
        for stream in streams:
            token = {}
            while True:
                page = self.logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True, **token)
                if not page["events"]:
                    break
                found += page["events"]
                token = {"nextToken": page["nextForwardToken"]}
        return found

    def lines(self, name):
        return [event["message"] for event in self.events(name)]

    def said(self, name, line):
        """Waits until a running job has logged a line."""
        self.until(name, lambda job: line in self.lines(name) or job["TrainingJobStatus"] != "InProgress")
        assert line in self.lines(name)

    def object(self, uri):
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def archive(self, uri):
        """The files of a .tar.gz in S3: their content by name."""
        with tarfile.open(fileobj=io.BytesIO(self.object(uri)), mode="r:gz") as files:
            return {m.name: files.extractfile(m).read() for m in files if m.isfile()}


@pytest.fixture(scope="session")
def server():
    return Server()


@pytest.fixture(scope="session")
def session():
    return sagemaker.Session()


@pytest.fixture(scope="session")
def role():
    return os.environ["SAGEMAKER_ROLE"]


@pytest.fixture(scope="session", autouse=True)
def started(role):
    """The programs that are run whole, as processes beside the tests: they wait for their jobs as users do."""
    boto3.client("s3").create_bucket(Bucket="document-data")
    running = {}
    with contextlib.ExitStack() as stack:
        for name in ("document.py", "failing.py", "spot.py", "drill.py", "deploy.py", "serve.py", "many.py", "pipeline.py"):
            running[name] = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, HERE / "programs" / name],
                    cwd=HERE / "programs",
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
            )
        yield running
        for process in running.values():
            process.kill()


@pytest.fixture(scope="session")
def data(session, tmp_path_factory):
    """The iris flowers in two channels: a folder in a folder, and one object of its own."""
    from sklearn.datasets import load_iris

    folder = tmp_path_factory.mktemp("data")
    features, labels = load_iris(return_X_y=True)
    rows = [",".join(map(str, [*f, label])) for f, label in zip(features, labels)]
    train = folder / "train"
    (train / "deep" / "er").mkdir(parents=True)
    (train / "a.csv").write_text("\n".join(rows[0:150:3]) + "\n")
    (train / "deep" / "er" / "b.csv").write_text("\n".join(rows[1:150:3]) + "\n")
    (train / "empty").write_text("")
    (folder / "held out.csv").write_text("\n".join(rows[2:150:3]) + "\n")
    return {
        "train": session.upload_data(str(train), key_prefix="iris/train"),
        "test": session.upload_data(str(folder / "held out.csv"), key_prefix="iris/test"),
    }


@pytest.fixture(scope="session")
def iris(session, data, started):
    """The job that most tests look at."""
    estimator = SKLearn(
        entry_point="train.py",
        source_dir=str(CODE / "iris"),
        dependencies=[str(CODE / "shared")],
        role="StintExecutionRole",
        framework_version="1.2-1",
        hyperparameters=dict(HYPERPARAMETERS),  # the SDK adds its own to the one it is given
        metric_definitions=[
            {"Name": "train:loss", "Regex": r"loss=([0-9.e-]+);"},
            {"Name": "test:accuracy", "Regex": r"accuracy=([0-9.]+)"},
        ],
        environment={"COLOUR": "deep blue"},
        tags=[{"Key": "team", "Value": "flowers"}, {"Key": "empty", "Value": ""}],
        **SMALL,
    )
    estimator.fit({"train": data["train"], "test": TrainingInput(data["test"], content_type="text/csv")}, wait=False)
    return estimator


@pytest.fixture(scope="session")
def report(iris, server):
    """What the script of iris saw."""
    server.completed(iris.latest_training_job.name)
    output = iris.output_path + iris.latest_training_job.name + "/output/output.tar.gz"
    return json.loads(server.archive(output)["report.json"])


@pytest.fixture(scope="session")
def waiting(session, started):
    """A job that runs until it is asked to stop."""
    estimator = SKLearn(entry_point=str(CODE / "wait.py"), role=os.environ["SAGEMAKER_ROLE"], framework_version="1.2-1", **SMALL)
    estimator.fit(wait=False)
    return estimator


@pytest.fixture(scope="session")
def timed(session, started):
    """A job that takes longer than it may."""
    estimator = SKLearn(
        entry_point=str(CODE / "wait.py"), role=os.environ["SAGEMAKER_ROLE"], framework_version="1.2-1", max_run=10, **SMALL
    )
    estimator.fit(wait=False)
    return estimator


@pytest.fixture(scope="session")
def boosted(session, server, data, started):
    """An XGBoost script whose source is an archive that lies in S3 already."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as files:
        files.add(CODE / "boost" / "train.py", "train.py")
    server.s3.put_object(Bucket=session.default_bucket(), Key="sources/boost.tar.gz", Body=archive.getvalue())
    estimator = XGBoost(
        entry_point="train.py",
        source_dir=f"s3://{session.default_bucket()}/sources/boost.tar.gz",
        role=os.environ["SAGEMAKER_ROLE"],
        framework_version="1.7-1",
        hyperparameters={"max-depth": 3, "rounds": 5},
        output_path=f"s3://{session.default_bucket()}/boosted/",
        **SMALL,
    )
    estimator.fit(data, wait=False)
    return estimator


@pytest.fixture(scope="session")
def command(session, data, started):
    """No script: a command."""
    estimator = Estimator(
        image_uri="stint/exec:latest",
        role=os.environ["SAGEMAKER_ROLE"],
        container_entry_point=["/bin/sh", "-c"],
        container_arguments=["sort -t, -k1n /opt/ml/input/data/train/a.csv > /opt/ml/model/sorted.csv && cat /opt/ml/input/config/hyperparameters.json"],
        hyperparameters={"k": 5, "word": "five"},
        **SMALL,
    )
    estimator.fit({"train": data["train"]}, wait=False)
    return estimator


@pytest.fixture(scope="session")
def spread(session, started):
    """A PyTorch script under torchrun."""
    estimator = PyTorch(
        entry_point=str(CODE / "spread.py"),
        role=os.environ["SAGEMAKER_ROLE"],
        framework_version="1.13.1",
        py_version="py39",
        distribution={"torch_distributed": {"enabled": True}},  # for which the SDK insists on a GPU
        hyperparameters={"epochs": 2},
        instance_count=1,
        instance_type="ml.g4dn.xlarge",
    )
    estimator.fit(wait=False)
    return estimator


@pytest.fixture(scope="session", autouse=True)
def all_begun(iris, waiting, timed, boosted, command, spread):
    """Every job is begun before the first test looks at one."""
