"""What this server must not do: act on what it does not know, or for whom it does not know."""

import os
import urllib.error
import urllib.request
from datetime import timedelta

import botocore.auth
import pytest
from conftest import client, refused, unique

SHARED = os.environ["AWS_ENDPOINT_URL"]


def test_operations_that_are_not_built(sm, iam, logs, sts):
    for call, name in (
        (lambda: sm.list_pipelines(), "ListPipelines"),
        (lambda: sm.describe_processing_job(ProcessingJobName="p"), "DescribeProcessingJob"),
        (lambda: sm.create_feature_group(
            FeatureGroupName="g", RecordIdentifierFeatureName="r", EventTimeFeatureName="e",
            FeatureDefinitions=[{"FeatureName": "r", "FeatureType": "String"}],
        ), "CreateFeatureGroup"),
        (lambda: sm.search(Resource="TrainingJob"), "Search"),
        (lambda: iam.list_groups(), "ListGroups"),
        (lambda: logs.start_query(logGroupName="g", startTime=0, endTime=1, queryString="fields @message"), "StartQuery"),
        (lambda: sts.get_federation_token(Name="abc"), "GetFederationToken"),
    ):
        with refused("UnsupportedOperation", name, "not supported by this server", status=400):
            call()


@pytest.mark.parametrize("service,call,arguments", [
    ("ecr", "describe_repositories", {}),
    ("dynamodb", "list_tables", {}),
    ("sqs", "list_queues", {}),
    ("ec2", "describe_instances", {}),
    ("lambda", "list_functions", {}),
    ("sagemaker-featurestore-runtime", "get_record", {"FeatureGroupName": "g", "RecordIdentifierValueAsString": "r"}),
])
def test_services_that_are_not_built(service, call, arguments):
    with refused("UnsupportedOperation", "not supported by this server"):
        getattr(client(service), call)(**arguments)


def skew(monkeypatch, **by):
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: now(*a, **k) + timedelta(**by))


def refusal(service):
    """The code of a bad signature: CloudWatch tells boto3 the one of its old Query protocol."""
    return "SignatureDoesNotMatch" if service in ("s3", "iam", "sts", "cloudwatch") else "InvalidSignatureException"


CALLS = [("sagemaker", "list_training_jobs"), ("logs", "describe_log_groups"), ("iam", "list_users"),
         ("sts", "get_caller_identity"), ("cloudwatch", "list_metrics"), ("s3", "list_buckets")]


@pytest.mark.parametrize("service,call", CALLS)
@pytest.mark.parametrize("minutes", [-16, 16, -60 * 24, 60 * 24])
def test_clocks_that_are_wrong(monkeypatch, service, call, minutes):
    code = "RequestTimeTooSkewed" if service == "s3" else refusal(service)
    c = client(service)
    getattr(c, call)()
    skew(monkeypatch, minutes=minutes)
    with refused(code, status=403) as r:
        getattr(c, call)()
    if service != "s3":
        assert ("Signature expired" if minutes < 0 else "Signature not yet current") in r.message


@pytest.mark.parametrize("service,call", CALLS)
def test_clocks_that_are_a_little_wrong(monkeypatch, service, call):
    skew(monkeypatch, minutes=-13)
    getattr(client(service), call)()


@pytest.mark.parametrize("service,call", CALLS)
def test_requests_changed_on_their_way(service, call):
    c = client(service)

    def tamper(request, **_):
        date = request.headers["X-Amz-Date"].decode()
        request.headers["X-Amz-Date"] = date[:-2] + ("2Z" if date.endswith("1Z") else "1Z")

    c.meta.events.register("before-send", tamper)
    with refused(refusal(service), status=403):
        getattr(c, call)()


def test_a_body_changed_on_its_way(sm):
    c = client("sagemaker")

    def tamper(request, **_):
        request.body = request.body.replace(b"harmless", b"harmfull")

    c.meta.events.register("before-send", tamper)
    with refused("InvalidSignatureException", status=403):
        c.describe_training_job(TrainingJobName="harmless")


def test_an_object_changed_on_its_way(s3, bucket):
    c = client("s3")

    def tamper(request, **_):
        request.body = b"evil!"

    c.meta.events.register("before-send", tamper)
    key = unique("key")
    with refused("XAmzContentSHA256Mismatch", status=400):
        c.put_object(Bucket=bucket, Key=key, Body=b"good!")
    with refused("404"):
        s3.head_object(Bucket=bucket, Key=key)


@pytest.mark.parametrize("service,call", [c for c in CALLS if c[0] != "iam"])  # for IAM, boto3 signs as one region always
def test_another_region(service, call):
    region = "eu-west-1"
    c = client(service, region_name=region)
    with refused("AuthorizationHeaderMalformed" if service == "s3" else refusal(service), region):
        getattr(c, call)()


def post(headers, body=b"{}"):
    try:
        with urllib.request.urlopen(urllib.request.Request(SHARED, data=body, headers=headers)) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def test_no_signature_at_all():
    status, body = post({"X-Amz-Target": "SageMaker.ListTrainingJobs", "Content-Type": "application/x-amz-json-1.1"})
    assert status == 403 and b"MissingAuthenticationToken" in body
    status, body = post({"Content-Type": "application/x-www-form-urlencoded"}, b"Action=ListUsers&Version=2010-05-08")
    assert status == 403 and b"<Code>MissingAuthenticationToken</Code>" in body
    status, body = post({
        "X-Amz-Target": "SageMaker.ListTrainingJobs", "Content-Type": "application/x-amz-json-1.1",
        "Authorization": "AWS4-HMAC-SHA256 Credential=nonsense",
    })
    assert status in (400, 403) and b"IncompleteSignature" in body
