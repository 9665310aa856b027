"""Batch transform with the SDK's Transformer and its TransformJob resource."""

import io
import os
import tarfile

from conftest import LIMIT
from sagemaker.core.resources import Model, TransformJob
from sagemaker.core.shapes import ContainerDefinition
from sagemaker.core.transformer import Transformer

PROGRAM = b"""
def model_fn(model_dir):
    return None
def predict_fn(rows, model):
    return [sum(row) for row in rows]
"""


def test_a_prefix_is_transformed(server, data):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(PROGRAM)
        out.addfile(member, io.BytesIO(PROGRAM))
    server.s3.put_object(Bucket="flowers", Key="batch/model.tar.gz", Body=packed.getvalue())
    server.s3.put_object(Bucket="flowers", Key="batch/in/a.jsonl", Body=b"[[1, 2]]\n[[3, 4]]\n")
    container = ContainerDefinition(image="stint/python:latest", model_data_url="s3://flowers/batch/model.tar.gz")
    Model.create(model_name="batch", primary_container=container, execution_role_arn=os.environ["SAGEMAKER_ROLE"])
    transformer = Transformer(
        model_name="batch", instance_count=1, instance_type="ml.m5.large", strategy="SingleRecord", assemble_with="Line",
        output_path="s3://flowers/batch/out", accept="application/json",
    )  # fmt: skip
    transformer.transform(data="s3://flowers/batch/in/", content_type="application/json", split_type="Line", job_name="batch-3", wait=False, logs=False)
    job = TransformJob.get(transform_job_name="batch-3")
    job.wait(poll=1, timeout=LIMIT)
    assert job.transform_job_status == "Completed"
    assert server.s3.get_object(Bucket="flowers", Key="batch/out/a.jsonl.out")["Body"].read() == b"[3]\n[7]\n"
    assert "batch-3" in [j.transform_job_name for j in TransformJob.get_all(name_contains="batch")]
