"""Other frameworks, a plain command, and jobs that are ended early."""

import json

import pytest
from botocore.exceptions import ClientError
from conftest import CODE, LIMIT, SMALL
from sagemaker.estimator import Estimator
from sagemaker.exceptions import UnexpectedStatusException
from sagemaker.sklearn import SKLearn
from sagemaker.tensorflow import TensorFlow


def test_xgboost_in_script_mode_from_a_source_in_s3(boosted, server, session):
    job = server.completed(boosted.latest_training_job.name)
    assert "wrong: 0" in server.lines(job["TrainingJobName"])
    assert boosted.model_data == f"s3://{session.default_bucket()}/boosted/{job['TrainingJobName']}/output/model.tar.gz"
    model = json.loads(server.archive(boosted.model_data)["model.json"])
    assert model["learner"]["gradient_booster"]["model"]["gbtree_model_param"]["num_trees"] == "15"  # 5 rounds, 3 classes


def test_torchrun_starts_the_script(spread, server):
    job = server.completed(spread.latest_training_job.name)
    assert "process 0 of 1, given ['--epochs', '2']" in server.lines(job["TrainingJobName"])


def test_a_command_of_ones_own(command, server):
    job = server.completed(command.latest_training_job.name)
    rows = server.archive(command.model_data)["sorted.csv"].decode().splitlines()
    first = [float(row.split(",")[0]) for row in rows]
    assert len(rows) == 50 and first == sorted(first)
    given = json.loads(server.lines(job["TrainingJobName"])[0])
    assert given == {"k": "5", "word": "five"}  # a generic estimator quotes nothing


def test_stop_lets_the_script_save(waiting, server):
    name = waiting.latest_training_job.name
    server.said(name, "working")
    waiting.latest_training_job.stop()
    job = server.ended(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "Stopping" in [t["Status"] for t in job["SecondaryStatusTransitions"]]
    assert server.lines(name)[-1] == "saved and stopping"
    assert server.archive(job["ModelArtifacts"]["S3ModelArtifacts"]) == {"checkpoint": b"half of it"}
    assert "FailureReason" not in job


def test_the_longest_run_time_is_kept(timed, server):
    job = server.ended(timed.latest_training_job.name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert 10 <= job["TrainingTimeInSeconds"] < LIMIT
    assert server.archive(job["ModelArtifacts"]["S3ModelArtifacts"]) == {"checkpoint": b"half of it"}


def fail(estimator, inputs=None):
    """How a fit fails that waits without showing the log."""
    with pytest.raises(UnexpectedStatusException) as failure:
        estimator.fit(inputs, logs=False)
    assert failure.value.actual_status == "Failed"
    return str(failure.value)


def test_missing_data_is_named(session, role):
    estimator = Estimator("stint/exec:latest", role, container_entry_point=["true"], **SMALL)
    told = fail(estimator, {"train": f"s3://{session.default_bucket()}/not/there/"})
    assert f'No S3 objects found under S3 URL "s3://{session.default_bucket()}/not/there/"' in told


def test_a_framework_that_has_no_runtime_says_what_to_do(role):
    estimator = TensorFlow(
        entry_point=str(CODE / "wait.py"), role=role, framework_version="2.13", py_version="py310", **SMALL
    )
    told = fail(estimator)
    assert "tensorflow-training:2.13-cpu-py310" in told and "stint runtime add" in told


def test_a_job_name_is_used_once(iris, role):
    again = SKLearn(entry_point=str(CODE / "wait.py"), role=role, framework_version="1.2-1", **SMALL)
    with pytest.raises(ClientError) as refused:
        again.fit(wait=False, job_name=iris.latest_training_job.name)
    assert refused.value.response["Error"]["Code"] == "ResourceInUse"


def test_a_role_that_is_not_there_is_refused(session):
    estimator = Estimator("stint/exec:latest", "NoSuchRole", container_entry_point=["true"], **SMALL)
    with pytest.raises(ClientError) as refused:
        estimator.fit(wait=False)
    assert refused.value.response["Error"]["Code"] == "NoSuchEntity"
    named = Estimator("stint/exec:latest", "arn:aws:iam::000000000000:role/NoSuchRole", container_entry_point=["true"], **SMALL)
    with pytest.raises(ClientError) as refused:
        named.fit(wait=False)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert "NoSuchRole" in str(refused.value)
