"""SageMaker Python SDK 3.x, as its users have it, against a running server: ModelTrainer, whose own programs prepare and run
the script inside the job.

One program is run whole, as a process beside the tests; the other jobs are all begun at once, without waiting.
"""

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import boto3
import pytest
from sagemaker.core import image_uris
from sagemaker.core.resources import TrainingJob
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode
from sagemaker.train.distributed import Torchrun

HERE = pathlib.Path(__file__).parent
CODE = HERE / "code"
LIMIT = 300  # seconds that a job may take when all run at once, on a busy machine
SMALL = Compute(instance_type="ml.t3.medium", instance_count=1)


def image(framework):
    """The image that a user would name, looked up as a user would."""
    if framework == "sklearn":
        return image_uris.retrieve(framework="sklearn", region="us-east-1", version="1.2-1")
    return image_uris.retrieve(
        framework="pytorch", region="us-east-1", version="1.13", py_version="py39", instance_type="ml.m5.xlarge", image_scope="training"
    )


class Server:
    """What boto3 sees of the jobs, without the SDK between."""

    def __init__(self):
        self.logs = boto3.client("logs")
        self.s3 = boto3.client("s3")
        self.sagemaker = boto3.client("sagemaker")

    def lines(self, name):
        """A job's log."""
        group = "/aws/sagemaker/TrainingJobs"
        try:
            streams = self.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=name + "/")["logStreams"]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        pages = self.logs.get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=group, logStreamNames=[s["logStreamName"] for s in streams]) if streams else []
        return [event["message"] for page in found for event in page["events"]]

    def archive(self, uri):
        """The files of a .tar.gz in S3: their content by name."""
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        body = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as files:
            return {m.name: files.extractfile(m).read() for m in files if m.isfile()}

    def completed(self, trainer):
        """The job of a trainer, once it has completed."""
        job = trainer._latest_training_job
        try:
            job.wait(poll=1, timeout=LIMIT)
        except Exception as error:
            pytest.fail(f"{error}; the log of {job.training_job_name}:\n" + "\n".join(self.lines(job.training_job_name)))
        assert job.training_job_status == "Completed"
        return job


@pytest.fixture(scope="session")
def server():
    return Server()


def wheel(folder, name, version):
    """A package that needs no network: one module that knows its version."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr(f"{name}.py", f"__version__ = {version!r}\n")
        files.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        files.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        files.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """The iris source with what it requires: a package that the runtime has not, one that it has in an older version, and one
    that is there."""
    folder = tmp_path_factory.mktemp("source") / "code"
    shutil.copytree(CODE / "iris", folder)
    wheel(folder, "whale", "1.0")
    wheel(folder, "six", "99.0")
    (folder / "requirements.txt").write_text("./whale-1.0-py3-none-any.whl\n./six-99.0-py3-none-any.whl\nscikit-learn>=1.0\n")
    return folder


@pytest.fixture(scope="session")
def data(server, tmp_path_factory):
    """The iris flowers: a channel in S3, another on the user's disk."""
    from sklearn.datasets import load_iris

    features, labels = load_iris(return_X_y=True)
    rows = [",".join(map(str, [*f, label])) for f, label in zip(features, labels)]
    server.s3.create_bucket(Bucket="flowers")
    server.s3.put_object(Bucket="flowers", Key="iris/train/a.csv", Body="\n".join(rows[0::2]).encode())
    local = tmp_path_factory.mktemp("data") / "test"
    (local / "deep").mkdir(parents=True)
    (local / "deep" / "b.csv").write_text("\n".join(rows[1::2]))
    return {"train": "s3://flowers/iris/train/", "test": str(local)}


@pytest.fixture(scope="session", autouse=True)
def program(source, data):
    """The program that is run whole: it waits for its job and shows the log as users see it."""
    command = [sys.executable, HERE / "programs" / "iris.py", source, data["train"], data["test"]]
    # A wide terminal, so that no line is broken; and no colours.
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "1000", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        yield process
        process.kill()


@pytest.fixture(scope="session")
def finished(program):
    """What the program printed, and the name of its job."""
    text, _ = program.communicate(timeout=LIMIT)
    assert program.returncode == 0, text
    return text, json.loads(text.splitlines()[-1])


@pytest.fixture(scope="session")
def iris(finished):
    return TrainingJob.get(finished[1]["job"])


@pytest.fixture(scope="session")
def report(finished, server):
    """What the script of iris saw."""
    return json.loads(server.archive(finished[1]["output"])["report.json"])


def begin(name, framework="sklearn", **more):
    trainer = ModelTrainer(training_image=image(framework), base_job_name=name, compute=SMALL, **more)
    trainer.train(wait=False, logs=False)
    return trainer


@pytest.fixture(scope="session", autouse=True)
def begun(program):
    """Every other job, begun before the first test looks at one."""
    others = str(CODE / "others")
    spread = {
        "framework": "pytorch",
        "source_code": SourceCode(source_dir=others, entry_script="spread.py"),
        "distributed": Torchrun(process_count_per_node=2),
    }
    return {
        "waiting": begin("waiting", source_code=SourceCode(source_dir=others, command="exec python wait.py")),
        "one": begin("one", **spread),
        "two": begin("two", **spread),
        "failing": begin("failing", source_code=SourceCode(source_dir=others, entry_script="fail.py")),
        "shell": begin(
            "shell",
            source_code=SourceCode(source_dir=others, command="bash show.sh", args=["two words", "$HOME", 3]),
            environment={"COLOUR": "deep blue"},
            input_data_config=[InputData(channel_name="one", data_source=others + "/show.sh")],
        ),
    }
