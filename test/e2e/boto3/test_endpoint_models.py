"""Endpoints of many models, and models that are no archives."""

import datetime
import json

import pytest
from conftest import ROLE, client, eventually, refused, unique
from serving import IMAGE, LIMIT, PROGRAM, Serving, archive, variant


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket)


class Many:
    """An endpoint of many models."""

    def __init__(self, serving, **container):
        self.serving, self.name, self.prefix = serving, unique("many"), unique("models")
        whole = {"Image": IMAGE, "Mode": "MultiModel", "ModelDataUrl": f"s3://{serving.bucket}/{self.prefix}/", **container}
        serving.sm.create_model(ModelName=self.name, ExecutionRoleArn=ROLE, Containers=[whole])
        serving.endpoint(variant(self.name), name=self.name)

    def put(self, name, **model):
        body = archive(code__inference_py=PROGRAM, model_json=json.dumps(model).encode())
        self.serving.s3.put_object(Bucket=self.serving.bucket, Key=f"{self.prefix}/{name}", Body=body)

    def ask(self, name, data=None, **more):
        return self.serving.invoke(self.name, data or [[0]], TargetModel=name, **more)[0]


@pytest.fixture(scope="module")
def many(serving):
    many = Many(serving)
    many.put("one.tar.gz", add=1)
    many.put("de/ep/zwölf.tar.gz", add=12)
    return many


@pytest.fixture(scope="module")
def fleeting(serving):
    """One whose models do not stay."""
    return Many(serving, MultiModelConfig={"ModelCacheSetting": "Disabled"})


def test_each_request_has_its_model(serving, many):
    described = serving.sm.describe_model(ModelName=many.name)["PrimaryContainer"]
    assert described["Mode"] == "MultiModel" and described["ModelDataUrl"].endswith("/")
    serving.until(many.name, "InService")
    assert many.ask("one.tar.gz") == [[1]] and many.ask("de/ep/zwölf.tar.gz") == [[12]] and many.ask("/one.tar.gz") == [[1]]
    many.put("later.tar.gz", add=7)
    assert many.ask("later.tar.gz") == [[7]]
    many.put("later.tar.gz", add=8)  # one that is loaded stays as it is
    assert many.ask("later.tar.gz") == [[7]]
    with refused("ModelError", "(500)", "as told", status=424):
        many.ask("one.tar.gz", {"fault": "as told"})
    with refused("ModelError", "(415)", status=424):
        serving.runtime.invoke_endpoint(EndpointName=many.name, ContentType="image/png", TargetModel="one.tar.gz", Body=b"\x89PNG")
    with refused("ValidationError", "Failed to download model data(bucket: "):
        many.ask("nobody.tar.gz")
    with refused("ValidationError", "is missing a target model header"):
        serving.invoke(many.name, [[0]])


def test_models_that_do_not_stay(serving, fleeting):
    serving.until(fleeting.name, "InService")
    fleeting.put("m.tar.gz", add=1)
    assert fleeting.ask("m.tar.gz") == [[1]]
    fleeting.put("m.tar.gz", add=2)
    eventually(lambda: fleeting.ask("m.tar.gz") == [[2]], "the model to be loaded anew")


def test_the_figures_of_many_models(serving, many):
    serving.until(many.name, "InService")
    for _ in range(3):
        many.ask("one.tar.gz")
    cloudwatch = client("cloudwatch")
    dimensions = [{"Name": "EndpointName", "Value": many.name}, {"Name": "VariantName", "Value": "AllTraffic"}]

    def figures(metric, namespace="AWS/SageMaker"):
        now = datetime.datetime.now(datetime.timezone.utc)
        points = cloudwatch.get_metric_statistics(
            Namespace=namespace, MetricName=metric, Dimensions=dimensions, Period=7200,
            StartTime=now - datetime.timedelta(hours=1), EndTime=now + datetime.timedelta(hours=1),
            Statistics=["SampleCount", "Sum", "Average", "Minimum", "Maximum"],
        )["Datapoints"]  # fmt: skip
        return points[0] if points else {"SampleCount": 0, "Sum": 0}

    eventually(lambda: figures("ModelCacheHit")["Sum"] >= 3, "hits to be counted", limit=LIMIT)
    hits = figures("ModelCacheHit")
    assert 0 < hits["Average"] < 1 and hits["Minimum"] == 0 and hits["Maximum"] == 1
    for metric in ("ModelLoadingWaitTime", "ModelDownloadingTime", "ModelLoadingTime"):
        times = figures(metric)
        assert times["SampleCount"] >= 1 and times["Unit"] == "Microseconds" and 0 < times["Minimum"] <= times["Average"] <= times["Maximum"]
    assert figures("LoadedModelCount", "/aws/sagemaker/Endpoints")["Maximum"] >= 1


def test_models_that_are_no_archives(serving):
    prefix = unique("tree")
    for key, body in {"code/inference.py": PROGRAM, "model.json": b'{"add": 5}', "deep/er/file": b""}.items():
        serving.s3.put_object(Bucket=serving.bucket, Key=f"{prefix}/{key}", Body=body)
    alone = b'import os\ndef model_fn(d):\n    return sorted(os.listdir(d))\ndef predict_fn(data, model):\n    return model\n'
    sources = {
        "tree": {"S3Uri": f"s3://{serving.bucket}/{prefix}/", "S3DataType": "S3Prefix"},
        "none": {"S3Uri": f"s3://{serving.bucket}/{prefix}-none/", "S3DataType": "S3Prefix"},
        "file": {"S3Uri": f"s3://{serving.bucket}/{prefix}/model.json", "S3DataType": "S3Object"},
    }
    names = {}
    for kind, source in sources.items():
        names[kind] = unique(kind)
        container = {"Image": IMAGE, "ModelDataSource": {"S3DataSource": {**source, "CompressionType": "None"}}, "Environment": {}}
        if kind == "file":  # its program comes from elsewhere
            serving.s3.put_object(Bucket=serving.bucket, Key=f"{prefix}-code.tar.gz", Body=archive(inference_py=alone))
            container["Environment"] = {
                "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{serving.bucket}/{prefix}-code.tar.gz", "SAGEMAKER_PROGRAM": "inference.py",
            }  # fmt: skip
        serving.sm.create_model(ModelName=names[kind], ExecutionRoleArn=ROLE, PrimaryContainer=container)
        serving.endpoint(variant(names[kind], ModelDataDownloadTimeoutInSeconds=60), name=names[kind])
    serving.until(names["tree"], "InService")
    assert serving.adds(names["tree"]) == 5
    assert "No S3 objects found" in serving.until(names["none"], "Failed")["FailureReason"]
    serving.until(names["file"], "InService")
    assert serving.invoke(names["file"], [[0]])[0] == ["model.json"]
