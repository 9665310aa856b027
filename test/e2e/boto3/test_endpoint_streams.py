"""Answers that stream, and the figures that CloudWatch has of an endpoint."""

import datetime
import json
import time

import pytest
from botocore.exceptions import ClientError, EventStreamError
from conftest import client, eventually, refused
from serving import LIMIT, Serving

# Streams as many words as it is asked for.
STREAMING = b"""
import json
import time


def model_fn(model_dir):
    return {}


def predict_fn(data, model):
    return data


def output_fn(data, accept):
    if data.get("fault"):
        raise ValueError(data["fault"])
    return (word for word in words(data)), "application/x-words"


def words(data):
    for number in range(data["words"]):
        yield ("word %d " % number).encode()
        time.sleep(data.get("pause", 0))
    if data.get("torn"):
        raise RuntimeError("torn")
"""


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket)


@pytest.fixture(scope="module")
def streaming(serving):
    name = serving.endpoint(serving.model(program=STREAMING))
    serving.until(name, "InService")
    return name


def stream(serving, name, runtime=None, **asked):
    return (runtime or serving.runtime).invoke_endpoint_with_response_stream(
        EndpointName=name, ContentType="application/json", Accept="application/x-words", Body=json.dumps(asked)
    )


def test_an_answer_streams(serving, streaming):
    said = stream(serving, streaming, words=5, pause=0.4)
    assert said["ContentType"] == "application/x-words" and said["InvokedProductionVariant"] == "AllTraffic"
    parts, came = [], []
    for event in said["Body"]:
        parts.append(event["PayloadPart"]["Bytes"])
        came.append(time.monotonic())
    assert b"".join(parts) == b"word 0 word 1 word 2 word 3 word 4 "
    assert len(parts) > 1 and came[-1] - came[0] > 0.5  # it came as it was made


def test_much_streams_whole(serving, streaming):
    parts = [event["PayloadPart"]["Bytes"] for event in stream(serving, streaming, words=20_000)["Body"]]
    assert b"".join(parts) == b"".join(b"word %d " % n for n in range(20_000))


def test_a_stream_that_breaks_off_says_so(serving, streaming):
    parts = []
    with pytest.raises(EventStreamError) as raised:
        for event in stream(serving, streaming, words=3, torn=True)["Body"]:
            parts.append(event["PayloadPart"]["Bytes"])
    assert b"".join(parts) == b"word 0 word 1 word 2 "
    assert raised.value.response["Error"]["Code"] == "ModelStreamError", raised.value.response


def test_an_error_before_the_stream_is_the_models(serving, streaming):
    with pytest.raises(ClientError) as raised:
        stream(serving, streaming, fault="no words")
    said = raised.value.response
    assert (said["Error"]["Code"], said["OriginalStatusCode"]) == ("ModelError", 500) and "no words" in said["OriginalMessage"]


def test_who_may_have_a_stream(serving, streaming, user):
    arn = serving.describe(streaming)["EndpointArn"]
    only = client("sagemaker-runtime", user(("Allow", "sagemaker:InvokeEndpoint", arn)))
    with refused("AccessDeniedException", "sagemaker:InvokeEndpointWithResponseStream"):
        stream(serving, streaming, only, words=1)
    both = client("sagemaker-runtime", user(("Allow", "sagemaker:InvokeEndpointWithResponseStream", arn)))
    assert [e["PayloadPart"]["Bytes"] for e in stream(serving, streaming, both, words=1)["Body"]] == [b"word 0 "]


def test_the_figures_of_an_endpoint(serving):
    name = serving.endpoint(serving.model(add=1))
    serving.until(name, "InService")
    for _ in range(8):
        serving.adds(name)
    serving.invoke(name, {"sleeps": 0.3})
    with pytest.raises(ClientError):
        serving.invoke(name, {"fault": "once"})
    with pytest.raises(ClientError):
        serving.runtime.invoke_endpoint(EndpointName=name, ContentType="image/png", Body=b"\x89PNG")
    cloudwatch = client("cloudwatch")
    dimensions = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "AllTraffic"}]

    def figures(metric):
        """The metric of the last hour in one."""
        now = datetime.datetime.now(datetime.timezone.utc)
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker", MetricName=metric, Dimensions=dimensions, Period=7200,
            StartTime=now - datetime.timedelta(hours=1), EndTime=now + datetime.timedelta(hours=1),
            Statistics=["SampleCount", "Sum", "Average", "Minimum", "Maximum"],
        )["Datapoints"]  # fmt: skip
        return points[0] if points else {"SampleCount": 0}

    eventually(lambda: figures("Invocations")["SampleCount"] == 11, "eleven invocations to be counted", limit=LIMIT)
    assert figures("Invocations")["Sum"] == 11 and figures("InvocationsPerInstance")["Sum"] == 11
    for metric in ("Invocation4XXErrors", "Invocation5XXErrors"):
        errors = figures(metric)
        assert (errors["Sum"], errors["Minimum"], errors["Maximum"]) == (1, 0, 1) and abs(errors["Average"] - 1 / 11) < 1e-9
    model, overhead = figures("ModelLatency"), figures("OverheadLatency")
    assert model["SampleCount"] == overhead["SampleCount"] == 11 and model["Unit"] == overhead["Unit"] == "Microseconds"
    assert 0 < model["Minimum"] < 300_000 <= model["Maximum"] < 60_000_000
    assert model["Minimum"] <= model["Average"] <= model["Maximum"] and abs(model["Average"] * 11 - model["Sum"]) < 1
    listed = cloudwatch.list_metrics(Namespace="AWS/SageMaker", Dimensions=dimensions)["Metrics"]
    assert {"Invocations", "ModelLatency", "OverheadLatency"} <= {m["MetricName"] for m in listed}
