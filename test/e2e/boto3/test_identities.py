"""IAM and STS: who may do what, exactly."""

import json

import pytest
from botocore.config import Config
from conftest import ACCOUNT, REGION, ROLE, client, policy, refused, request, trust, unique


def job_arn(name):
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{name}"


def test_a_user_without_policies_may_do_nothing_but_say_who_he_is(user):
    key = user()
    assert client("sts", key).get_caller_identity()["Arn"].startswith(f"arn:aws:iam::{ACCOUNT}:user/user-")
    with refused("AccessDeniedException", "is not authorized to perform: sagemaker:ListTrainingJobs"):
        client("sagemaker", key).list_training_jobs()
    with refused("AccessDenied", "iam:ListUsers", status=403):
        client("iam", key).list_users()
    with refused("AccessDenied", status=403):
        client("s3", key).list_buckets()
    with refused("AccessDeniedException", "logs:DescribeLogGroups"):
        client("logs", key).describe_log_groups()
    with refused("AccessDenied", "cloudwatch:ListMetrics"):
        client("cloudwatch", key).list_metrics()


def test_a_user_may_do_exactly_what_is_allowed(user, start, ended):
    mine, other = start("true", name=unique("mine")), start("true", name=unique("other"))
    ended(mine), ended(other)
    sm = client("sagemaker", user(
        ("Allow", ["sagemaker:Describe*", "sagemaker:ListTags"], job_arn("mine-*")),
        ("Deny", "sagemaker:ListTags", job_arn("mine-*")),
    ))
    assert sm.describe_training_job(TrainingJobName=mine)["TrainingJobName"] == mine
    with refused("AccessDeniedException", "sagemaker:DescribeTrainingJob", job_arn(other)):
        sm.describe_training_job(TrainingJobName=other)
    with refused("AccessDeniedException", "sagemaker:ListTags", "with an explicit deny in an identity-based policy"):
        sm.list_tags(ResourceArn=job_arn(mine))
    with refused("AccessDeniedException", "sagemaker:DeleteTrainingJob"):
        sm.delete_training_job(TrainingJobName=mine)
    # Whether a job exists is not for everyone to know.
    with refused("AccessDeniedException"):
        sm.describe_training_job(TrainingJobName="nobody-made-this")


def test_passing_a_role_must_be_allowed(user, bucket, ended):
    create = ("Allow", "sagemaker:CreateTrainingJob", "*")
    sm = client("sagemaker", user(create))
    with refused("AccessDeniedException", "iam:PassRole", ROLE):
        sm.create_training_job(**request(unique("job"), "true", bucket))
    sm = client("sagemaker", user(create, ("Allow", "iam:PassRole", ROLE)))
    name = unique("job")
    sm.create_training_job(**request(name, "true", bucket))
    assert ended(name)["TrainingJobStatus"] == "Completed"


def test_objects_of_one_prefix(user, s3, bucket):
    for key in ("team/a", "secret/b"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    key = user(
        ("Allow", ["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::{bucket}/team/*"),
    )
    mine = client("s3", key)
    assert mine.get_object(Bucket=bucket, Key="team/a")["Body"].read() == b"team/a"
    mine.put_object(Bucket=bucket, Key="team/new", Body=b"")
    for call in (
        lambda: mine.get_object(Bucket=bucket, Key="secret/b"),
        lambda: mine.put_object(Bucket=bucket, Key="secret/c", Body=b""),
        lambda: mine.delete_object(Bucket=bucket, Key="team/a"),
        lambda: mine.list_objects_v2(Bucket=bucket),
        lambda: mine.copy_object(Bucket=bucket, Key="team/stolen", CopySource={"Bucket": bucket, "Key": "secret/b"}),
    ):
        with refused("AccessDenied", status=403):
            call()


def test_a_changed_policy_counts_at_once(iam, user):
    name = unique("user")
    sm = client("sagemaker", user(name=name))
    with refused("AccessDeniedException"):
        sm.list_training_jobs()
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(("Allow", "sagemaker:List*", "*")))
    sm.list_training_jobs()
    iam.delete_user_policy(UserName=name, PolicyName="p")
    with refused("AccessDeniedException"):
        sm.list_training_jobs()


def test_keys_come_and_go(iam, user):
    name = unique("user")
    key = user(name=name)
    sts, s3 = client("sts", key), client("s3", key)
    sts.get_caller_identity()
    assert [k["AccessKeyId"] for k in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]] == [key[0]]
    iam.update_access_key(UserName=name, AccessKeyId=key[0], Status="Inactive")
    with refused("InvalidClientTokenId", status=403):
        sts.get_caller_identity()
    with refused("InvalidAccessKeyId", status=403):
        s3.list_buckets()
    iam.update_access_key(UserName=name, AccessKeyId=key[0], Status="Active")
    sts.get_caller_identity()
    iam.delete_access_key(UserName=name, AccessKeyId=key[0])
    with refused("InvalidClientTokenId"):
        sts.get_caller_identity()


def test_users_are_listed_got_and_deleted(iam, user):
    name = unique("user")
    key = user(("Allow", "s3:*", "*"), name=name)
    with refused("EntityAlreadyExists", name, status=409):
        iam.create_user(UserName=name)
    assert name in [u["UserName"] for p in iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 3}) for u in p["Users"]]
    assert iam.get_user(UserName=name)["User"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/{name}"
    assert iam.get_user_policy(UserName=name, PolicyName="only")["PolicyDocument"]["Statement"][0]["Action"] == "s3:*"
    with refused("DeleteConflict", status=409):
        iam.delete_user(UserName=name)
    iam.delete_user_policy(UserName=name, PolicyName="only")
    iam.delete_access_key(UserName=name, AccessKeyId=key[0])
    iam.delete_user(UserName=name)
    with refused("NoSuchEntity", name, status=404):
        iam.get_user(UserName=name)
    with refused("MalformedPolicyDocument"):
        iam.create_role(RoleName=unique("role"), AssumeRolePolicyDocument="{not json")


def assume(sts, arn, **more):
    c = sts.assume_role(RoleArn=arn, RoleSessionName="me", **more)["Credentials"]
    return c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"]


def test_an_assumed_role_is_somebody_else(sts, role, s3, bucket):
    s3.put_object(Bucket=bucket, Key="roles/x", Body=b"x")
    arn = role(("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/roles/*"), trusts=trust(AWS=f"arn:aws:iam::{ACCOUNT}:root"))
    key = assume(sts, arn)
    assert client("sts", key).get_caller_identity()["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{arn.split('/')[-1]}/me"
    assert client("s3", key).get_object(Bucket=bucket, Key="roles/x")["Body"].read() == b"x"
    with refused("AccessDenied"):
        client("s3", key).put_object(Bucket=bucket, Key="roles/y", Body=b"")
    with refused("AccessDeniedException"):
        client("sagemaker", key).list_training_jobs()
    narrowed = assume(sts, arn, Policy=policy(("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/roles/other")))
    with refused("AccessDenied"):
        client("s3", narrowed).get_object(Bucket=bucket, Key="roles/x")


def test_tampered_credentials_are_refused(sts, role):
    arn = role(("Allow", "*", "*"), trusts=trust(AWS=f"arn:aws:iam::{ACCOUNT}:root"))
    id, secret, token = assume(sts, arn)
    client("sagemaker", (id, secret, token)).list_training_jobs()
    flipped = "A" if token[-1] != "A" else "B"
    for service, call, bad_token, bad_secret in (
        ("sagemaker", "list_training_jobs", "UnrecognizedClientException", "InvalidSignatureException"),
        ("sts", "get_caller_identity", "InvalidClientTokenId", "SignatureDoesNotMatch"),
        ("s3", "list_buckets", "InvalidToken", "SignatureDoesNotMatch"),
    ):
        with refused(bad_token):
            getattr(client(service, (id, secret, token[:-1] + flipped)), call)()
        with refused(bad_secret, status=403):
            getattr(client(service, (id, secret[:-1] + ("A" if secret[-1] != "A" else "B"), token)), call)()
    with refused("UnrecognizedClientException"):  # temporary keys are nothing without their token
        client("sagemaker", (id, secret)).list_training_jobs()


def test_a_session_ends_with_its_role(iam, sts, role):
    arn = role(trusts=trust(AWS=f"arn:aws:iam::{ACCOUNT}:root"))
    key = assume(sts, arn)
    client("sts", key).get_caller_identity()
    iam.delete_role(RoleName=arn.split("/")[-1])
    with refused("InvalidClientTokenId"):
        client("sts", key).get_caller_identity()


def test_sessions_that_may_not_be(sts, role, user):
    service_only = role()
    words = "is not authorized to perform: sts:AssumeRole on resource: "
    with refused("AccessDenied", words + service_only, status=403):
        assume(sts, service_only)
    missing = f"arn:aws:iam::{ACCOUNT}:role/NobodyMadeThis"
    with refused("AccessDenied", words + missing):
        assume(sts, missing)
    open_to_all = role(trusts=trust(AWS=f"arn:aws:iam::{ACCOUNT}:root"))
    with refused("AccessDenied", words + open_to_all):
        assume(client("sts", user()), open_to_all)
    allowed = user(("Allow", "sts:AssumeRole", open_to_all))
    assert assume(client("sts", allowed), open_to_all)
    with refused("ValidationError", "durationSeconds"):
        assume(client("sts", config=Config(parameter_validation=False)), open_to_all, DurationSeconds=899)
    with refused("ValidationError", "MaxSessionDuration"):
        assume(sts, open_to_all, DurationSeconds=3601)


def test_get_session_token(user):
    key = user(("Allow", "sagemaker:List*", "*"))
    c = client("sts", key).get_session_token(DurationSeconds=900)["Credentials"]
    temporary = c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"]
    client("sagemaker", temporary).list_training_jobs()
    with refused("AccessDeniedException"):
        client("sagemaker", temporary).describe_training_job(TrainingJobName="x")


def test_simulation_says_what_would_happen(iam, user, s3):
    name = unique("user")
    user(("Allow", "s3:GetObject", "arn:aws:s3:::data/*"), ("Deny", "s3:GetObject", "arn:aws:s3:::data/secret"), name=name)
    results = iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:user/{name}",
        ActionNames=["s3:GetObject"],
        ResourceArns=["arn:aws:s3:::data/x", "arn:aws:s3:::data/secret", "arn:aws:s3:::other/x"],
    )["EvaluationResults"]
    assert [r["EvalDecision"] for r in results] == ["allowed", "explicitDeny", "implicitDeny"]


def test_the_execution_role_is_as_the_sdks_expect(iam):
    r = iam.get_role(RoleName=ROLE.split("/")[-1])["Role"]
    assert r["Arn"] == ROLE
    assert "sagemaker.amazonaws.com" in json.dumps(r["AssumeRolePolicyDocument"])


@pytest.mark.parametrize("service,call,code", [
    ("sagemaker", "list_training_jobs", "UnrecognizedClientException"),
    ("iam", "list_users", "InvalidClientTokenId"),
    ("logs", "describe_log_groups", "UnrecognizedClientException"),
    ("s3", "list_buckets", "InvalidAccessKeyId"),
])
def test_unknown_keys(service, call, code):
    with refused(code, status=403):
        getattr(client(service, ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")), call)()
