"""Training jobs, one at a time: what a request may say, and what a job may be asked."""

import gzip
import io
import tarfile
import time

import pytest
from botocore.config import Config
from botocore.exceptions import WaiterError
from conftest import ACCOUNT, REGION, ROLE, client, eventually, refused, request, unique


def arn(name):
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{name}"


def test_a_job_from_request_to_model(sm, s3, bucket, start, ended, job_log):
    s3.put_object(Bucket=bucket, Key="in/a/part one.txt", Body=b"the data")
    name = start(
        "cat '/opt/ml/input/data/train/part one.txt'; echo; cat /opt/ml/input/config/hyperparameters.json; echo;"
        " echo $COLOR; echo weights > /opt/ml/model/w; echo more > /opt/ml/output/data/o",
        HyperParameters={"epochs": "10", "rate": "0.1"},
        Environment={"COLOR": "blue"},
        InputDataConfig=[
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in/a/"}},
            }
        ],
    )
    d = ended(name)
    assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
    assert [t["Status"] for t in d["SecondaryStatusTransitions"]] == [
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]
    for before, after in zip(d["SecondaryStatusTransitions"], d["SecondaryStatusTransitions"][1:]):
        assert before["EndTime"] == after["StartTime"]
    assert d["TrainingJobArn"] == arn(name)
    assert d["HyperParameters"] == {"epochs": "10", "rate": "0.1"}
    assert d["ResourceConfig"]["InstanceType"] == "ml.m5.large"
    assert d["CreationTime"] <= d["TrainingStartTime"] <= d["TrainingEndTime"] <= d["LastModifiedTime"]
    assert 1 <= d["BillableTimeInSeconds"] <= d["TrainingTimeInSeconds"] <= 60
    assert job_log(name) == ["the data", '{"epochs":"10","rate":"0.1"}', "blue"]
    # The model and the output data are where Describe and the contract say.
    model = f"out/{name}/output/model.tar.gz"
    assert d["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{bucket}/{model}"
    for key, member, content in ((model, "w", b"weights\n"), (f"out/{name}/output/output.tar.gz", "o", b"more\n")):
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        archive = tarfile.open(fileobj=io.BytesIO(gzip.decompress(body)))
        assert archive.extractfile(member).read() == content


def test_a_name_is_taken_for_ever(sm, bucket, start, ended):
    name = start("true")
    again = request(name, "true", bucket)
    words = (
        "Training job names must be unique within an AWS account and region, and a training job with this name"
        f" already exists ({arn(name)})"
    )
    with refused("ResourceInUse", words, status=400):
        sm.create_training_job(**again)
    ended(name)
    with refused("ResourceInUse", words):
        sm.create_training_job(**again)


def test_a_job_that_does_not_exist(sm):
    for call in (sm.describe_training_job, sm.stop_training_job, sm.delete_training_job):
        with refused("ResourceNotFound", "Requested resource not found", status=400):
            call(TrainingJobName="nobody-made-this")


def test_several_violations_are_told_at_once(bucket):
    sm = client("sagemaker", config=Config(parameter_validation=False))  # boto3 itself must not object first
    bad = request("-bad-", "true", bucket)
    bad["ResourceConfig"]["VolumeSizeInGB"] = -1
    bad["StoppingCondition"]["MaxRuntimeInSeconds"] = 0
    bad["AlgorithmSpecification"]["TrainingInputMode"] = "Shovel"
    with refused("ValidationException", "4 validation errors detected: ", status=400) as r:
        sm.create_training_job(**bad)
    for part in (
        "Value '-bad-' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern:"
        " [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        "Value '-1' at 'resourceConfig.volumeSizeInGB' failed to satisfy constraint: Member must have value greater than"
        " or equal to 0",
        "Value '0' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: Member must have value"
        " greater than or equal to 1",
        "Value 'Shovel' at 'algorithmSpecification.trainingInputMode' failed to satisfy constraint: Member must satisfy"
        " enum value set: [",
    ):
        assert part in r.message, r.message
    assert r.message.count("; ") >= 3


def test_one_violation(sm, bucket):
    bad = request("x_y", "true", bucket)
    with refused("ValidationException", "1 validation error detected: Value 'x_y' at 'trainingJobName'"):
        sm.create_training_job(**bad)
    bad = request("x" * 64, "true", bucket)
    with refused("ValidationException", "at 'trainingJobName'", "Member must have length less than or equal to 63"):
        sm.create_training_job(**bad)
    bad = request(unique(), "true", bucket)
    bad["ResourceConfig"]["InstanceCount"] = 0
    with refused("ValidationException", "InstanceCount"):
        sm.create_training_job(**bad)
    bad = request(unique(), "true", bucket)
    bad["ResourceConfig"]["InstanceType"] = "local"
    with refused(
        "ValidationException",
        "1 validation error detected: Value 'local' at 'resourceConfig.instanceType' failed to satisfy constraint:"
        " Member must satisfy enum value set: [",
    ):
        sm.create_training_job(**bad)


def test_a_hundred_hyperparameters_and_no_more(sm, bucket, start, ended, job_log):
    values = {f"p{i}": "v" * 20 for i in range(100)}
    name = start("grep -o 'p[0-9]*' /opt/ml/input/config/hyperparameters.json | wc -l", HyperParameters=values)
    assert ended(name)["TrainingJobStatus"] == "Completed"
    assert job_log(name) == ["100"]
    with refused("ValidationException", "hyperParameters", "100"):
        sm.create_training_job(**request(unique(), "true", bucket, HyperParameters={**values, "last": "1"}))
    with refused("ValidationException", "2500"):
        sm.create_training_job(**request(unique(), "true", bucket, HyperParameters={"long": "x" * 2501}))


def test_roles_that_cannot_be_used(sm, bucket, role):
    missing = f"arn:aws:iam::{ACCOUNT}:role/NobodyMadeThis"
    with refused(
        "ValidationException",
        f"Could not assume role {missing}. Please ensure that the role exists and allows principal"
        " 'sagemaker.amazonaws.com' to assume the role.",
    ):
        sm.create_training_job(**request(unique(), "true", bucket, RoleArn=missing))
    for_others = role(trusts='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":'
                             '"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}')
    with refused("ValidationException", f"Could not assume role {for_others}"):
        sm.create_training_job(**request(unique(), "true", bucket, RoleArn=for_others))
    with refused("ValidationException", "roleArn"):
        sm.create_training_job(**request(unique(), "true", bucket, RoleArn="not an arn at all, but long enough"))
    foreign = "arn:aws:iam::111122223333:role/Other"
    with refused("ValidationException", "Cross-account"):
        sm.create_training_job(**request(unique(), "true", bucket, RoleArn=foreign))


def test_tags_come_and_go(sm, bucket, start):
    name = start("true", Tags=[{"Key": "team", "Value": "vision"}, {"Key": "empty", "Value": ""}])

    def tags():
        found = [t for page in sm.get_paginator("list_tags").paginate(ResourceArn=arn(name)) for t in page["Tags"]]
        return {t["Key"]: t["Value"] for t in found}

    assert tags() == {"team": "vision", "empty": ""}
    added = sm.add_tags(ResourceArn=arn(name), Tags=[{"Key": "team", "Value": "speech"}, {"Key": "Größe", "Value": "名前"}])
    assert {t["Key"] for t in added["Tags"]} == {"team", "empty", "Größe"}
    assert tags() == {"team": "speech", "empty": "", "Größe": "名前"}
    sm.delete_tags(ResourceArn=arn(name), TagKeys=["empty", "was never there"])
    assert tags() == {"team": "speech", "Größe": "名前"}
    with refused("ValidationException", "aws:"):
        sm.add_tags(ResourceArn=arn(name), Tags=[{"Key": "aws:x", "Value": "1"}])
    with refused("ResourceLimitExceeded", "50"):
        sm.add_tags(ResourceArn=arn(name), Tags=[{"Key": f"k{i}", "Value": ""} for i in range(49)])
    assert len(tags()) == 2
    for call in (lambda a: sm.list_tags(ResourceArn=a), lambda a: sm.add_tags(ResourceArn=a, Tags=[{"Key": "a", "Value": ""}])):
        with refused("ResourceNotFound"):
            call(arn("nobody-made-this"))


def test_stop_and_delete(sm, s3, bucket, start, training, ended):
    name = training(start("trap 'echo saved > /opt/ml/model/m; exit 0' TERM; while :; do sleep 0.05; done"))
    with refused("ResourceInUse", name):
        sm.delete_training_job(TrainingJobName=name)
    sm.stop_training_job(TrainingJobName=name)
    d = ended(name)
    assert (d["TrainingJobStatus"], d["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "FailureReason" not in d
    assert [t["Status"] for t in d["SecondaryStatusTransitions"]] == [
        "Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped",
    ]
    s3.head_object(Bucket=bucket, Key=f"out/{name}/output/model.tar.gz")  # what was saved on SIGTERM
    with refused("ValidationException", "The request was rejected because the training job is in status Stopped"):
        sm.stop_training_job(TrainingJobName=name)
    sm.delete_training_job(TrainingJobName=name)
    with refused("ResourceNotFound"):
        sm.describe_training_job(TrainingJobName=name)
    assert start("true", name=name) == name  # the name is free again
    assert ended(name)["TrainingJobStatus"] == "Completed"


def test_stop_twice_is_fine(sm, start, training, ended):
    name = training(start("trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done"))
    sm.stop_training_job(TrainingJobName=name)
    sm.stop_training_job(TrainingJobName=name)
    assert ended(name)["TrainingJobStatus"] == "Stopped"


def test_stop_before_it_starts(sm, start, ended):
    name = start("sleep 60")
    sm.stop_training_job(TrainingJobName=name)
    d = ended(name)
    assert d["TrainingJobStatus"] == "Stopped"
    assert d["SecondaryStatus"] == "Stopped"


def test_the_waiter(sm, start):
    waiter = sm.get_waiter("training_job_completed_or_stopped")
    quick = {"Delay": 1, "MaxAttempts": 30}
    waiter.wait(TrainingJobName=start("true"), WaiterConfig=quick)
    with pytest.raises(WaiterError, match="Failed"):
        waiter.wait(TrainingJobName=start("exit 3"), WaiterConfig=quick)


def test_metrics_reach_describe_and_cloudwatch(start, ended):
    name = start(
        "for i in 1 2 3 4; do echo \"epoch $i: loss=$i.5 acc=0.$i\"; done",
        algorithm={
            "MetricDefinitions": [
                {"Name": "train:loss", "Regex": "loss=([0-9.]+)"},
                {"Name": "acc", "Regex": "acc=([0-9.]+)"},
            ]
        },
    )
    d = ended(name)
    assert {m["MetricName"]: round(m["Value"], 4) for m in d["FinalMetricDataList"]} == {"train:loss": 4.5, "acc": 0.4}
    cw = client("cloudwatch")
    dimension = [{"Name": "TrainingJobName", "Value": name}]
    points = cw.get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs",
        MetricName="train:loss",
        Dimensions=dimension,
        StartTime=time.time() - 3600,
        EndTime=time.time() + 60,
        Period=3600 * 24,
        Statistics=["Average", "Minimum", "Maximum", "Sum", "SampleCount"],
    )["Datapoints"]
    assert sum(p["SampleCount"] for p in points) == 4
    assert sum(p["Sum"] for p in points) == pytest.approx(12)
    assert min(p["Minimum"] for p in points) == pytest.approx(1.5)
    assert max(p["Maximum"] for p in points) == pytest.approx(4.5)
    metrics = cw.list_metrics(Namespace="/aws/sagemaker/TrainingJobs", Dimensions=dimension)["Metrics"]
    assert {m["MetricName"] for m in metrics} == {"train:loss", "acc"}


def test_what_is_asked_and_not_built_is_refused(sm, bucket):
    with refused("UnsupportedOperation", "EnableNetworkIsolation", "not supported by this server"):
        sm.create_training_job(**request(unique(), "true", bucket, EnableNetworkIsolation=True))


def test_jobs_see_their_role_and_nothing_more(start, ended, job_log, role, bucket):
    arn = role(("Allow", ["s3:PutObject", "s3:AbortMultipartUpload"], f"arn:aws:s3:::{bucket}/out/*"))
    name = start("env | grep -c '^AWS_SECRET_ACCESS_KEY='; echo m > /opt/ml/model/m", RoleArn=arn)
    d = ended(name)
    assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
    assert job_log(name) == ["1"]
    # The same role may not read what it was not given.
    name = start(
        "true",
        RoleArn=arn,
        InputDataConfig=[{
            "ChannelName": "train",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in/"}},
        }],
    )
    d = ended(name)
    assert d["TrainingJobStatus"] == "Failed"
    assert f"s3://{bucket}/in/" in d["FailureReason"] and arn in d["FailureReason"]


def test_forty_jobs_at_once(sm, start, ended, job_log):
    names = [start(f"echo only {i}") for i in range(40)]
    for i, name in enumerate(names):
        assert ended(name)["TrainingJobStatus"] == "Completed"
        assert job_log(name) == [f"only {i}"]


def test_an_unchanged_role_is_shown(sm, start):
    assert sm.describe_training_job(TrainingJobName=start("true"))["RoleArn"] == ROLE


def test_last_modified_moves_with_the_job(sm, start, training, ended):
    name = training(start("while [ ! -e /tmp/go ]; do sleep 0.05; done & sleep 0.4"))
    before = sm.describe_training_job(TrainingJobName=name)["LastModifiedTime"]
    assert eventually(lambda: ended(name)["LastModifiedTime"] > before, "a later change")
