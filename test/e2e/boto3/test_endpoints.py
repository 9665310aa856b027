"""Real-time endpoints as a boto3 user has them. The endpoints are all begun before the first test looks at one."""

import json
import pathlib
import sys

import pytest
from botocore.exceptions import ClientError, WaiterError
from conftest import ACCOUNT, REGION, ROLE, client, eventually, refused, unique
from serving import IMAGE, LIMIT, Serving, variant

sys.path.append(str(pathlib.Path(__file__).parent.parent / "spot"))
from calls import call  # noqa: E402

ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:"


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket)


@pytest.fixture(scope="module", autouse=True)
def endpoints(serving):
    """Every endpoint of these tests, begun at once."""
    s = serving
    hangs = b"import time\ndef model_fn(d):\n    time.sleep(600)\n"
    missing = unique("model")
    s.sm.create_model(
        ModelName=missing, ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": f"s3://{s.bucket}/nobody/model.tar.gz"},
    )  # fmt: skip
    broken = unique("model")
    s.sm.create_model(
        ModelName=broken, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": s.put(b"this is no archive")}
    )
    quick = {"ContainerStartupHealthCheckTimeoutInSeconds": 60}
    return {
        "plain": s.endpoint(s.model(add=10), Tags=[{"Key": "team", "Value": "serving"}]),
        "two": s.endpoint(variant(s.model(add=1), "one", InitialVariantWeight=1), variant(s.model(add=2), "two", InitialVariantWeight=0)),
        "fails": s.endpoint(s.model(fault="the weights are torn")),
        "hangs": s.endpoint(variant(s.model(program=hangs), **quick)),
        "missing": s.endpoint(missing),
        "broken": s.endpoint(broken),
        "gone": s.endpoint(s.model(add=3)),
    }


@pytest.fixture
def plain(serving, endpoints):
    serving.until(endpoints["plain"], "InService")
    return endpoints["plain"]


def waiter(serving, name, delay=1):
    w = serving.sm.get_waiter(name)
    w.config.delay, w.config.max_attempts = delay, LIMIT
    return w


def test_deleting_while_creating(serving, endpoints):
    name = endpoints["gone"]
    serving.sm.delete_endpoint(EndpointName=name)
    waiter(serving, "endpoint_deleted").wait(EndpointName=name)
    with refused("ValidationException", f'Could not find endpoint "{ARN}endpoint/{name}"', status=400):
        serving.describe(name)


def test_the_waiter_and_the_description(serving, endpoints):
    name = endpoints["plain"]
    waiter(serving, "endpoint_in_service").wait(EndpointName=name)
    d = serving.describe(name)
    assert d["EndpointStatus"] == "InService" and d["EndpointArn"] == f"{ARN}endpoint/{name}"
    (v,) = d["ProductionVariants"]
    assert (v["VariantName"], v["CurrentInstanceCount"], v["DesiredInstanceCount"], v["CurrentWeight"]) == ("AllTraffic", 1, 1, 1.0)
    assert v["DeployedImages"][0]["SpecifiedImage"] == IMAGE
    assert "FailureReason" not in d and d["CreationTime"] <= d["LastModifiedTime"]
    config = serving.sm.describe_endpoint_config(EndpointConfigName=d["EndpointConfigName"])
    model = serving.sm.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    assert model["PrimaryContainer"]["Image"] == IMAGE and model["ExecutionRoleArn"] == ROLE


def test_an_invocation_in_json_and_in_csv(serving, plain):
    answer, said = serving.invoke(plain, [[1, 2.5], [3, 4]])
    assert answer == [[11, 12.5], [13, 14]]
    assert said["InvokedProductionVariant"] == "AllTraffic" and said["ContentType"].startswith("application/json")
    said = serving.runtime.invoke_endpoint(EndpointName=plain, ContentType="text/csv", Accept="text/csv", Body="1,2\n3,4\n")
    assert said["Body"].read().decode().split() == ["11,12", "13,14"] and said["ContentType"].startswith("text/csv")


def test_a_models_error_is_passed_on_with_its_status(serving, plain):
    with pytest.raises(ClientError) as raised:
        serving.invoke(plain, {"fault": "größer als nötig"})
    said = raised.value.response
    assert said["Error"]["Code"] == "ModelError" and said["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert said["OriginalStatusCode"] == 500 and json.loads(said["OriginalMessage"])["error"] == "größer als nötig"
    assert said["LogStreamArn"] == f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/{plain}"
    assert "Received server error (500) from primary with message" in said["Error"]["Message"]
    eventually(lambda: any("größer als nötig" in line for line in log(serving, plain)), "the traceback in the log")


def test_a_content_type_that_the_model_does_not_know(serving, plain):
    with pytest.raises(ClientError) as raised:
        serving.runtime.invoke_endpoint(EndpointName=plain, ContentType="image/png", Body=b"\x89PNG")
    said = raised.value.response
    assert (said["Error"]["Code"], said["OriginalStatusCode"]) == ("ModelError", 415) and "image/png" in said["OriginalMessage"]
    assert "Received client error (415)" in said["Error"]["Message"]


def test_a_worker_that_dies_is_replaced(serving, plain):
    was = serving.invoke(plain, {})[0]
    with pytest.raises(ClientError) as raised:
        serving.invoke(plain, {"die": True})
    assert raised.value.response["Error"]["Code"] == "ModelError"
    now = eventually(lambda: tried(serving, plain), "the next worker", limit=LIMIT)
    assert now["instance"] == was["instance"] and now["worker"] != was["worker"]


def tried(serving, name):
    try:
        return serving.invoke(name, {})[0]
    except ClientError:
        return None


def test_payloads_have_a_limit(serving, plain):
    most = 25 << 20
    row = b"[[" + b"1" + b" " * (1 << 20) + b"]]"
    said = serving.runtime.invoke_endpoint(EndpointName=plain, ContentType="application/json", Body=row)
    assert json.loads(said["Body"].read()) == [[11]]
    with pytest.raises(ClientError) as raised:
        serving.runtime.invoke_endpoint(EndpointName=plain, ContentType="application/json", Body=b" " * (most + 1))
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 413), raised.value
    assert serving.adds(plain) == 10


def test_who_is_not_there(serving, plain):
    with refused("ValidationError", "Endpoint nobody of account " + ACCOUNT + " not found.", status=400):
        serving.invoke("nobody", [[1]])
    with refused("ValidationError", "nobody", plain, status=400):
        serving.invoke(plain, [[1]], TargetVariant="nobody")
    with refused("ValidationException", "Could not find", status=400):
        serving.sm.delete_endpoint(EndpointName="nobody")


def test_variants_by_name_and_by_weight(serving, endpoints):
    name = endpoints["two"]
    serving.until(name, "InService")
    assert [serving.adds(name, TargetVariant=v) for v in ("one", "two", "one")] == [1, 2, 1]
    assert {serving.adds(name) for _ in range(20)} == {1}  # the other weighs nothing
    weights = [{"VariantName": "one", "DesiredWeight": 0}, {"VariantName": "two", "DesiredWeight": 5}]
    serving.sm.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=weights)
    d = serving.until(name, "InService")
    assert [v["CurrentWeight"] for v in d["ProductionVariants"]] == [0.0, 5.0]
    assert {serving.adds(name) for _ in range(20)} == {2}
    weights[0]["DesiredWeight"] = 5
    serving.sm.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=weights)
    serving.until(name, "InService")
    assert {serving.adds(name) for _ in range(60)} == {1, 2}
    with refused("ValidationException", "three"):
        serving.sm.update_endpoint_weights_and_capacities(
            EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "three", "DesiredWeight": 1}]
        )


def log(serving, name):
    """All lines of an endpoint's log."""
    logs = client("logs")
    try:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/aws/sagemaker/Endpoints/" + name)
        return [event["message"] for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []


def test_the_log_of_an_instance(serving, plain):
    eventually(lambda: "the model adds 10" in log(serving, plain), "the program's line")
    (stream,) = client("logs").describe_log_streams(logGroupName="/aws/sagemaker/Endpoints/" + plain)["logStreams"]
    variant_name, _, instance = stream["logStreamName"].partition("/")
    assert variant_name == "AllTraffic" and instance.startswith("i-")


def test_a_model_that_fails_to_load(serving, endpoints):
    name = endpoints["fails"]
    with pytest.raises(WaiterError):
        waiter(serving, "endpoint_in_service").wait(EndpointName=name)
    d = serving.until(name, "Failed")
    assert "the weights are torn" in d["FailureReason"], d
    eventually(lambda: any("the weights are torn" in line for line in log(serving, name)), "the traceback in the log")
    with refused("ValidationError"):
        serving.invoke(name, [[1]])
    serving.sm.delete_endpoint(EndpointName=name)
    waiter(serving, "endpoint_deleted").wait(EndpointName=name)


def test_model_data_that_is_not_there_or_no_archive(serving, endpoints):
    d = serving.until(endpoints["missing"], "Failed")
    assert f"Could not find model data at s3://{serving.bucket}/nobody/model.tar.gz" in d["FailureReason"]
    assert "model.tar.gz" in serving.until(endpoints["broken"], "Failed")["FailureReason"]


def test_tags_and_lists(serving, plain, endpoints):
    arn = f"{ARN}endpoint/{plain}"
    assert serving.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "serving"}]
    serving.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "stage", "Value": "test"}])
    serving.sm.delete_tags(ResourceArn=arn, TagKeys=["team"])
    assert serving.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "stage", "Value": "test"}]
    listed = {e["EndpointName"]: e["EndpointStatus"] for page in serving.sm.get_paginator("list_endpoints").paginate(
        NameContains="endpoint-", PaginationConfig={"PageSize": 2}) for e in page["Endpoints"]}  # fmt: skip
    assert listed[plain] == "InService" and {endpoints["missing"], endpoints["two"]} <= set(listed)
    assert plain in [e["EndpointName"] for e in serving.sm.list_endpoints(StatusEquals="InService")["Endpoints"]]
    config = serving.describe(plain)["EndpointConfigName"]
    assert config in [c["EndpointConfigName"] for c in serving.sm.list_endpoint_configs(NameContains=config)["EndpointConfigs"]]
    model = serving.sm.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]["ModelName"]
    assert model in [m["ModelName"] for m in serving.sm.list_models(NameContains=model)["Models"]]


def test_who_may_invoke(serving, plain, user):
    asked = {"EndpointName": plain, "ContentType": "application/json", "Body": "[[1]]"}
    with refused("AccessDeniedException", "sagemaker:InvokeEndpoint"):
        client("sagemaker-runtime", user()).invoke_endpoint(**asked)
    key = user(("Allow", "sagemaker:InvokeEndpoint", f"{ARN}endpoint/{plain}"))
    assert json.loads(client("sagemaker-runtime", key).invoke_endpoint(**asked)["Body"].read()) == [[11]]


def test_refusals(serving, plain):
    with refused("ValidationException", f'Cannot create already existing endpoint "{ARN}endpoint/{plain}"', status=400):
        serving.endpoint(serving.model(), name=plain)
    with refused("ValidationException", "Could not find model"):
        serving.config("nobody")
    with refused("ValidationException", "ml.toaster.large"):
        serving.config(variant(serving.model(), InstanceType="ml.toaster.large"))


def test_deleting_a_model_or_a_configuration_leaves_its_endpoint_alone(serving):
    model = serving.model(add=4)
    config = serving.config(model)
    name = unique("endpoint")
    serving.sm.create_endpoint(EndpointName=name, EndpointConfigName=config)
    serving.sm.delete_endpoint_config(EndpointConfigName=config)
    serving.sm.delete_model(ModelName=model)
    serving.until(name, "InService")
    assert serving.adds(name) == 4
    serving.sm.delete_endpoint(EndpointName=name)
    with refused("ValidationError", "not found"):
        eventually(lambda: serving.adds(name) != 4, "the endpoint to be gone")


def test_a_container_that_never_answers_its_ping(serving, endpoints):
    d = serving.until(endpoints["hangs"], "Failed")
    assert "did not pass the ping health check" in d["FailureReason"], d


def test_the_bill_of_an_endpoint(serving):
    name = serving.endpoint(variant(serving.model(), count=2))
    arn = serving.until(name, "InService")["EndpointArn"]
    bill = call("GetCost", ResourceArn=arn)
    assert bill["Running"] and [line["InstanceType"] for line in bill["Lines"]] == ["ml.t2.medium"] * 2
    serving.sm.delete_endpoint(EndpointName=name)
    waiter(serving, "endpoint_deleted").wait(EndpointName=name)
    bill = call("GetCost", ResourceArn=arn)
    assert not bill["Running"] and bill["Seconds"] == sum(line["Seconds"] for line in bill["Lines"]) > 0
    rate = float(bill["Lines"][0]["HourlyRate"]["Amount"])
    assert abs(float(bill["Total"]["Amount"]) - bill["Seconds"] * rate / 3600) < 1e-6
