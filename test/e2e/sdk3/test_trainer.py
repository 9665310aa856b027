"""ModelTrainer from a script to its model, and what becomes of scripts that fail, wait or share their work."""

import io
import json
import os
import subprocess
import time

import boto3
import joblib
import pytest
from conftest import CODE, LIMIT, SMALL, image
from sagemaker.core.resources import TrainingJob
from sagemaker.core.utils.exceptions import FailedStatusError
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import SourceCode


def in_order(text, *parts):
    at = 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is not in its place in:\n{text}"
        at = found + len(part)


def test_train_shows_the_log_as_it_is(finished):
    in_order(
        finished[0],
        "Training Job Name: " + finished[1]["job"],
        "Starting training script",
        "Setting up environment variables",
        "Installing requirements",
        "Running Basic Script driver",
        *(f"epoch {epoch}: loss={1 / (epoch + 1):.4f} [not/markup]" for epoch in range(3)),
        "größer",
        "Training Container Execution Completed",
        "Final Resource Status: Completed",
    )


def test_requirements_are_installed_over_the_runtime(report, finished):
    assert report["versions"] == {"whale": "1.0", "six": "99.0", "six installed": "99.0"}
    assert "Requirement already satisfied: scikit-learn>=1.0" in finished[0]
    python = os.path.join(os.environ["STINT_HOME"], "runtimes", "sklearn", "bin", "python")
    left = subprocess.run([python, "-c", "import six; print(six.__version__)"], capture_output=True, text=True, check=True)
    assert left.stdout != "99.0\n"
    assert subprocess.run([python, "-c", "import whale"], capture_output=True).returncode == 1


def test_hyperparameters_are_raw_strings(report):
    assert report["hyperparameters"] == {
        "epochs": "3",
        "learning-rate": "0.25",
        "name": "blue whale",
        "digits": "007",
        "shuffle": "true",
        "layers": "[64, 32]",
        "accents": "Zürich 東京",
    }
    words = iter(report["arguments"])
    assert dict(zip(words, words)) == {"--" + name: value for name, value in report["hyperparameters"].items()}


def test_variables_of_the_drivers(report, finished):
    env = report["environment"]
    for name, want in {
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
        "SM_CHANNEL_TRAIN": "/opt/ml/input/data/train",
        "SM_SOURCE_DIR": "/opt/ml/input/data/code",
        "SM_ENTRY_SCRIPT": "train.py",
        "SM_CURRENT_HOST": "algo-1",
        "SM_CURRENT_INSTANCE_TYPE": "ml.t3.medium",
        "SM_HOST_COUNT": "1",
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_HP_NAME": "blue whale",
        "TRAINING_JOB_NAME": finished[1]["job"],
    }.items():
        assert env.get(name) == want, name
    assert set(json.loads(env["SM_CHANNELS"])) == {"train", "test", "code", "sm_drivers"}


def test_inputs_belong_to_the_job(report):
    assert report["rows"] == [75, 75]
    assert report["user"] != 0 and report["owners"] == [report["user"]]


def test_the_model_loads_and_predicts(iris, server, report):
    assert iris.model_artifacts.s3_model_artifacts == f"s3://flowers/models/{iris.training_job_name}/output/model.tar.gz"
    model = joblib.load(io.BytesIO(server.archive(iris.model_artifacts.s3_model_artifacts)["model.joblib"]))
    assert model.predict([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]).tolist() == [0, 2]
    assert report["accuracy"] > 0.9


def test_metrics_tags_and_times(iris, server):
    assert [(m.metric_name, round(m.value, 4)) for m in iris.final_metric_data_list] == [("loss", 0.3333)]
    assert server.sagemaker.list_tags(ResourceArn=iris.training_job_arn)["Tags"] == [{"Key": "team", "Value": "flowers"}]
    assert [t.status for t in iris.secondary_status_transitions] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert iris.training_time_in_seconds >= 1 and iris.billable_time_in_seconds >= 1
    assert iris.role_arn == os.environ["SAGEMAKER_ROLE"]


def test_jobs_are_listed(iris):
    found = [job.training_job_name for job in TrainingJob.get_all(status_equals="Completed", name_contains="iris")]
    assert found == [iris.training_job_name]


def test_a_command_with_arguments(begun, server):
    job = server.completed(begun["shell"])
    lines = server.lines(job.training_job_name)
    at = lines.index("word: two words")
    assert lines[at : at + 6] == [
        "word: two words",
        "word: $HOME",
        "word: 3",
        "colour: deep blue",
        "channel: show.sh",
        "/opt/ml/input/data/code",
    ]


def test_two_jobs_of_torchrun_share_one_machine(begun, server):
    ports = []
    for name in ("one", "two"):
        lines = server.lines(server.completed(begun[name]).training_job_name)
        assert {line for line in lines if line.startswith("process")} == {"process 0 of 2 has 3", "process 1 of 2 has 3"}
        ports += [line for line in lines if line.startswith("port")]
    assert len(set(ports)) == 2, ports


def test_a_failing_script_fails_the_job(begun, server):
    job = begun["failing"]._latest_training_job
    with pytest.raises(FailedStatusError) as failure:
        job.wait(poll=1, timeout=LIMIT)
    in_order(str(failure.value), "Failed", "AlgorithmError", "fail.py", "exit status 1", "exit code: 1")
    in_order("\n".join(server.lines(job.training_job_name)), "looking at the rate", "ValueError: the learning rate must be positive; naïve?")


def test_stop_lets_the_script_save(begun, server):
    job = begun["waiting"]._latest_training_job
    deadline = time.monotonic() + LIMIT
    while "working" not in server.lines(job.training_job_name):
        job.refresh()
        assert job.training_job_status == "InProgress" and time.monotonic() < deadline, server.lines(job.training_job_name)
        time.sleep(0.2)
    job.stop()
    job.wait(poll=1, timeout=LIMIT)
    assert (job.training_job_status, job.secondary_status) == ("Stopped", "Stopped")
    assert server.archive(job.model_artifacts.s3_model_artifacts) == {"checkpoint": b"half of it"}


def test_a_role_is_checked_before_anything_is_sent():
    iam = boto3.client("iam")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    iam.create_role(RoleName="weak", AssumeRolePolicyDocument=json.dumps(trust))
    with pytest.raises(Exception, match="ecr:GetAuthorizationToken"):
        ModelTrainer(training_image=image("sklearn"), role="weak", compute=SMALL)
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="weak", PolicyName="all", PolicyDocument=json.dumps(allowed))
    trainer = ModelTrainer(
        training_image=image("sklearn"),
        role="weak",
        compute=SMALL,
        source_code=SourceCode(source_dir=str(CODE / "others"), entry_script="fail.py"),
    )
    assert trainer.role.endswith(":role/weak")
    assert trainer.train(dry_run=True) is None
