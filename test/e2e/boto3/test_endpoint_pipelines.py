"""Models of several containers: one after the other, or asked directly."""

import json

import pytest
from conftest import ROLE, client, eventually, refused, unique
from serving import IMAGE, LIMIT, Serving, archive, variant
from test_transform import Transforms

# Each container says what it was sent and adds its own name to it.
STAGE = b"""
import os
import time

NAME = os.environ["STAGE"]
SEEN = "/opt/ml/model/name"


def model_fn(model_dir):
    print("I am", NAME, flush=True)
    return open(SEEN).read()


def input_fn(body, content_type):
    return body.decode() if isinstance(body, bytes) else body, content_type


def predict_fn(data, model):
    text, content_type = data
    if text.startswith("die " + NAME):
        os.kill(os.getppid(), 9)  # the container's first process
        time.sleep(60)
    if text.startswith("fail " + NAME):
        raise ValueError("as told")
    assert model == NAME, model
    return f"{text}>{NAME}({content_type})"


def output_fn(prediction, accept):
    if NAME == "second":
        return prediction, "text/x-second"
    return f"{prediction}[{accept}]", "text/plain"
"""


def container(serving, name, **more):
    data = serving.put(archive(code__inference_py=STAGE, name=name.encode()))
    environment = {"STAGE": name, "SAGEMAKER_MODEL_SERVER_WORKERS": "1", "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": f"text/{name}"}
    return {"Image": IMAGE, "ModelDataUrl": data, "Environment": environment, **more}


def pipeline(serving, *containers, **more):
    name = unique("pipeline")
    serving.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, Containers=list(containers), **more)
    return name


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket, retries=0)


@pytest.fixture(scope="module")
def three(serving):
    model = pipeline(serving, container(serving, "first"), container(serving, "second", ContainerHostname="middle"), container(serving, "third"))
    return serving.endpoint(model, name=model)


@pytest.fixture(scope="module")
def direct(serving):
    both = [container(serving, n, ContainerHostname=f"the-{n}") for n in ("first", "second")]
    model = pipeline(serving, *both, InferenceExecutionConfig={"Mode": "Direct"})
    return serving.endpoint(model, name=model)


def ask(serving, name, text, **more):
    said = serving.runtime.invoke_endpoint(EndpointName=name, ContentType="text/x-asked", Body=text, **more)
    return said["Body"].read().decode(), said["ContentType"]


def test_one_after_the_other(serving, three):
    described = serving.sm.describe_model(ModelName=three)
    assert [c["Environment"]["STAGE"] for c in described["Containers"]] == ["first", "second", "third"] and "PrimaryContainer" not in described
    d = serving.until(three, "InService")
    assert len(d["ProductionVariants"][0]["DeployedImages"]) == 3
    # The caller's Accept is for the last one; the others are asked for nothing and give what they give by default.
    text, content_type = ask(serving, three, "hello", Accept="text/wished")
    assert text == "hello>first(text/x-asked)[text/first]>second(text/plain)>third(text/x-second)[text/wished]"
    assert content_type.startswith("text/plain")


def test_each_has_a_log_of_its_own(serving, three):
    serving.until(three, "InService")
    logs, group = client("logs"), f"/aws/sagemaker/Endpoints/{three}"

    def streams():
        found = [s["logStreamName"] for s in logs.describe_log_streams(logGroupName=group)["logStreams"]]
        return {s.rsplit("/", 1)[1]: s for s in found if s.startswith("AllTraffic/i-")}

    names = eventually(lambda: len(streams()) >= 3 and streams(), "three logs", limit=LIMIT)
    assert {"container-1", "middle", "container-3"} <= set(names)
    for name, stage in (("container-1", "first"), ("middle", "second"), ("container-3", "third")):
        events = logs.get_log_events(logGroupName=group, logStreamName=names[name])["events"]
        assert any(e["message"] == f"I am {stage}" for e in events)


def test_an_error_names_its_container_and_ends_the_way(serving, three):
    serving.until(three, "InService")
    with refused("ModelError", "Received server error (500) from middle with message", "as told", status=424):
        ask(serving, three, "fail second")
    with refused("ModelError", "Received server error (500) from container-1 with message", status=424):
        ask(serving, three, "fail first")


def test_one_that_dies_comes_back_with_the_others(serving):
    model = pipeline(serving, container(serving, "first"), container(serving, "second"))
    name = serving.endpoint(model, name=model)
    serving.until(name, "InService")
    before = ask(serving, name, "x")[0]
    with refused("ModelError", "Received server error (0) from container-2 with message", status=424):
        ask(serving, name, "die second")

    def again():
        try:
            return ask(serving, name, "x")[0] == before
        except Exception:  # it is not there yet
            return False

    eventually(again, "the containers to be back", limit=LIMIT)
    logs, group = client("logs"), f"/aws/sagemaker/Endpoints/{name}"
    streams = lambda: {s["logStreamName"] for s in logs.describe_log_streams(logGroupName=group)["logStreams"]}  # noqa: E731
    eventually(lambda: len(streams()) == 4, "the logs of two instances, one after the other")
    serving.sm.delete_endpoint(EndpointName=name)


def test_asked_directly(serving, direct):
    serving.until(direct, "InService")
    for n in ("first", "second"):
        assert ask(serving, direct, "x", TargetContainerHostname=f"the-{n}")[0].startswith(f"x>{n}(text/x-asked)")
    with refused("ValidationError", "is missing a target container hostname header"):
        ask(serving, direct, "x")
    with refused("ValidationError", "the-third", "the-first, the-second"):
        ask(serving, direct, "x", TargetContainerHostname="the-third")
    with refused("ModelError", "from the-second with message", status=424):
        ask(serving, direct, "fail second", TargetContainerHostname="the-second")


def test_only_where_it_makes_sense(serving, three, direct):
    serving.until(three, "InService")
    with refused("ValidationError", "not configured for direct invocation"):
        ask(serving, three, "x", TargetContainerHostname="middle")
    serverless = {"VariantName": "v", "ModelName": three, "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    with refused("ValidationException", "serverless", "several containers"):
        serving.config(serverless)
    outputs = {"OutputConfig": {"S3OutputPath": f"s3://{serving.bucket}/out"}}
    with refused("ValidationException", "Mode Direct"):
        serving.config(variant(direct), AsyncInferenceConfig=outputs)


def test_a_policy_may_name_containers(serving, direct):
    serving.until(direct, "InService")
    iam, name = client("iam"), unique("caller")
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    allowed = {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": "*",
               "Condition": {"StringLike": {"sagemaker:TargetContainerHostname": ["*-first"]}}}  # fmt: skip
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
    runtime = client("sagemaker-runtime", (key["AccessKeyId"], key["SecretAccessKey"]))
    runtime.invoke_endpoint(EndpointName=direct, ContentType="text/plain", Body="x", TargetContainerHostname="the-first")
    with refused("AccessDeniedException"):
        runtime.invoke_endpoint(EndpointName=direct, ContentType="text/plain", Body="x", TargetContainerHostname="the-second")


def test_a_batch_goes_through_all(serving):
    model, batch = pipeline(serving, container(serving, "first"), container(serving, "second")), Transforms(serving.bucket)
    job = batch.create(model, batch.put(a="one", b="fail second"), BatchStrategy="SingleRecord", MaxConcurrentTransforms=2,
                       ModelClientConfig={"InvocationsMaxRetries": 0})  # fmt: skip
    d = batch.until(job, "Failed")
    assert "second answered 500" in d["FailureReason"].replace("container-2", "second"), d
    outputs = batch.outputs(job)
    assert outputs == {"a.out": "one>first(text/csv)[text/first]>second(text/plain)\n"}, outputs
    streams = client("logs").describe_log_streams(logGroupName="/aws/sagemaker/TransformJobs", logStreamNamePrefix=job)["logStreams"]
    assert {s["logStreamName"].rsplit("/", 1)[1] for s in streams} >= {"container-1", "container-2", "data-log"}
