"""What the tests of endpoints share: models that are archives of a small program, and endpoints that serve them."""

import io
import json
import pathlib
import tarfile
import threading

from botocore.config import Config
from conftest import ROLE, client, eventually, unique

PROGRAM = (pathlib.Path(__file__).parent.parent / "serving" / "inference.py").read_bytes()
IMAGE = "stint/python:latest"
LIMIT = 120  # seconds that an endpoint may take when many come up at once, on a busy machine


def archive(**files):
    """A model.tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("_py", ".py").replace("_json", ".json"))
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return packed.getvalue()


class Serving:
    """Makes models, configurations and endpoints, and asks them."""

    def __init__(self, bucket, retries=4):
        self.sm, self.s3, self.bucket = client("sagemaker"), client("s3"), bucket
        self.runtime = client("sagemaker-runtime", config=Config(read_timeout=90, retries={"total_max_attempts": retries + 1}))

    def put(self, body):
        key = unique("model") + "/model.tar.gz"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"

    def model(self, program=PROGRAM, name=None, environment=None, **model):
        """A model of the program with this model.json beside it."""
        name = name or unique("model")
        data = self.put(archive(code__inference_py=program, model_json=json.dumps({"add": 0, **model}).encode()))
        one_worker = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", **(environment or {})}
        container = {"Image": IMAGE, "ModelDataUrl": data, "Environment": one_worker}
        self.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        return name

    def config(self, *variants, **more):
        """A configuration of variants, which are models or whole variants."""
        name = unique("config")
        whole = [v if isinstance(v, dict) else variant(v) for v in variants]
        self.sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=whole, **more)
        return name

    def endpoint(self, *variants, name=None, **more):
        name = name or unique("endpoint")
        self.sm.create_endpoint(EndpointName=name, EndpointConfigName=self.config(*variants), **more)
        return name

    def describe(self, name):
        return self.sm.describe_endpoint(EndpointName=name)

    def until(self, name, status):
        """Waits until an endpoint has left what it is doing, and describes it."""

        def look():
            d = self.describe(name)
            return d["EndpointStatus"] not in ("Creating", "Updating", "RollingBack") and d

        d = eventually(look, f"{name} to be {status}", limit=LIMIT)
        assert d["EndpointStatus"] == status, d
        return d

    def invoke(self, name, data, **more):
        """Asks in JSON and gives the answer with what its header says."""
        said = self.runtime.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=json.dumps(data), **more)
        return json.loads(said["Body"].read()), said

    def adds(self, name, **more):
        """What the model that answers adds."""
        return self.invoke(name, [[0]], **more)[0][0][0]


def variant(model, name="AllTraffic", count=1, **more):
    return {"VariantName": name, "ModelName": model, "InstanceType": "ml.t2.medium", "InitialInstanceCount": count, **more}


class Asking:
    """Asks an endpoint again and again beside the block, and keeps every answer of each asker in order."""

    def __init__(self, serving, name, askers=3):
        self.heard, self.errors, self._over = [[] for _ in range(askers)], [], threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(Serving(serving.bucket), name, heard)) for heard in self.heard]

    def _ask(self, serving, name, heard):
        while not self._over.is_set():
            try:
                heard.append(serving.adds(name))
            except Exception as error:  # whatever it is, it is one too many
                self.errors.append(error)
                return

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.hears(1)
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert not self.errors, self.errors

    def hears(self, count):
        """Waits until each asker has so many answers more than now."""
        more = [len(heard) + count for heard in self.heard]
        eventually(lambda: self.errors or all(len(h) >= m for h, m in zip(self.heard, more)), f"{count} more answers", limit=LIMIT)
