"""Endpoints that change while they are asked: not one request may fail."""

import pytest
from conftest import eventually, refused, unique
from serving import LIMIT, Asking, Serving, variant


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket)


def test_updates_lose_no_request(serving):
    s = serving
    first, second, torn = s.model(add=1), s.model(add=2), s.model(fault="torn")
    name = s.endpoint(first)
    s.until(name, "InService")
    next_config = s.config(variant(second, count=2))
    with Asking(s, name) as asking:
        # 1. Another model on more instances.
        s.sm.update_endpoint(EndpointName=name, EndpointConfigName=next_config)
        with refused("ValidationException", "Cannot update in-progress endpoint"):
            s.sm.update_endpoint(EndpointName=name, EndpointConfigName=next_config)
        d = s.until(name, "InService")
        assert d["EndpointConfigName"] == next_config and d["ProductionVariants"][0]["CurrentInstanceCount"] == 2
        asking.hears(10)
        for heard in asking.heard:
            assert set(heard) == {1, 2} and heard == sorted(heard), heard
        # 2. One instance fewer.
        s.sm.update_endpoint_weights_and_capacities(
            EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 1}]
        )
        eventually(lambda: s.describe(name)["ProductionVariants"][0]["CurrentInstanceCount"] == 1, "one instance", limit=LIMIT)
        s.until(name, "InService")
        asking.hears(10)
        # 3. A model that does not load: what served goes on.
        s.sm.update_endpoint(EndpointName=name, EndpointConfigName=s.config(torn))
        d = s.until(name, "InService")
        assert d["EndpointConfigName"] == next_config and "torn" in d["FailureReason"]
        asking.hears(10)
        # 4. Back to the first.
        s.sm.update_endpoint(EndpointName=name, EndpointConfigName=s.config(first))
        d = s.until(name, "InService")
        assert "FailureReason" not in d
        asking.hears(1)
        eventually(lambda: all(heard[-1] == 1 for heard in asking.heard), "the first model")
    s.sm.delete_endpoint(EndpointName=name)


def test_an_update_that_is_deleted_half_way(serving):
    name = serving.endpoint(serving.model(add=1))
    serving.until(name, "InService")
    serving.sm.update_endpoint(EndpointName=name, EndpointConfigName=serving.config(serving.model(loads=60)))
    serving.sm.delete_endpoint(EndpointName=name)
    with refused("ValidationException", "Could not find endpoint"):
        eventually(lambda: serving.describe(name)["EndpointStatus"] != "Deleting", "the endpoint to be gone", limit=LIMIT)


def test_a_name_is_free_again_when_its_endpoint_is_gone(serving):
    name = unique("again")
    for add in (1, 2):
        serving.endpoint(serving.model(add=add), name=name)
        serving.until(name, "InService")
        assert serving.adds(name) == add
        serving.sm.delete_endpoint(EndpointName=name)
        with refused("ValidationException", "Could not find endpoint"):
            eventually(lambda: serving.describe(name)["EndpointStatus"] != "Deleting", "the endpoint to be gone", limit=LIMIT)
