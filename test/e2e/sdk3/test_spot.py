"""Managed spot training through ModelTrainer: Compute, StoppingCondition, CheckpointConfig."""

import json
import random
import sys

import pytest
from botocore.exceptions import ClientError
from conftest import HERE, image
from sagemaker.core.helper.session_helper import Session, _logs_for_job
from sagemaker.core.training.configs import CheckpointConfig, Compute, RetryStrategy, SourceCode, StoppingCondition
from sagemaker.train import ModelTrainer

sys.path.append(str(HERE.parent / "spot"))
from calls import INTERRUPTED, ONCE, check_savings, history, interrupt  # noqa: E402

SPOT = Compute(instance_type="ml.t3.medium", instance_count=1, enable_managed_spot_training=True)
PATIENT = StoppingCondition(max_runtime_in_seconds=300, max_wait_time_in_seconds=900)


def begin(name, *arguments, stopping=PATIENT, checkpoints=None, retries=None):
    trainer = ModelTrainer(
        training_image=image("sklearn"),
        source_code=SourceCode(source_dir=str(HERE.parent / "spot"), command="exec python lives.py", args=list(arguments)),
        base_job_name=name,
        compute=SPOT,
        stopping_condition=stopping,
        checkpoint_config=checkpoints,
    )
    if retries:
        trainer.with_retry_strategy(RetryStrategy(maximum_retry_attempts=retries))
    trainer.train(wait=False, logs=False)
    return trainer


@pytest.fixture(scope="module", autouse=True)
def trainers(data):
    """Every job of these tests, begun at once."""
    return {
        "calm": begin("spot-calm", checkpoints=CheckpointConfig(s3_uri="s3://flowers/spot/calm")),
        # The prefix is left to the SDK.
        "interrupted": begin(
            "spot-interrupted", "--lives", "2", "--folder", "/opt/ml/saved", checkpoints=CheckpointConfig(local_path="/opt/ml/saved"), retries=2
        ),
    }


def describe(server, trainer):
    return server.sagemaker.describe_training_job(TrainingJobName=trainer._latest_training_job.training_job_name)


def until_it_works(server, trainer):
    job = trainer._latest_training_job
    for _ in range(600):
        if "life 1 works" in server.lines(job.training_job_name):
            return job.training_job_name
        job.refresh()
        assert job.training_job_status == "InProgress", (job.failure_reason, server.lines(job.training_job_name))
    pytest.fail(f"{job.training_job_name} does not work")


def result(server, trainer):
    return json.loads(server.archive(describe(server, trainer)["ModelArtifacts"]["S3ModelArtifacts"])["result.json"])


def test_one_interruption(server, trainers, capfd):
    trainer = trainers["interrupted"]
    name = until_it_works(server, trainer)
    interrupt(name)
    server.completed(trainer)
    job = describe(server, trainer)
    assert history(job) == INTERRUPTED
    lives = result(server, trainer)["lives"]
    assert [life["heard"] for life in lives] == ["SIGTERM", None] and lives[1]["from"] > 0
    # The savings as the SDK prints them, which ModelTrainer's own wait does not.
    _logs_for_job(Session(), name, wait=True)
    printed = capfd.readouterr().out
    for line in (
        f"Training seconds: {job['TrainingTimeInSeconds']}\n",
        f"Billable seconds: {job['BillableTimeInSeconds']}\n",
        f"Managed Spot Training savings: {check_savings(job)}\n",
    ):
        assert line in printed, printed


def test_what_the_trainer_asked_for(server, trainers):
    job = describe(server, trainers["interrupted"])
    assert job["EnableManagedSpotTraining"] is True
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 900}
    assert job["RetryStrategy"] == {"MaximumRetryAttempts": 2}
    assert job["CheckpointConfig"]["S3Uri"].endswith("/checkpoints")
    assert job["CheckpointConfig"]["LocalPath"] == "/opt/ml/saved"


def test_an_undisturbed_job_and_its_checkpoints(server, trainers):
    server.completed(trainers["calm"])
    job = describe(server, trainers["calm"])
    assert history(job) == ONCE
    check_savings(job)
    for step in (5, 10):
        body = server.s3.get_object(Bucket="flowers", Key=f"spot/calm/deep/step {step}.bin")["Body"].read()
        assert body == random.Random(step).randbytes(70_000)
    # A second trainer goes on from there.
    again = begin("spot-again", checkpoints=CheckpointConfig(s3_uri="s3://flowers/spot/calm"))
    server.completed(again)
    assert result(server, again)["lives"] == [{"from": 0, "heard": None}, {"from": 10, "heard": None}]


def test_waiting_less_than_running_is_refused(trainers):
    with pytest.raises(ClientError, match="Invalid MaxWaitTimeInSeconds. It must be present"):
        begin("spot-bad", stopping=StoppingCondition(max_runtime_in_seconds=300, max_wait_time_in_seconds=60))
