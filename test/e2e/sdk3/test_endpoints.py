"""Endpoints with the SDK's resources: Model, EndpointConfig and Endpoint."""

import io
import json
import os
import pathlib
import tarfile

import pytest
from botocore.exceptions import ClientError
from conftest import LIMIT
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import AsyncInferenceConfig, AsyncInferenceOutputConfig, ContainerDefinition, ProductionVariant
from sagemaker.core.utils.exceptions import FailedStatusError

PROGRAM = (pathlib.Path(__file__).parent.parent / "serving" / "inference.py").read_bytes()
LATER = AsyncInferenceConfig(
    output_config=AsyncInferenceOutputConfig(s3_output_path="s3://flowers/later/out", s3_failure_path="s3://flowers/later/failed")
)


def packed(model):
    """The archive of a model.json and the program."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as out:
        for file, content in {"code/inference.py": PROGRAM, "model.json": json.dumps(model).encode()}.items():
            member = tarfile.TarInfo(file)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return archive.getvalue()


@pytest.fixture(scope="module")
def deploy(server, data):
    """Serves a model.json, or many of them, under a name, from model to endpoint."""

    def deploy(name, serverless=None, later=None, many=None, **model):
        for archive, one in (many or {"model": model}).items():
            server.s3.put_object(Bucket="flowers", Key=f"{name}/{archive}.tar.gz", Body=packed(one))
        container = ContainerDefinition(
            image="stint/python:latest",
            mode="MultiModel" if many else "SingleModel",
            model_data_url=f"s3://flowers/{name}/" if many else f"s3://flowers/{name}/model.tar.gz",
            environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
        )
        Model.create(model_name=name, primary_container=container, execution_role_arn=os.environ["SAGEMAKER_ROLE"])
        if serverless:  # EndpointConfig.create misspells MemorySizeInMB in these SDKs
            variant = {"VariantName": "AllTraffic", "ModelName": name, "ServerlessConfig": serverless}
            server.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        else:
            variant = ProductionVariant(variant_name="AllTraffic", model_name=name, initial_instance_count=1, instance_type="ml.t2.medium")
            more = {"async_inference_config": later} if later else {}
            EndpointConfig.create(endpoint_config_name=name, production_variants=[variant], **more)
        return Endpoint.create(endpoint_name=name, endpoint_config_name=name)

    return deploy


@pytest.fixture(scope="module", autouse=True)
def all_of_them(deploy):
    """Begun before the first test looks at one."""
    return (
        deploy("three-adds", add=3),
        deploy("three-fails", add=3, fault="the weights are torn"),
        deploy("three-on-use", {"MemorySizeInMB": 1024, "MaxConcurrency": 2}, add=4),
        deploy("three-later", later=LATER, add=5),
        deploy("three-many", many={"a": {"add": 6}, "b": {"add": 7}}),
    )


def test_an_endpoint_from_its_model_to_its_end(all_of_them):
    endpoint = all_of_them[0]
    endpoint.wait_for_status("InService", poll=1, timeout=LIMIT)
    said = endpoint.invoke(body=json.dumps([[1, 2]]), content_type="application/json")
    assert json.loads(said.body.read()) == [[4, 5]] and said.invoked_production_variant == "AllTraffic"
    assert endpoint.endpoint_name in [e.endpoint_name for e in Endpoint.get_all(name_contains="three-")]
    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=LIMIT)
    EndpointConfig.get(endpoint.endpoint_name).delete()
    Model.get(endpoint.endpoint_name).delete()


def test_a_model_that_does_not_load(all_of_them):
    with pytest.raises(FailedStatusError, match="the weights are torn"):
        all_of_them[1].wait_for_status("InService", poll=1, timeout=LIMIT)
    all_of_them[1].delete()


def test_an_endpoint_without_servers(all_of_them):
    endpoint = all_of_them[2]
    endpoint.wait_for_status("InService", poll=1, timeout=LIMIT)
    said = endpoint.invoke(body=json.dumps([[1, 2]]), content_type="application/json")
    assert json.loads(said.body.read()) == [[5, 6]]
    assert Endpoint.get(endpoint.endpoint_name).production_variants[0].current_serverless_config.memory_size_in_mb == 1024
    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=LIMIT)


def test_an_endpoint_that_answers_later(all_of_them, server):
    endpoint = all_of_them[3]
    endpoint.wait_for_status("InService", poll=1, timeout=LIMIT)
    server.s3.put_object(Bucket="flowers", Key="later/in", Body=b"[[1, 2]]", ContentType="application/json")
    began = endpoint.invoke_async(input_location="s3://flowers/later/in", content_type="application/json")
    bucket, key = began.output_location.removeprefix("s3://").split("/", 1)
    server.s3.get_waiter("object_exists").wait(Bucket=bucket, Key=key, WaiterConfig={"Delay": 1, "MaxAttempts": LIMIT})
    said = server.s3.get_object(Bucket=bucket, Key=key)
    assert json.loads(said["Body"].read()) == [[6, 7]] and said["ContentType"] == "application/json"
    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=LIMIT)


def test_many_models_behind_one_endpoint(all_of_them):
    endpoint = all_of_them[4]
    endpoint.wait_for_status("InService", poll=1, timeout=LIMIT)
    for model, added in {"a.tar.gz": 7, "b.tar.gz": 8}.items():
        said = endpoint.invoke(body="[[1]]", content_type="application/json", target_model=model)
        assert json.loads(said.body.read()) == [[added]]
    with pytest.raises(ClientError, match="Failed to download model data"):
        endpoint.invoke(body="[[1]]", content_type="application/json", target_model="c.tar.gz")
    endpoint.delete()
