"""Serverless endpoints, and endpoints that sleep, as boto3 sees them."""

import threading

import pytest
from conftest import eventually, refused
from serving import LIMIT, Serving, variant


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket)


def serverless(model, most=1, **more):
    return {"VariantName": "AllTraffic", "ModelName": model, "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": most, **more}}


def test_from_creation_to_another_version_to_the_end(serving):
    name = serving.endpoint(serverless(serving.model(add=2)))
    was = serving.until(name, "InService")["ProductionVariants"][0]
    assert was["CurrentServerlessConfig"] == {"MemorySizeInMB": 1024, "MaxConcurrency": 1} and "CurrentInstanceCount" not in was
    assert serving.adds(name) == 2
    serving.sm.update_endpoint(EndpointName=name, EndpointConfigName=serving.config(serverless(serving.model(add=3))))
    serving.until(name, "InService")
    assert serving.adds(name) == 3
    serving.sm.delete_endpoint(EndpointName=name)
    serving.sm.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": LIMIT})


def test_more_than_its_concurrency_is_throttled_until_it_is_raised(serving):
    name = serving.endpoint(serverless(serving.model(add=2)))
    serving.until(name, "InService")
    hold = threading.Thread(target=serving.invoke, args=(name, {"sleeps": 8}))
    hold.start()
    once = Serving(serving.bucket, retries=0)

    def throttled():
        try:
            once.adds(name)
        except once.runtime.exceptions.ClientError as error:
            return error.response
        return None

    answer = eventually(throttled, "the throttling", limit=4)
    assert answer["Error"]["Code"] == "ThrottlingException" and answer["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"]
    serving.sm.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "ServerlessUpdateConfig": {"MaxConcurrency": 2}}]
    )
    # Beside the one that is under way there is room for one, in an instance of its own, as soon as the router has heard of it.
    eventually(lambda: throttled() is None, "room for a second one", limit=4)
    assert hold.is_alive()
    hold.join()
    serving.sm.delete_endpoint(EndpointName=name)


def test_a_model_that_does_not_load_is_known_at_creation(serving):
    name = serving.endpoint(serverless(serving.model(add=2, fault="the weights are torn")))
    assert "the weights are torn" in serving.until(name, "Failed")["FailureReason"]
    serving.sm.delete_endpoint(EndpointName=name)


def test_an_endpoint_that_is_told_to_sleep_wakes_for_a_request(serving):
    name = serving.endpoint(variant(serving.model(add=5)))
    arn = serving.until(name, "InService")["EndpointArn"]
    with refused("ValidationException", "stint:scale-to-zero=never", "15m"):
        serving.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "stint:scale-to-zero", "Value": "never"}])
    serving.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "stint:scale-to-zero", "Value": "1s"}])
    eventually(lambda: serving.describe(name)["ProductionVariants"][0]["CurrentInstanceCount"] == 0, f"{name} to sleep", limit=LIMIT)
    assert serving.describe(name)["EndpointStatus"] == "InService"
    assert serving.adds(name) == 5
    serving.sm.delete_endpoint(EndpointName=name)


def test_what_cannot_be(serving):
    model = serving.model(add=1)
    for config, words in (
        (serverless(model, MemorySizeInMB=1500), "MemorySizeInMB must be one of"),
        (serverless(model, ProvisionedConcurrency=2), "must not be greater than MaxConcurrency"),
        ({**serverless(model), "InstanceType": "ml.m5.large"}, "not both"),
    ):
        with refused("ValidationException", words):
            serving.config(config)
