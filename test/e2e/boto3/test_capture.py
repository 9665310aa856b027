"""Data capture as a boto3 user has it: what is written where, and how it is turned on and off."""

import base64
import json
import re

import pytest
from conftest import eventually, refused, unique
from serving import Serving, variant

FILE = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]{2}/[0-9]{2}-[0-9]{2}-[0-9]{3}-[0-9a-f-]{36}\.jsonl")


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket)


def capture(s, prefix, **more):
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{s.bucket}/{prefix}",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
        **more,
    }


def lines(s, prefix, endpoint):
    """All that is captured, in the order of the files' names."""
    found = []
    below = f"{prefix}/{endpoint}/AllTraffic/"
    for page in s.s3.get_paginator("list_objects_v2").paginate(Bucket=s.bucket, Prefix=prefix + "/"):
        for o in page.get("Contents", ()):
            assert o["Key"].startswith(below) and FILE.fullmatch(o["Key"][len(below) :]), o["Key"]
            found += s.s3.get_object(Bucket=s.bucket, Key=o["Key"], IfMatch=o["ETag"])["Body"].read().decode().splitlines()
    return [json.loads(line) for line in found]


def test_what_is_captured_and_how_it_is_turned_off_and_on(serving):
    s, prefix = serving, unique("captured")
    model = s.model(add=10)
    on, off = s.config(model, DataCaptureConfig=capture(s, prefix)), s.config(model, DataCaptureConfig=capture(s, prefix, EnableCapture=False))
    name = unique("endpoint")
    s.sm.create_endpoint(EndpointName=name, EndpointConfigName=on)
    d = s.until(name, "InService")
    assert d["DataCaptureConfig"] == {
        "EnableCapture": True, "CaptureStatus": "Started", "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{s.bucket}/{prefix}", "KmsKeyId": "",
    }  # fmt: skip
    assert s.sm.describe_endpoint_config(EndpointConfigName=on)["DataCaptureConfig"] == capture(s, prefix)

    # 1. What is asked and answered, with what ground truth is joined by.
    s.invoke(name, [[1, 2]], InferenceId="the one", CustomAttributes="trace=7")
    s.runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Accept="application/json", Body="3,4")
    with pytest.raises(s.runtime.exceptions.ModelError):
        s.invoke(name, {"fault": "as told"})
    captured = eventually(lambda: len(lines(s, prefix, name)) == 2 and lines(s, prefix, name), "the lines", limit=30)
    first, second = sorted(captured, key=lambda c: "inferenceId" not in c["eventMetadata"])
    event = first["eventMetadata"]
    assert re.fullmatch(r"[0-9a-f-]{36}", event.pop("eventId")) and re.fullmatch(r"[0-9-]{10}T[0-9:]{8}Z", event.pop("inferenceTime"))
    assert event == {"inferenceId": "the one", "customAttributes": ["trace=7"]} and first["eventVersion"] == "0"
    sent, said = first["captureData"]["endpointInput"], first["captureData"]["endpointOutput"]
    assert sent == {"observedContentType": "application/json", "mode": "INPUT", "data": "[[1, 2]]", "encoding": "JSON"}
    assert (said["mode"], said["encoding"], json.loads(said["data"])) == ("OUTPUT", "JSON", [[11, 12]])
    sent = second["captureData"]["endpointInput"]
    assert (sent["data"], sent["encoding"]) == ("3,4", "CSV")

    # 2. Another configuration turns it off, and another one on again, of half of what is said.
    s.sm.update_endpoint(EndpointName=name, EndpointConfigName=off)
    d = s.until(name, "InService")["DataCaptureConfig"]
    assert (d["EnableCapture"], d["CaptureStatus"]) == (False, "Stopped")
    s.invoke(name, [[5]])
    bare = capture(s, prefix, CaptureOptions=[{"CaptureMode": "Output"}])
    del bare["CaptureContentTypeHeader"]
    s.sm.update_endpoint(EndpointName=name, EndpointConfigName=s.config(model, DataCaptureConfig=bare))
    s.until(name, "InService")
    s.invoke(name, [[6]])
    third = eventually(lambda: len(lines(s, prefix, name)) > 2 and lines(s, prefix, name), "another line", limit=30)
    new = [c["captureData"] for c in third if "endpointInput" not in c["captureData"]]
    assert len(third) == 3 and json.loads(base64.b64decode(new[0]["endpointOutput"]["data"])) == [[16]]
    assert new[0]["endpointOutput"]["encoding"] == "BASE64"

    # 3. An update that retains what there is retains this too.
    s.sm.update_endpoint(EndpointName=name, EndpointConfigName=off, RetainAllVariantProperties=True)
    assert s.until(name, "InService")["DataCaptureConfig"]["CaptureStatus"] == "Started"
    s.sm.delete_endpoint(EndpointName=name)


def test_what_cannot_be_captured_is_refused(serving):
    s = serving
    model = s.model()
    with refused("UnsupportedOperation", "KmsKeyId"):
        s.config(model, DataCaptureConfig=capture(s, "x", KmsKeyId="a-key"))
    with refused("ValidationException", "nowhere"):
        s.config(model, DataCaptureConfig=capture(s, "x", DestinationS3Uri="https://nowhere/x"))
    serverless = variant(model)
    del serverless["InstanceType"], serverless["InitialInstanceCount"]
    serverless["ServerlessConfig"] = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    with refused("ValidationException", "serverless"):
        s.config(serverless, DataCaptureConfig=capture(s, "x"))
