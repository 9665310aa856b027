"""Many models behind one endpoint with the SDK's MultiDataModel: linear models of one script, added before and after the
deployment."""

import io
import json
import os
import pathlib
import tarfile
import tempfile

import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.multidatamodel import MultiDataModel
from sagemaker.serializers import JSONSerializer
from sagemaker.sklearn import SKLearnModel

ROLE = os.environ["SAGEMAKER_ROLE"]
folder = pathlib.Path(tempfile.mkdtemp())


def archive(name, weights):
    """A model.tar.gz beside the program; the script is not in it."""
    with tarfile.open(folder / name, mode="w:gz") as out:
        member = tarfile.TarInfo("weights")
        member.size = len(weights)
        out.addfile(member, io.BytesIO(weights.encode()))
    return str(folder / name)


session = sagemaker.Session()
prefix = f"s3://{session.default_bucket()}/many-models/"
model = SKLearnModel(model_data=prefix, role=ROLE, entry_point="linear.py", source_dir="code", framework_version="1.2-1", sagemaker_session=session)
many = MultiDataModel("many-of-the-sdk", prefix, model=model, sagemaker_session=session)
many.add_model(archive("two-three.tar.gz", "2 3"))
predictor = many.deploy(1, "ml.t2.medium", serializer=JSONSerializer(), deserializer=JSONDeserializer())
said = [predictor.predict([[1, 1]], target_model="two-three.tar.gz")]
uploaded = many.add_model(archive("five-seven.tar.gz", "5 7"), model_data_path="later/five-seven.tar.gz")
many.add_model(uploaded, model_data_path="copy.tar.gz")
listed = sorted(many.list_models())
said += [predictor.predict([[1, 1]], target_model=name) for name in ("later/five-seven.tar.gz", "copy.tar.gz", "two-three.tar.gz")]
try:
    predictor.predict([[1, 1]], target_model="nobody.tar.gz")
    refused = ""
except Exception as error:  # noqa: BLE001 # botocore makes its classes as it goes
    refused = f"{type(error).__name__}: {error}"
predictor.delete_endpoint()
print()
print(json.dumps({"listed": listed, "said": said, "refused": refused}))
