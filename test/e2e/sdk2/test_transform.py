"""Batch transform with the SDK's own calls: model.transformer(), transform() that waits and shows the log, attach()."""

import io
import os
import tarfile

import boto3
import sagemaker
from conftest import CODE
from sagemaker.sklearn import SKLearnModel
from sagemaker.transformer import Transformer

PROGRAMS = CODE.parent / "programs" / "code"


def test_a_model_transforms_what_is_in_a_prefix(capfd):
    session, s3 = sagemaker.Session(), boto3.client("s3")
    bucket = session.default_bucket()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        member = tarfile.TarInfo("weights")
        member.size = len(b"2 3")
        out.addfile(member, io.BytesIO(b"2 3"))
    s3.put_object(Bucket=bucket, Key="batch/model.tar.gz", Body=packed.getvalue())
    s3.put_object(Bucket=bucket, Key="batch/in/a.csv", Body=b"1,1,1\n2,0,2\n")
    model = SKLearnModel(
        model_data=f"s3://{bucket}/batch/model.tar.gz", role=os.environ["SAGEMAKER_ROLE"], entry_point="linear.py",
        source_dir=str(PROGRAMS), framework_version="1.2-1",
    )  # fmt: skip
    transformer = model.transformer(
        1, "ml.m5.large", strategy="MultiRecord", assemble_with="Line", accept="text/csv", output_path=f"s3://{bucket}/batch/out"
    )
    transformer.transform(
        f"s3://{bucket}/batch/in/", content_type="text/csv", split_type="Line", input_filter="$[1:]", join_source="Input",
        output_filter="$[0,-1]", model_client_config={"InvocationsTimeoutInSeconds": 60, "InvocationsMaxRetries": 1}, wait=True, logs=True,
    )  # fmt: skip
    said = s3.get_object(Bucket=bucket, Key="batch/out/a.csv.out")["Body"].read().decode()
    assert [[float(field) for field in row.split(",")] for row in said.splitlines()] == [[1, 5], [2, 6]]
    again = Transformer.attach(transformer.latest_transform_job.name, session)
    assert again.output_path == transformer.output_path and again.accept == "text/csv"
    transformer.delete_model()
