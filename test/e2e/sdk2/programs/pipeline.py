"""A PipelineModel of the SDK: scikit-learn before XGBoost, asked one by one and as a batch."""

import io
import json
import os
import tarfile

import boto3
import sagemaker
from sagemaker.deserializers import CSVDeserializer
from sagemaker.pipeline import PipelineModel
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer
from sagemaker.sklearn import SKLearnModel
from sagemaker.xgboost import XGBoostModel

ROLE = os.environ["SAGEMAKER_ROLE"]
VALUES = "1000,0.1\n3000,0.3\n2000,0.2\n"  # whose mean is 2000 and 0.2

session = sagemaker.Session()
bucket, s3 = session.default_bucket(), boto3.client("s3")


def archive(name, **files):
    """Puts a model.tar.gz into the default bucket."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        for file, text in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(text)
            out.addfile(member, io.BytesIO(text.encode()))
    s3.put_object(Bucket=bucket, Key=f"{name}/model.tar.gz", Body=packed.getvalue())
    return f"s3://{bucket}/{name}/model.tar.gz"


scale = SKLearnModel(
    model_data=archive("scale", values=VALUES), role=ROLE, entry_point="scale.py", source_dir="code", framework_version="1.2-1", sagemaker_session=session,
    env={"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"},
)  # fmt: skip
boost = XGBoostModel(
    model_data=archive("boost", nothing=""), role=ROLE, entry_point="boost.py", source_dir="code", framework_version="1.7-1", sagemaker_session=session,
)  # fmt: skip
model = PipelineModel([scale, boost], role=ROLE, predictor_cls=Predictor, sagemaker_session=session)
predictor = model.deploy(1, "ml.m5.large", endpoint_name="pipeline-of-the-sdk")
predictor.serializer, predictor.deserializer = CSVSerializer(), CSVDeserializer()
said = [float(value) for row in predictor.predict("2500,0.25\n1500,0.15\n") for value in row]

s3.put_object(Bucket=bucket, Key="pipeline-in/part.csv", Body="2500,0.25\n1500,0.15\n")
transformer = model.transformer(1, "ml.m5.large", output_path=f"s3://{bucket}/pipeline-out", assemble_with="Line", accept="text/csv")
transformer.transform(f"s3://{bucket}/pipeline-in/", content_type="text/csv", split_type="Line", wait=True, logs=False)
batch = s3.get_object(Bucket=bucket, Key="pipeline-out/part.csv.out")["Body"].read().decode().split()
containers = boto3.client("sagemaker").describe_model(ModelName=model.name)["Containers"]
predictor.delete_endpoint()
print()
print(json.dumps({"said": [v > 0.5 for v in said], "batch": [float(v) > 0.5 for v in batch], "containers": len(containers)}))
