"""Endpoints with the SDK's own calls. The programs run beside the tests, as the SDK waits half a minute in each deploy."""

import json

import boto3
import pytest


@pytest.fixture(scope="module")
def said(started):
    """The line that a program ended with."""

    def read(name):
        text, _ = started[name].communicate(timeout=300)
        assert started[name].returncode == 0, text
        return next(json.loads(line) for line in reversed(text.splitlines()) if line.startswith("{"))

    return read


def test_fit_deploy_predict_update_delete(said):
    last = said("deploy.py")
    assert last["said"] == last["again"] == [3, 5] and last["instances"] == 2
    sm = boto3.client("sagemaker")
    left = [e["EndpointStatus"] for e in sm.list_endpoints(NameContains=last["endpoint"])["Endpoints"]]
    assert left in ([], ["Deleting"])
    # delete_endpoint of the SDK takes the last configuration along and leaves the one that the update replaced.
    assert [c["EndpointConfigName"] for c in sm.list_endpoint_configs(NameContains=last["endpoint"])["EndpointConfigs"]] == [last["endpoint"]]


def test_models_that_were_trained_elsewhere(said):
    assert said("serve.py") == {
        "sklearn": [[5.0, 6.0], [5.0, 6.0]],
        "pytorch": [[5.0], [6.0]],
        "serverless": [[5.0], {"MemorySizeInMB": 1024, "MaxConcurrency": 2}],
        "captured": [["kept-too", "[[3, 3]]"], ["kept", "[[1, 1]]"]],
        "later": [[3.0], [5.0], [7.0], [5.0], True],
    }


def test_many_models_behind_one_endpoint(said):
    last = said("many.py")
    assert last["listed"] == ["copy.tar.gz", "later/five-seven.tar.gz", "two-three.tar.gz"]
    assert last["said"] == [[5.0], [12.0], [12.0], [5.0]]
    assert last["refused"].startswith("ValidationError: ") and "Failed to download model data(bucket: " in last["refused"]


def test_containers_one_after_the_other(said):
    assert said("pipeline.py") == {"said": [True, False], "batch": [True, False], "containers": 2}
