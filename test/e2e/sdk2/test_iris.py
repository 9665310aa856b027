"""A scikit-learn script from its inputs to its model."""

import io
import json
import re

import joblib
import numpy as np
import pytest
from conftest import ARGUMENTS, HYPERPARAMETERS
from sagemaker.analytics import TrainingJobAnalytics
from sagemaker.sklearn import SKLearn


@pytest.fixture(scope="module")
def name(iris):
    return iris.latest_training_job.name


def test_hyperparameters_of_every_type_arrive_as_arguments(report):
    words = iter(report["arguments"])
    assert dict(zip(words, words)) == ARGUMENTS
    assert report["arguments"] == [word for flag in sorted(ARGUMENTS, key=lambda f: f.lstrip("-")) for word in (flag, ARGUMENTS[flag])]


def test_variables_of_script_mode(report, name, iris):
    env = report["environment"]
    assert json.loads(env["SM_HPS"]) == HYPERPARAMETERS
    assert json.loads(env["SM_USER_ARGS"]) == report["arguments"]
    assert json.loads(env["SM_CHANNELS"]) == ["test", "train"]
    assert json.loads(env["SM_HOSTS"]) == ["algo-1"]
    assert json.loads(env["SM_HP_LAYERS"]) == [64, 32]
    for variable, want in {
        "SM_CHANNEL_TRAIN": "/opt/ml/input/data/train",
        "SM_CHANNEL_TEST": "/opt/ml/input/data/test",
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
        "SM_INPUT_DIR": "/opt/ml/input",
        "SM_CURRENT_HOST": "algo-1",
        "SM_CURRENT_INSTANCE_TYPE": "ml.t3.medium",
        "SM_NUM_CPUS": "2",
        "SM_NUM_GPUS": "0",
        "SM_MODULE_NAME": "train",
        "SM_USER_ENTRY_POINT": "train.py",
        "SM_HP_EPOCHS": "3",
        "SM_HP_NAME": "blue whale",
        "SM_HP_ACCENTS": "Zürich 東京",
        "TRAINING_JOB_NAME": name,
        "AWS_REGION": "us-east-1",
        "COLOUR": "deep blue",
    }.items():
        assert env.get(variable) == want, variable
    assert env["TRAINING_JOB_ARN"].endswith(":training-job/" + name)
    everything = json.loads(env["SM_TRAINING_ENV"])
    assert everything["hyperparameters"] == HYPERPARAMETERS
    assert everything["job_name"] == name
    assert everything["channel_input_dirs"] == {"train": "/opt/ml/input/data/train", "test": "/opt/ml/input/data/test"}


def test_configuration_files_are_the_contract(report):
    files = report["configuration"]
    hyperparameters = {n: v for n, v in files["hyperparameters"].items() if not n.startswith("sagemaker_")}
    assert {n: json.loads(v) for n, v in hyperparameters.items()} == HYPERPARAMETERS
    assert files["resourceconfig"]["current_host"] == "algo-1"
    assert files["resourceconfig"]["current_instance_type"] == "ml.t3.medium"
    assert files["inputdataconfig"]["test"]["ContentType"] == "text/csv"
    assert files["inputdataconfig"]["train"]["TrainingInputMode"] == "File"


def test_channels_hold_the_files_that_were_uploaded(report):
    assert set(report["files"]["train"]) == {"a.csv", "deep/er/b.csv", "empty"}
    assert report["files"]["train"]["empty"] == 0
    assert set(report["files"]["test"]) == {"held out.csv"}


def test_the_source_and_what_it_depends_on_are_in_place(report, server, name):
    assert {"train.py", "requirements.txt", "shared"} <= set(report["source"])
    assert report["folder"] == "/opt/ml/code"
    lines = server.lines(name)
    assert "the dependency is here" in lines
    assert any(line.startswith("Requirement already satisfied: scikit-learn>=1.0") for line in lines), lines
    assert not any("Successfully installed" in line or "Downloading" in line for line in lines), lines


def test_user_code_is_not_root(report):
    assert report["user"] != 0


def test_the_log_has_every_line_in_order(server, name, report):
    lines = server.lines(name)
    own = [line for line in lines if line.startswith(("the dep", "epoch", "accuracy", "done"))]
    want = ["the dependency is here"]
    for epoch in range(3):
        want += [f"epoch {epoch}: loss={1 / (epoch + 1):.6f}; accuracy={0.5 + epoch / 10}", f"epoch {epoch} ends"]
    assert own == [*want, f"accuracy={report['accuracy']:.4f}", "done"]


def test_the_model_loads_and_predicts(iris, server, report):
    assert iris.model_data == f"{iris.output_path}{iris.latest_training_job.name}/output/model.tar.gz"
    files = server.archive(iris.model_data)
    assert set(files) == {"model.joblib"}
    model = joblib.load(io.BytesIO(files["model.joblib"]))
    assert model.predict(np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])).tolist() == [0, 2]
    assert report["accuracy"] > 0.9


def test_describe_tells_the_whole_story(iris, server, name):
    server.completed(name)
    job = iris.latest_training_job.describe()
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Completed"
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    for one, next in zip(job["SecondaryStatusTransitions"], job["SecondaryStatusTransitions"][1:]):
        assert one["StartTime"] <= one["EndTime"] <= next["StartTime"]
    assert job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"] <= job["LastModifiedTime"]
    took = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
    assert job["TrainingTimeInSeconds"] >= 1 and abs(job["TrainingTimeInSeconds"] - took) <= 1
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"]
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == iris.model_data
    assert job["ResourceConfig"]["InstanceType"] == "ml.t3.medium"
    assert job["AlgorithmSpecification"]["TrainingImage"].endswith("/sagemaker-scikit-learn:1.2-1-cpu-py3")
    assert "FailureReason" not in job


def test_a_role_may_be_given_by_its_name(iris, role):
    assert iris.role == "StintExecutionRole"
    assert iris.latest_training_job.describe()["RoleArn"] == role


def test_metrics_are_read_from_the_log(iris, server, name):
    job = server.completed(name)
    final = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
    assert set(final) == {"train:loss", "test:accuracy"}
    assert final["train:loss"] == pytest.approx(1 / 3, abs=1e-6)
    assert final["test:accuracy"] == pytest.approx(float(server.lines(name)[-2].removeprefix("accuracy=")), abs=1e-6)


def test_metrics_become_a_data_frame(iris, server, name):
    server.completed(name)
    # The curve has a point a minute, the mean of what was logged in it: worked out here from the log.
    minutes = {}
    for event in server.events(name):
        found = re.search(r"loss=([0-9.e-]+);", event["message"])
        if found:
            minutes.setdefault(event["timestamp"] // 60_000, []).append(float(found[1]))
    frame = iris.training_job_analytics.dataframe(force_refresh=True)
    loss = frame[frame.metric_name == "train:loss"]
    first = min(minutes)
    assert loss.timestamp.tolist() == [60.0 * (minute - first) for minute in sorted(minutes)]
    assert loss.value.tolist() == pytest.approx([np.mean(minutes[minute]) for minute in sorted(minutes)], abs=1e-6)
    assert set(frame.metric_name) == {"train:loss", "test:accuracy"}
    alone = TrainingJobAnalytics(name, ["test:accuracy"]).dataframe()
    assert set(alone.metric_name) == {"test:accuracy"} and len(alone) >= 1


def test_tags_stay_with_the_job(iris, session):
    arn = iris.latest_training_job.describe()["TrainingJobArn"]
    tags = session.sagemaker_client.list_tags(ResourceArn=arn)["Tags"]
    assert sorted((t["Key"], t["Value"]) for t in tags) == [("empty", ""), ("team", "flowers")]


def test_attach_finds_the_job_again(iris, server, name):
    server.completed(name)
    again = SKLearn.attach(name)
    assert again.latest_training_job.name == name
    assert again.model_data == iris.model_data
    assert again.instance_type == "ml.t3.medium" and again.framework_version == "1.2-1"
    own = {n: v for n, v in again.hyperparameters().items() if not n.startswith("sagemaker_")}
    assert {n: json.loads(v) for n, v in own.items()} == HYPERPARAMETERS


def test_the_default_bucket_needs_no_sts(session, server, iris):
    account = iris.latest_training_job.describe()["TrainingJobArn"].split(":")[4]
    assert session.default_bucket() == f"sagemaker-us-east-1-{account}"
    server.s3.head_bucket(Bucket=session.default_bucket())
    source = json.loads(iris.latest_training_job.describe()["HyperParameters"]["sagemaker_submit_directory"])
    assert source.startswith(f"s3://{session.default_bucket()}/")
    assert {"train.py", "requirements.txt", "shared/banner.py"} <= set(server.archive(source))
