"""Batch transform as a boto3 user has it. The jobs are all begun before the first test looks at one."""

import gzip
import json
import struct

import pytest
from botocore.exceptions import ClientError
from conftest import ROLE, eventually, refused, unique
from serving import LIMIT, Serving, archive

GROUP = "/aws/sagemaker/TransformJobs"

# The model answers each line of what it is given; what it is told to suffer stands in its model.json.
PROGRAM = b'''
import json, os, time
def model_fn(model_dir):
    model = json.load(open(os.path.join(model_dir, "model.json")))
    print("loaded", os.environ["SAGEMAKER_BATCH"], os.environ.get("SAGEMAKER_BATCH_STRATEGY"), os.environ.get("COLOUR"), flush=True)
    if "fault" in model:
        raise RuntimeError(model["fault"])
    return model
def input_fn(body, content_type):
    return bytes(body) if "recordio" in content_type else body if isinstance(body, str) else bytes(body).decode()
def predict_fn(body, model):
    time.sleep(model.get("sleeps", 0))
    if isinstance(body, bytes):
        return str(len(body)) + ":" + body.hex()
    if "poison" in body:
        raise ValueError("this record is poison")
    if "refuse" in body:
        from stintserve.wire import Refused
        raise Refused(400, "this record is refused")
    if model.get("json"):
        return "".join(json.dumps({"n": len(line)}) + chr(10) for line in body.splitlines())
    return "".join(str(len(line)) + chr(10) for line in body.splitlines())
def output_fn(answer, accept):
    return answer
'''


class Transforms:
    def __init__(self, bucket):
        self.serving, self.bucket = Serving(bucket), bucket
        self.sm, self.s3 = self.serving.sm, self.serving.s3

    def model(self, **model):
        name = unique("model")
        data = self.serving.put(archive(code__inference_py=PROGRAM, model_json=json.dumps(model).encode()))
        container = {"Image": "stint/python:latest", "ModelDataUrl": data, "Environment": {"COLOUR": "red"}}
        self.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        return name

    def put(self, **objects):
        """Objects below a prefix of their own, which is given."""
        prefix = unique("in")
        for key, body in objects.items():
            self.s3.put_object(Bucket=self.bucket, Key=f"{prefix}/{key.replace('__', '/')}", Body=body)
        return f"s3://{self.bucket}/{prefix}/"

    def create(self, model, uri, source="S3Prefix", split="Line", content="text/csv", output=None, compression="None", count=1, **more):
        name = unique("transform")
        places = {"S3OutputPath": f"s3://{self.bucket}/out-{name}", "AssembleWith": "Line", **(output or {})}
        self.sm.create_transform_job(
            TransformJobName=name, ModelName=model,
            TransformInput={
                "DataSource": {"S3DataSource": {"S3DataType": source, "S3Uri": uri}},
                "ContentType": content, "SplitType": split, "CompressionType": compression,
            },
            TransformOutput=places, TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": count}, **more,
        )  # fmt: skip
        return name

    def until(self, name, status):
        def look():
            d = self.sm.describe_transform_job(TransformJobName=name)
            return d["TransformJobStatus"] not in ("InProgress", "Stopping") and d

        d = eventually(look, f"{name} to be {status}", limit=LIMIT)
        assert d["TransformJobStatus"] == status, d
        return d

    def outputs(self, name):
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"out-{name}/").get("Contents", [])
        return {
            o["Key"].split("/", 1)[1]: self.s3.get_object(Bucket=self.bucket, Key=o["Key"])["Body"].read().decode() for o in found
        }


def record_io(*records):
    return b"".join(
        struct.pack("<II", 0xCED7230A, len(r)) + r + b"\0" * (-len(r) % 4) for r in records
    )  # fmt: skip


@pytest.fixture(scope="module")
def transforms(bucket):
    return Transforms(bucket)


@pytest.fixture(scope="module", autouse=True)
def jobs(transforms):
    t = transforms
    plain = t.model()
    data = t.put(**{"a.csv": b"1,2\n33,4\n", "sub__b.csv": b"555,6\n\n7777,8", "empty.csv": b""})
    manifest = t.put(**{"list": json.dumps([{"prefix": data}, "sub/b.csv", "a.csv"]).encode()}) + "list"
    people = b'{"id": 1, "name": "Ann"}\n{"id": 22, "name": "Bob"}\n'
    return {
        "plain": t.create(plain, data, Tags=[{"Key": "team", "Value": "batch"}], Environment={"COLOUR": "blue"}),
        "single": t.create(plain, data, BatchStrategy="SingleRecord", MaxConcurrentTransforms=3),
        "manifest": t.create(plain, manifest, "ManifestFile"),
        "gzip": t.create(plain, t.put(**{"a.csv.gz": gzip.compress(b"1,2\n33,4\n")}), compression="Gzip"),
        "recordio": t.create(
            plain, t.put(**{"a.rec": record_io(b"abc", b"defgh")}), split="RecordIO", content="application/x-recordio", BatchStrategy="SingleRecord"
        ),
        "csv-join": t.create(
            plain, data, DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}, output={"Accept": "text/csv"}
        ),
        "json-join": t.create(
            t.model(json=True), t.put(**{"p.jsonl": people}), content="application/jsonlines", output={"Accept": "application/jsonlines"},
            DataProcessing={"InputFilter": "$.name", "JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"},
        ),
        "streamed": t.create(plain, data, split="None", MaxPayloadInMB=0),
        "two": t.create(plain, t.put(**{f"{n}.csv": b"x" * n for n in range(1, 20)}), count=2),
        "poison": t.create(
            plain, t.put(**{"1.csv": b"fine\n", "2.csv": b"poison\n", "3.csv": b"fine\n", "4.csv": b"refuse\n"}),
            ModelClientConfig={"InvocationsMaxRetries": 1, "InvocationsTimeoutInSeconds": 30},
        ),
        "large": t.create(plain, t.put(**{"1.csv": b"x" * (1 << 20) + b"y\n", "2.csv": b"z\n"}), MaxPayloadInMB=1),
        "nothing": t.create(plain, f"s3://{t.bucket}/nobody-was-here/"),
        "broken": t.create(t.model(fault="the weights are torn"), data),
        "stopped": t.create(t.model(sleeps=20), t.put(**{"a.csv": b"1,2\n"})),
    }  # fmt: skip


def test_objects_are_transformed_below_the_output_path(transforms, jobs):
    d = transforms.until(jobs["plain"], "Completed")
    assert transforms.outputs(jobs["plain"]) == {"a.csv.out": "3\n4\n", "sub/b.csv.out": "5\n6\n", "empty.csv.out": ""}
    assert d["CreationTime"] <= d["TransformStartTime"] <= d["TransformEndTime"]
    assert d["DataProcessing"] == {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}
    assert transforms.sm.list_tags(ResourceArn=d["TransformJobArn"])["Tags"] == [{"Key": "team", "Value": "batch"}]


@pytest.mark.parametrize(
    "job, outputs",
    [
        ("single", {"a.csv.out": "3\n4\n", "sub/b.csv.out": "5\n6\n", "empty.csv.out": ""}),
        ("manifest", {"a.csv.out": "3\n4\n", "sub/b.csv.out": "5\n6\n"}),
        ("gzip", {"a.csv.gz.out": "3\n4\n"}),
        ("recordio", {"a.rec.out": "3:616263\n5:6465666768\n"}),
        ("csv-join", {"a.csv.out": "1,1\n33,1\n", "sub/b.csv.out": "555,1\n7777,1\n", "empty.csv.out": ""}),
        ("json-join", {"p.jsonl.out": '{"id":1,"SageMakerOutput":{"n": 5}}\n{"id":22,"SageMakerOutput":{"n": 5}}\n'}),
        ("streamed", {"a.csv.out": "3\n4\n", "sub/b.csv.out": "5\n0\n6\n", "empty.csv.out": ""}),
        ("two", {f"{n}.csv.out": f"{n}\n" for n in range(1, 20)}),
    ],
)
def test_what_comes_out(transforms, jobs, job, outputs):
    transforms.until(jobs[job], "Completed")
    assert transforms.outputs(jobs[job]) == outputs


def test_objects_that_fail_leave_the_others(transforms, jobs):
    d = transforms.until(jobs["poison"], "Failed")
    assert transforms.outputs(jobs["poison"]) == {"1.csv.out": "4\n", "3.csv.out": "4\n"}
    assert "2 of 4 objects failed" in d["FailureReason"] and ".csv: the model answered" in d["FailureReason"]


def test_a_record_may_be_too_large(transforms, jobs):
    d = transforms.until(jobs["large"], "Failed")
    assert transforms.outputs(jobs["large"]) == {"2.csv.out": "1\n"}
    assert d["FailureReason"].startswith("ClientError: ") and "MaxPayloadInMB" in d["FailureReason"]


def test_no_input_is_a_failure(transforms, jobs):
    d = transforms.until(jobs["nothing"], "Failed")
    assert 'No S3 objects found under S3 URL "s3://' in d["FailureReason"]


def test_a_model_that_does_not_load_is_a_failure(transforms, jobs):
    d = transforms.until(jobs["broken"], "Failed")
    assert d["FailureReason"].startswith("AlgorithmError: ") and "the weights are torn" in d["FailureReason"]


def test_jobs_are_stopped(transforms, jobs):
    sm, name = transforms.sm, jobs["stopped"]
    eventually(lambda: "TransformStartTime" in sm.describe_transform_job(TransformJobName=name), "the job to start", limit=LIMIT)
    sm.stop_transform_job(TransformJobName=name)
    d = transforms.until(name, "Stopped")
    assert d["TransformEndTime"] and transforms.outputs(name) == {}
    with refused("ValidationException", "The request was rejected because the transform job is in status Stopped."):
        sm.stop_transform_job(TransformJobName=name)


def test_logs_are_where_the_sdks_look(transforms, jobs, logs):
    transforms.until(jobs["plain"], "Completed")
    streams = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=jobs["plain"] + "/")["logStreams"]
    names = [s["logStreamName"] for s in streams]
    assert len(names) == 2 and names[1] == names[0] + "/data-log"
    said = ["\n".join(e["message"] for e in logs.get_log_events(logGroupName=GROUP, logStreamName=n)["events"]) for n in names]
    assert "loaded true None blue" in said[0]
    assert "BatchStrategy=MULTI_RECORD" in said[1] and "3 objects are done with, 0 of them failed" in said[1]


def test_jobs_are_listed(transforms, jobs):
    transforms.until(jobs["broken"], "Failed")
    found = transforms.sm.list_transform_jobs(NameContains=jobs["broken"], StatusEquals="Failed")["TransformJobSummaries"]
    assert [j["TransformJobName"] for j in found] == [jobs["broken"]] and "torn" in found[0]["FailureReason"]


def test_what_cannot_be_is_refused(transforms, jobs):
    t, model = transforms, transforms.model()
    uri = f"s3://{t.bucket}/x"
    with refused("ValidationException", 'Could not find model "arn:', "model/nobody"):
        t.create("nobody", uri)
    with refused("ValidationException", "Could not find requested job with name: nobody"):
        t.sm.describe_transform_job(TransformJobName="nobody")
    with refused("ValidationException", "Could not find requested job with name: nobody"):
        t.sm.stop_transform_job(TransformJobName="nobody")
    with refused("ResourceInUse", "already exists"):
        d = t.sm.describe_transform_job(TransformJobName=jobs["plain"])
        t.sm.create_transform_job(
            **{k: d[k] for k in ("TransformJobName", "ModelName", "TransformInput", "TransformOutput", "TransformResources")}
        )
    with refused("ValidationException", "MaxPayloadInMB must not be greater than 100"):
        t.create(model, uri, MaxPayloadInMB=101)
    with refused("ValidationException", "MaxConcurrentTransforms * MaxPayloadInMB"):
        t.create(model, uri, MaxPayloadInMB=50, MaxConcurrentTransforms=3)
    with refused("ValidationException", "InputFilter", "$[a]"):
        t.create(model, uri, DataProcessing={"InputFilter": "$[a]"})
    with refused("ValidationException", "ContentType text/csv, application/json or application/jsonlines"):
        t.create(model, uri, content="image/png", DataProcessing={"JoinSource": "Input"})
    with refused("ValidationException", "invocationsMaxRetries", "less than or equal to 3"):
        t.create(model, uri, ModelClientConfig={"InvocationsMaxRetries": 4})
    with pytest.raises(ClientError):
        t.create(model, "not-a-uri")
