"""Managed spot training as a boto3 user has it. The jobs are all begun before the first test looks at one."""

import io
import json
import pathlib
import random
import re
import sys
import tarfile

import pytest
from conftest import ACCOUNT, REGION, client, eventually, refused, request, unique

SPOT = pathlib.Path(__file__).parent.parent / "spot"
sys.path.append(str(SPOT))
from calls import INTERRUPTED, ONCE, bill, call, check_savings, history, interrupt  # noqa: E402

RUN, WAIT = 300, 900


def spot_request(name, bucket, *arguments, checkpoints=True, **more):
    """A managed spot job that runs lives.py."""
    r = request(name, "", bucket, algorithm={
        "TrainingImage": "stint/python:latest",
        "ContainerEntrypoint": ["python", "/opt/ml/input/data/code/lives.py", *map(str, arguments)],
    })
    r["EnableManagedSpotTraining"] = True
    r["StoppingCondition"] = {"MaxRuntimeInSeconds": RUN, "MaxWaitTimeInSeconds": WAIT}
    r["InputDataConfig"] = [{
        "ChannelName": "code",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/spot-code/"}},
    }]
    if checkpoints:
        r["CheckpointConfig"] = {"S3Uri": f"s3://{bucket}/checkpoints/{name}/"}
    r.update(more)
    return r


@pytest.fixture(scope="module")
def begin(sm, s3, bucket):
    s3.put_object(Bucket=bucket, Key="spot-code/lives.py", Body=(SPOT / "lives.py").read_bytes())

    def begin(*arguments, name=None, **more):
        name = name or unique("spot")
        sm.create_training_job(**spot_request(name, bucket, *arguments, **more))
        return name

    return begin


@pytest.fixture(scope="module", autouse=True)
def jobs(begin, bucket):
    """Every job of these tests, begun at once."""
    return {
        "calm": begin(Tags=[{"Key": "team", "Value": "spot"}]),
        "interrupted": begin("--lives", 2),
        "twice": begin("--lives", 3),
        "deaf": begin("--lives", 2, "--hear", "never"),
        "imds": begin("--lives", 2, "--hear", "imds"),
        "file": begin("--lives", 2, "--hear", "file"),
        "elsewhere": begin(
            "--lives", 2, "--folder", "/opt/ml/saved/here",
            CheckpointConfig={"S3Uri": f"s3://{bucket}/elsewhere", "LocalPath": "/opt/ml/saved/here"},
            RetryStrategy={"MaximumRetryAttempts": 2},
        ),
        "late": begin("--lives", 2, StoppingCondition={"MaxRuntimeInSeconds": 30, "MaxWaitTimeInSeconds": 30}),  # to begin, among all of these
        "unsaved": begin("--lives", 2, "--hear", "never", checkpoints=False),
        "damaged": begin("--lives", 2),
        "stopped": begin("--lives", 2),
        "regular": begin(EnableManagedSpotTraining=False, StoppingCondition={"MaxRuntimeInSeconds": RUN}, RetryStrategy={"MaximumRetryAttempts": 1}),
    }


@pytest.fixture(scope="module")
def works(sm, logs, job_log):
    """Waits until a life of a job is at work."""

    def said(name, line):
        try:
            return line in job_log(name)
        except logs.exceptions.ResourceNotFoundException:  # no job has said anything yet
            return False

    def works(name, life=1):
        def look():
            d = sm.describe_training_job(TrainingJobName=name)
            assert d["TrainingJobStatus"] == "InProgress", (history(d), d.get("FailureReason"))
            return d["SecondaryStatus"] == "Training" and said(name, f"life {life} works")

        eventually(look, f"life {life} of {name} to work", limit=60)
        return name

    return works


@pytest.fixture(scope="module")
def completed(ended):
    def completed(name, phases=INTERRUPTED):
        d = ended(name)
        assert d["TrainingJobStatus"] == "Completed", (history(d), d.get("FailureReason"))
        assert history(d) == phases
        return d

    return completed


@pytest.fixture(scope="module")
def result(s3):
    """What the last life of a job wrote into its model."""

    def result(d):
        bucket, key = d["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").split("/", 1)
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as files:
            return json.load(files.extractfile("result.json"))

    return result


def check_lives(lives, heard="SIGTERM"):
    """Each life goes on from where the one before it was told to end."""
    assert lives[0]["from"] == 0 and lives[-1]["heard"] is None
    assert [life["heard"] for life in lives[:-1]] == [heard] * (len(lives) - 1)
    steps = [life["from"] for life in lives]
    assert steps == sorted(set(steps)), steps


def listed(s3, bucket, prefix):
    """What a user finds under a prefix, without the platform's own books."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [o["Key"].removeprefix(prefix) for page in pages for o in page.get("Contents", [])]
    return sorted(key for key in keys if not key.startswith(".stint/"))


def test_an_undisturbed_job(jobs, completed, result, sm, s3, bucket):
    d = completed(jobs["calm"], ONCE)
    assert d["EnableManagedSpotTraining"] is True
    assert d["CheckpointConfig"] == {"S3Uri": f"s3://{bucket}/checkpoints/{jobs['calm']}/"}
    assert d["StoppingCondition"] == {"MaxRuntimeInSeconds": RUN, "MaxWaitTimeInSeconds": WAIT}
    assert result(d) == {"step": 10, "lives": [{"from": 0, "heard": None}]}
    check_savings(d)
    assert sm.list_tags(ResourceArn=d["TrainingJobArn"])["Tags"] == [{"Key": "team", "Value": "spot"}]


def test_checkpoints_lie_flat_under_their_prefix_byte_by_byte(jobs, completed, s3, bucket):
    name = jobs["calm"]
    completed(name, ONCE)
    prefix = f"checkpoints/{name}/"
    assert listed(s3, bucket, prefix) == ["deep/step 10.bin", "deep/step 5.bin", "state.json"]
    for step in (5, 10):
        body = s3.get_object(Bucket=bucket, Key=f"{prefix}deep/step {step}.bin")["Body"].read()
        assert body == random.Random(step).randbytes(70_000)
    assert json.loads(s3.get_object(Bucket=bucket, Key=prefix + "state.json")["Body"].read())["step"] == 10


def test_jobs_on_demand_keep_checkpoints_too(jobs, completed, result, s3, bucket):
    d = completed(jobs["regular"], ONCE)
    assert d["EnableManagedSpotTraining"] is False and d["BillableTimeInSeconds"] == d["TrainingTimeInSeconds"]
    assert listed(s3, bucket, f"checkpoints/{jobs['regular']}/") == ["deep/step 10.bin", "deep/step 5.bin", "state.json"]
    assert {line["Purchase"] for line in bill(jobs["regular"])["Lines"]} == {"on-demand"}


def test_another_job_goes_on_from_the_checkpoints_of_the_first(jobs, begin, completed, result, bucket):
    first = jobs["calm"]
    completed(first, ONCE)
    d = completed(begin("--lives", 2, CheckpointConfig={"S3Uri": f"s3://{bucket}/checkpoints/{first}/"}), ONCE)
    assert result(d) == {"step": 20, "lives": [{"from": 0, "heard": None}, {"from": 10, "heard": None}]}


def test_checkpoints_that_a_user_put_there_are_given_to_the_job(begin, completed, result, s3, bucket):
    state = {"step": 40, "lives": [{"from": 0, "heard": None}]}
    s3.put_object(Bucket=bucket, Key="mine/state.json", Body=json.dumps(state).encode())
    s3.put_object(Bucket=bucket, Key="mine/deep/step 40.bin", Body=random.Random(40).randbytes(70_000))
    d = completed(begin("--lives", 2, CheckpointConfig={"S3Uri": f"s3://{bucket}/mine"}), ONCE)
    assert result(d)["lives"][1] == {"from": 40, "heard": None}


def test_one_interruption(jobs, works, completed, result):
    name = works(jobs["interrupted"])
    interrupt(name, Reason="a drill")
    d = completed(name)
    check_lives(result(d)["lives"])
    assert any("a drill" in t["StatusMessage"] for t in d["SecondaryStatusTransitions"] if t["Status"] == "Interrupted")
    check_savings(d)
    # Waiting for capacity is not training.
    assert d["TrainingTimeInSeconds"] <= (d["TrainingEndTime"] - d["TrainingStartTime"]).total_seconds() + 2
    assert len(bill(name)["Lines"]) == 2


def test_a_damaged_set_of_checkpoints_gives_way_to_the_one_before(jobs, works, begin, completed, result, s3, bucket):
    first = works(jobs["damaged"])
    interrupt(first)
    last = result(completed(first))
    prefix = f"checkpoints/{first}"
    s3.delete_object(Bucket=bucket, Key=f"{prefix}/deep/step {last['step']}.bin")
    d = completed(begin("--lives", 2, CheckpointConfig={"S3Uri": f"s3://{bucket}/{prefix}"}), ONCE)
    # The set before is the one of the interruption: the second life of the first job is lived again, and that is said.
    assert result(d)["lives"] == last["lives"]
    told = " ".join(t["StatusMessage"] for t in d["SecondaryStatusTransitions"])
    assert re.search(r"generation \d of the checkpoints of algo-1 is not whole: .*The one before is used, generation \d", told), told


def test_two_interruptions(jobs, works, completed, result):
    name = jobs["twice"]
    for life in (1, 2):
        interrupt(works(name, life))
    d = completed(name, INTERRUPTED[:4] + INTERRUPTED)
    assert len(result(d)["lives"]) == 3
    check_lives(result(d)["lives"])
    check_savings(d)


def test_a_script_that_hears_nothing_is_ended_in_time(jobs, works, completed, result):
    name = works(jobs["deaf"])
    interrupt(name, notice=6)
    lives = result(completed(name))["lives"]
    assert len(lives) == 2 and lives[1]["from"] >= 5 and lives[1]["from"] % 5 == 0  # what it had saved by itself


def test_a_handler_that_asks_the_metadata_service(jobs, works, completed, result):
    name = works(jobs["imds"])
    told = interrupt(name)
    heard = json.loads(result(completed(name))["lives"][0]["heard"])
    assert heard["action"] == "terminate" and len(heard["time"]) == len("2026-01-02T15:04:05Z")
    assert heard["time"].endswith("Z"), (heard, told)


def test_a_handler_that_looks_for_the_file(jobs, works, completed, result):
    name = works(jobs["file"])
    interrupt(name)
    assert json.loads(result(completed(name))["lives"][0]["heard"])["action"] == "terminate"


def test_a_folder_of_its_own(jobs, works, completed, result, s3, bucket):
    name = works(jobs["elsewhere"])
    interrupt(name)
    d = completed(name)
    check_lives(result(d)["lives"])
    assert d["CheckpointConfig"] == {"S3Uri": f"s3://{bucket}/elsewhere", "LocalPath": "/opt/ml/saved/here"}
    assert d["RetryStrategy"] == {"MaximumRetryAttempts": 2}
    assert "state.json" in listed(s3, bucket, "elsewhere/")


def test_out_of_waiting_time_at_work(jobs, ended, s3, bucket):
    d = ended(jobs["late"])
    assert (d["TrainingJobStatus"], d["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    phases = [p for p in history(d) if p != "Uploading"]
    assert phases == ["Starting", "Downloading", "Training", "Stopping", "MaxWaitTimeExceeded"]
    assert "MaxWaitTimeInSeconds" in d["SecondaryStatusTransitions"][-1]["StatusMessage"]
    check_savings(d)
    # Its code was let save, and what it saved is home.
    assert "state.json" in listed(s3, bucket, f"checkpoints/{jobs['late']}/")


def test_without_checkpoints_it_starts_from_nothing_and_is_told(jobs, works, sm):
    name = works(jobs["unsaved"])
    d = sm.describe_training_job(TrainingJobName=name)
    assert "without CheckpointConfig" not in d["SecondaryStatusTransitions"][0]["StatusMessage"]  # it may wait for 15 minutes only
    interrupt(name, notice=1)
    works(name)  # again: another life 1
    eventually(
        lambda: "Interrupted" in history(sm.describe_training_job(TrainingJobName=name)), "the interruption to be told"
    )
    sm.stop_training_job(TrainingJobName=name)


def test_stopping_is_for_spot_jobs_too(jobs, works, sm, ended):
    name = works(jobs["stopped"])
    sm.stop_training_job(TrainingJobName=name)
    d = ended(name)
    assert (d["TrainingJobStatus"], d["SecondaryStatus"]) == ("Stopped", "Stopped")
    check_savings(d)


def test_what_cannot_be_interrupted(jobs, completed, start, training):
    completed(jobs["calm"], ONCE)
    regular = training(start("exec sleep 60"))
    for name, words in {
        jobs["calm"]: "it is in status Completed",
        regular: "it is not managed spot training",
        "nobody": "ResourceNotFound",
    }.items():
        with pytest.raises(RuntimeError, match=words):
            interrupt(name)


def test_offers():
    offer, = call("GetSpotOffers", InstanceTypes=["ml.m5.large"])["Offers"]
    assert offer["Available"] is True
    assert float(offer["SpotPrice"]["Amount"]) == pytest.approx(0.3 * float(offer["OnDemandPrice"]["Amount"]))
    assert len(call("GetSpotOffers")["Offers"]) > 50


def test_a_prefix_that_may_not_be_written_fails_the_job_at_its_start(begin, ended, role, bucket):
    arn = role(
        ("Allow", "s3:*", "*"),
        ("Deny", "s3:PutObject", f"arn:aws:s3:::{bucket}/forbidden/*"),
    )
    d = ended(begin("--lives", 2, RoleArn=arn, CheckpointConfig={"S3Uri": f"s3://{bucket}/forbidden/here"}))
    assert d["TrainingJobStatus"] == "Failed"
    assert "Training" not in history(d)
    assert d["FailureReason"].startswith("ClientError") and f"s3://{bucket}/forbidden/here" in d["FailureReason"], d["FailureReason"]


def test_a_bucket_that_is_not_there_fails_the_job_at_its_start(begin, ended):
    d = ended(begin("--lives", 2, CheckpointConfig={"S3Uri": "s3://no-such-bucket-anywhere/here"}))
    assert d["TrainingJobStatus"] == "Failed" and "Training" not in history(d)
    assert "no-such-bucket-anywhere" in d["FailureReason"]


BAD = {
    "no wait": ({"StoppingCondition": {"MaxRuntimeInSeconds": 60}}, "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"),
    "short wait": (
        {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59}},
        "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds (60; got 59)",
    ),
    "wait of a day's run": ({"StoppingCondition": {"MaxRuntimeInSeconds": 86400, "MaxWaitTimeInSeconds": 3600}}, "(86400; got 3600)"),
    "wait without spot": ({"EnableManagedSpotTraining": False}, "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"),
    "outside": ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/var/checkpoints"}}, "must be a folder below /opt/ml"),
    "around": ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/checkpoints/../../../etc"}}, "must be a folder below /opt/ml"),
    "all": ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml"}}, "must be a folder below /opt/ml"),
    "the inputs": ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/input/data"}}, "must not overlap with /opt/ml/input"),
    "the model": ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/model/ck"}}, "must not overlap with /opt/ml/model"),
    "the output": ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/output"}}, "must not overlap with /opt/ml/output"),
    "not S3": ({"CheckpointConfig": {"S3Uri": "https://b/c"}}, "is not an S3 URI"),
    "the data": ({"CheckpointConfig": {"S3Uri": "s3://shared-bucket/spot-code"}}, 'the input of channel "code"'),
    "the artifacts": ({"CheckpointConfig": {"S3Uri": "s3://shared-bucket/out/"}}, "where the output of the job goes"),
    "a wild fallback": ({"Tags": [{"Key": "stint:fallback", "Value": "maybe"}]}, "must be none or on-demand"),
    "a lone deadline": ({"Tags": [{"Key": "stint:deadline", "Value": "5m"}]}, "needs the tag stint:fallback=on-demand"),
    "a wild deadline": (
        {"Tags": [{"Key": "stint:deadline", "Value": "tomorrow"}, {"Key": "stint:fallback", "Value": "on-demand"}]},
        "must be a duration such as 6h30m",
    ),
    "a late deadline": (
        {"Tags": [{"Key": "stint:deadline", "Value": "16m"}, {"Key": "stint:fallback", "Value": "on-demand"}]},
        f"must not be later than MaxWaitTimeInSeconds ({WAIT})",
    ),
    "tags without spot": (
        {"EnableManagedSpotTraining": False, "StoppingCondition": {"MaxRuntimeInSeconds": 60}, "Tags": [{"Key": "stint:fallback", "Value": "none"}]},
        "only supported when EnableManagedSpotTraining",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, sm, bucket):
    more, words = BAD[case]
    with refused("ValidationException", words, status=400):
        sm.create_training_job(**spot_request(unique("bad"), bucket, **more))


def test_hours_without_checkpoints_are_warned_of(begin, sm):
    name = begin("--lives", 2, checkpoints=False, StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 3601})
    d = sm.describe_training_job(TrainingJobName=name)
    assert "without CheckpointConfig starts from nothing after each interruption" in d["SecondaryStatusTransitions"][0]["StatusMessage"]
    sm.stop_training_job(TrainingJobName=name)


def test_a_permission_of_its_own(jobs, user, monkeypatch):
    key = user(("Allow", "sagemaker:*", "*"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key[1])
    with pytest.raises(RuntimeError, match="not authorized to perform: stint:InterruptTrainingJob on resource: "
                       f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{jobs['calm']}"):
        interrupt(jobs["calm"])
