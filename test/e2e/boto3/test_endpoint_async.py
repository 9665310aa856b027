"""Asynchronous endpoints."""

import json

import pytest
from botocore.exceptions import ClientError
from conftest import eventually, unique
from serving import LIMIT, Serving


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket)


@pytest.fixture(scope="module")
def endpoint(serving):
    """One that has an invocation at a time, from its configuration to its end."""
    name = unique("later")
    config = {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
        "OutputConfig": {"S3OutputPath": f"s3://{serving.bucket}/{name}/out", "S3FailurePath": f"s3://{serving.bucket}/{name}/failed"},
    }
    made = serving.config(serving.model(add=1), AsyncInferenceConfig=config)
    serving.sm.create_endpoint(EndpointName=name, EndpointConfigName=made)
    described = serving.until(name, "InService")
    assert described["AsyncInferenceConfig"] == config
    assert serving.sm.describe_endpoint_config(EndpointConfigName=made)["AsyncInferenceConfig"] == config
    yield name
    serving.sm.delete_endpoint(EndpointName=name)


def ask(serving, name, body, **more):
    key = unique("input")
    serving.s3.put_object(Bucket=serving.bucket, Key=key, Body=json.dumps(body).encode(), ContentType="application/json")
    return serving.runtime.invoke_endpoint_async(EndpointName=name, InputLocation=f"s3://{serving.bucket}/{key}", **more)


def read(serving, location):
    """The object there, None while there is none."""
    bucket, key = location.removeprefix("s3://").split("/", 1)
    try:
        return serving.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except serving.s3.exceptions.NoSuchKey:
        return None


def test_answers_come_in_the_end(serving, endpoint):
    said = [ask(serving, endpoint, [[n]], InferenceId=f"number {n}") for n in range(10)]
    assert [s["InferenceId"] for s in said] == [f"number {n}" for n in range(10)]
    assert said[0]["ResponseMetadata"]["HTTPStatusCode"] == 202
    for n, s in enumerate(said):
        # The input's own type says what it is: the call says nothing of it.
        assert json.loads(eventually(lambda: read(serving, s["OutputLocation"]), "the answer", limit=LIMIT)) == [[n + 1]]
        assert read(serving, s["FailureLocation"]) is None


def test_what_takes_too_long_is_a_failure(serving, endpoint):
    said = ask(serving, endpoint, {"sleeps": 4}, InvocationTimeoutSeconds=1)
    assert b"timed out" in eventually(lambda: read(serving, said["FailureLocation"]), "the failure", limit=LIMIT)
    after = ask(serving, endpoint, [[1]])  # the container has one worker, which is free again
    assert json.loads(eventually(lambda: read(serving, after["OutputLocation"]), "the answer", limit=LIMIT)) == [[2]]


def test_what_is_refused(serving, endpoint):
    for words, arguments in {
        "exactly one production variant": {"variants": 2},
        "S3OutputPath": {"output": {}},
        "not an S3 URI": {"output": {"S3OutputPath": "https://bucket.s3.amazonaws.com/out"}},
    }.items():
        model = serving.model()
        variants = [
            {"VariantName": f"V{n}", "ModelName": model, "InstanceType": "ml.t2.medium", "InitialInstanceCount": 1}
            for n in range(arguments.get("variants", 1))
        ]
        output = arguments.get("output", {"S3OutputPath": "s3://b/out"})
        with pytest.raises(ClientError, match=words):
            serving.config(*variants, AsyncInferenceConfig={"OutputConfig": output})
    # It stays what it is, and one in real time does not become it.
    with pytest.raises(ClientError, match="from real-time to asynchronous inference or back"):
        serving.sm.update_endpoint(EndpointName=endpoint, EndpointConfigName=serving.config(serving.model()))
    with pytest.raises(ClientError, match="Use InvokeEndpointAsync"):
        serving.invoke(endpoint, [[1]])
