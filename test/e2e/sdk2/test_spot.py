"""Managed spot training through the estimators: use_spot_instances, max_wait, checkpoint_s3_uri."""

import json
import os
import random
import sys

import pytest
from botocore.exceptions import ClientError
from conftest import HERE, SMALL
from sagemaker.estimator import Estimator
from sagemaker.sklearn import SKLearn

sys.path.append(str(HERE.parent / "spot"))
from calls import INTERRUPTED, ONCE, check_savings, history, interrupt  # noqa: E402

LIVES = str(HERE.parent / "spot" / "lives.py")
SPOT = {"use_spot_instances": True, "max_run": 300, "max_wait": 900}


def begin(kind, checkpoints, **more):
    estimator = kind(entry_point=LIVES, role=os.environ["SAGEMAKER_ROLE"], checkpoint_s3_uri=checkpoints, **SMALL, **SPOT, **more)
    estimator.fit(wait=False)
    return estimator


@pytest.fixture(scope="module", autouse=True)
def estimators(session):
    """Every job of these tests but the program's, begun at once."""
    prefix = f"s3://{session.default_bucket()}/spot"
    return {
        "calm": begin(SKLearn, prefix + "/calm", framework_version="1.2-1"),
        "interrupted": begin(
            Estimator, prefix + "/interrupted", image_uri="stint/python:latest", checkpoint_local_path="/opt/ml/saved",
            hyperparameters={"lives": 2, "folder": "/opt/ml/saved"}, max_retry_attempts=3,
        ),
    }


@pytest.fixture(scope="module")
def printed(started):
    """What the program printed that waited in fit() while its job was interrupted by another."""
    for name in ("drill.py", "spot.py"):
        text, _ = started[name].communicate(timeout=300)
        assert started[name].returncode == 0, text
    return text


def result(server, job):
    return json.loads(server.archive(job["ModelArtifacts"]["S3ModelArtifacts"])["result.json"])


def test_what_the_estimator_asked_for(server, estimators):
    name = estimators["interrupted"].latest_training_job.name
    job = server.sagemaker.describe_training_job(TrainingJobName=name)
    assert job["EnableManagedSpotTraining"] is True
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 900}
    assert job["CheckpointConfig"]["LocalPath"] == "/opt/ml/saved"
    assert job["RetryStrategy"] == {"MaximumRetryAttempts": 3}


def test_an_estimator_of_any_image_goes_on_after_an_interruption(server, estimators):
    name = estimators["interrupted"].latest_training_job.name
    server.said(name, "life 1 works")
    interrupt(name)
    job = server.completed(name)
    assert history(job) == INTERRUPTED
    assert len(result(server, job)["lives"]) == 2
    check_savings(job)


def test_an_undisturbed_job_and_its_checkpoints(server, estimators, capfd):
    estimator = estimators["calm"]
    job = server.completed(estimator.latest_training_job.name)
    assert history(job) == ONCE
    estimator.logs()
    assert f"Managed Spot Training savings: {check_savings(job)}\n" in capfd.readouterr().out
    for step in (5, 10):
        assert server.object(f"{estimator.checkpoint_s3_uri}/deep/step {step}.bin") == random.Random(step).randbytes(70_000)


def test_a_second_estimator_goes_on_from_the_first(server, estimators):
    calm = estimators["calm"]
    server.completed(calm.latest_training_job.name)
    again = begin(SKLearn, calm.checkpoint_s3_uri, framework_version="1.2-1")
    job = server.completed(again.latest_training_job.name)
    assert result(server, job)["lives"] == [{"from": 0, "heard": None}, {"from": 10, "heard": None}]


def test_waiting_less_than_running_is_refused(session):
    estimator = Estimator(
        "stint/exec:latest", os.environ["SAGEMAKER_ROLE"], container_entry_point=["true"], use_spot_instances=True, max_run=300, max_wait=60, **SMALL
    )
    with pytest.raises(ClientError, match="Invalid MaxWaitTimeInSeconds. It must be present"):
        estimator.fit(wait=False)


def test_fit_waits_through_an_interruption(printed, server):
    job = server.completed("spot-fit")
    assert history(job) == INTERRUPTED
    lives = result(server, job)["lives"]
    assert [life["heard"] for life in lives] == ["SIGTERM", None] and lives[1]["from"] > 0
    for line in ("life 1 works", "life 1 saved at step", f"life 2 from step {lives[1]['from']}", "done at step"):
        assert line in printed, printed


def test_fit_tells_what_spot_has_saved(printed, server):
    job = server.completed("spot-fit")
    savings = check_savings(job)
    for line in (
        f"Training seconds: {job['TrainingTimeInSeconds']}\n",
        f"Billable seconds: {job['BillableTimeInSeconds']}\n",
        f"Managed Spot Training savings: {savings}\n",
    ):
        assert line in printed, printed
