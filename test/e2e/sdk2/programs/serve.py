"""Models that were trained elsewhere, served with the SDK: scikit-learn with a script of its own and JSON, PyTorch with the
SDK's arrays, one without servers, one whose data is captured, and one that answers later. The SDK waits half a minute in each
deploy, so they are brought up beside each other."""

import io
import json
import os
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import numpy as np
import sagemaker
from sagemaker.async_inference import AsyncInferenceConfig, WaiterConfig
from sagemaker.deserializers import JSONDeserializer
from sagemaker.exceptions import AsyncInferenceModelError
from sagemaker.model_monitor import DataCaptureConfig
from sagemaker.pytorch import PyTorchModel
from sagemaker.serializers import CSVSerializer, JSONSerializer
from sagemaker.serverless import ServerlessInferenceConfig
from sagemaker.sklearn import SKLearnModel

ROLE = os.environ["SAGEMAKER_ROLE"]


def archive(name, **files):
    """Puts a model.tar.gz into the default bucket."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        for file, text in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(text)
            out.addfile(member, io.BytesIO(text.encode()))
    bucket = sagemaker.Session().default_bucket()
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{name}/model.tar.gz", Body=packed.getvalue())
    return f"s3://{bucket}/{name}/model.tar.gz"


def sklearn():
    model = SKLearnModel(
        model_data=archive("linear", weights="2 3"), role=ROLE, entry_point="linear.py", source_dir="code", framework_version="1.2-1"
    )
    predictor = model.deploy(1, "ml.t2.medium", serializer=JSONSerializer(), deserializer=JSONDeserializer())
    said = predictor.predict([[1, 1], [0, 2]])
    predictor.serializer = CSVSerializer()
    csv = predictor.predict("1,1\n0,2")
    predictor.delete_endpoint()
    return [said, csv]


def pytorch():
    model = PyTorchModel(
        model_data=archive("torch", weights="2 3"), role=ROLE, entry_point="linear_torch.py", source_dir="code", framework_version="1.13", py_version="py39"
    )
    predictor = model.deploy(1, "ml.m5.large")
    said = predictor.predict(np.array([[1, 1], [0, 2]], dtype="float32"))
    predictor.delete_endpoint()
    return said.tolist()


def serverless():
    model = SKLearnModel(
        model_data=archive("on-use", weights="2 3"), role=ROLE, entry_point="linear.py", source_dir="code", framework_version="1.2-1"
    )
    predictor = model.deploy(
        serverless_inference_config=ServerlessInferenceConfig(memory_size_in_mb=1024, max_concurrency=2),
        serializer=JSONSerializer(),
        deserializer=JSONDeserializer(),
    )
    said = predictor.predict([[1, 1]])
    config = boto3.client("sagemaker").describe_endpoint(EndpointName=predictor.endpoint_name)
    predictor.delete_endpoint()
    return [said, config["ProductionVariants"][0]["CurrentServerlessConfig"]]


def captured():
    """Captures, not any more, and again into another place."""
    bucket, name = sagemaker.Session().default_bucket(), "linear-captured"

    def places(want):
        for _ in range(60):
            found = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{name}/kept").get("Contents", [])
            if len(found) >= want:
                break
            time.sleep(1)
        lines = [json.loads(boto3.client("s3").get_object(Bucket=bucket, Key=o["Key"])["Body"].read()) for o in found]
        return [[o["Key"].split("/")[1], line["captureData"]["endpointInput"]["data"]] for o, line in zip(found, lines)]

    model = SKLearnModel(
        model_data=archive(name, weights="2 3"), role=ROLE, entry_point="linear.py", source_dir="code", framework_version="1.2-1"
    )
    into = lambda place: DataCaptureConfig(  # noqa: E731
        enable_capture=True, sampling_percentage=100, destination_s3_uri=f"s3://{bucket}/{name}/{place}"
    )
    predictor = model.deploy(
        1, "ml.t2.medium", data_capture_config=into("kept"), serializer=JSONSerializer(), deserializer=JSONDeserializer()
    )
    predictor.predict([[1, 1]])
    places(1)
    predictor.disable_data_capture()
    predictor.predict([[2, 2]])
    predictor.update_data_capture_config(into("kept-too"))
    predictor.predict([[3, 3]])
    found = places(2)
    predictor.delete_endpoint()
    return found


def later():
    model = SKLearnModel(
        model_data=archive("later", weights="2 3"), role=ROLE, entry_point="linear.py", source_dir="code", framework_version="1.2-1"
    )
    predictor = model.deploy(
        1, "ml.t2.medium", async_inference_config=AsyncInferenceConfig(), serializer=JSONSerializer(), deserializer=JSONDeserializer()
    )
    soon = WaiterConfig(max_attempts=60, delay=1)
    begun = [predictor.predict_async([[n, 1]]) for n in range(3)]
    said = [response.get_result(soon) for response in begun]
    said.append(predictor.predict([[1, 1]], waiter_config=soon))
    try:
        predictor.predict_async("nothing to calculate with").get_result(soon)
    except AsyncInferenceModelError as failure:
        said.append("could not convert" in str(failure))
    predictor.delete_endpoint()
    return said


with ThreadPoolExecutor() as pool:
    begun = {f.__name__: pool.submit(f) for f in (sklearn, pytorch, serverless, captured, later)}
    said = {name: future.result() for name, future in begun.items()}
print()  # the SDK has drawn how the endpoints came up
print(json.dumps(said))
