"""Updates that go step by step, and back when an alarm goes off: not one request may fail."""


import pytest
from conftest import client, eventually, refused, unique
from serving import LIMIT, Asking, Serving, variant
from test_endpoint_streams import STREAMING, stream


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket)


def size(value, kind="CAPACITY_PERCENT"):
    return {"Type": kind, "Value": value}


def shift(kind, wait=4, end=0, **sizes):
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **sizes}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": end}}


def stage(serving, name, status, words):
    """Waits until an update is at a stage, and describes it."""

    def look():
        d = serving.describe(name)
        assert d["EndpointStatus"] == "Updating", d
        said = d["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0]
        return said["Status"] == status and words in said.get("StatusMessage", "") and d

    return eventually(look, f"the update to be {status} {words}", limit=LIMIT)


@pytest.fixture
def alarm():
    """An alarm of a metric of its own, and what sets it off."""
    cloudwatch, name = client("cloudwatch"), unique("alarm")
    cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace="Tests", MetricName=name, Statistic="Sum", Period=10, EvaluationPeriods=1,
        Threshold=0, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching",
    )  # fmt: skip

    def rings():
        cloudwatch.put_metric_data(Namespace="Tests", MetricData=[{"MetricName": name, "Value": 1, "StorageResolution": 1}])

    return name, rings


def test_a_canary(serving):
    s = serving
    name = s.endpoint(s.model(add=1))
    s.until(name, "InService")
    first, second = s.describe(name)["EndpointConfigName"], s.config(s.model(add=2))
    policy = shift("CANARY", wait=6, end=2, CanarySize=size(30))
    with Asking(s, name, askers=4) as asking:
        s.sm.update_endpoint(EndpointName=name, EndpointConfigName=second, DeploymentConfig=policy)
        d = stage(s, name, "Baking", "step 1 of 2, 30% of the requests")
        assert (d["EndpointConfigName"], d["PendingDeploymentSummary"]["EndpointConfigName"]) == (first, second)
        assert d["ProductionVariants"][0]["CurrentWeight"] == 0.7
        assert d["PendingDeploymentSummary"]["ProductionVariants"][0]["CurrentWeight"] == 0.3
        stage(s, name, "Baking", "step 2 of 2, 100% of the requests")
        d = s.until(name, "InService")
        assert d["EndpointConfigName"] == second and "PendingDeploymentSummary" not in d and d["LastDeploymentConfig"] == policy
        asking.hears(3)
    heard = sum(asking.heard, [])
    assert set(heard) == {1, 2} and all(h[-1] == 2 for h in asking.heard)
    mixed = [h[h.index(2) : len(h) - h[::-1].index(1)] for h in asking.heard if 2 in h]  # from the first new answer to the last old one
    assert any(1 in m for m in mixed), mixed  # both have answered at the same time
    s.sm.update_endpoint(EndpointName=name, EndpointConfigName=first, RetainDeploymentConfig=True)
    d = stage(s, name, "Baking", "step 1 of 2, 30% of the requests")
    assert d["LastDeploymentConfig"] == policy
    s.sm.delete_endpoint(EndpointName=name)


def test_linear_steps(serving):
    s = serving
    name = s.endpoint(s.model(add=1))
    s.until(name, "InService")
    with Asking(s, name) as asking:
        s.sm.update_endpoint(
            EndpointName=name, EndpointConfigName=s.config(s.model(add=2)), DeploymentConfig=shift("LINEAR", LinearStepSize=size(50))
        )
        stage(s, name, "Baking", "step 1 of 2, 50% of the requests")
        stage(s, name, "Baking", "step 2 of 2, 100% of the requests")
        s.until(name, "InService")
        asking.hears(3)
        assert s.adds(name) == 2
    s.sm.delete_endpoint(EndpointName=name)


def test_an_alarm_takes_an_update_back(serving, alarm):
    s, (name_of_alarm, rings) = serving, alarm
    name = s.endpoint(s.model(add=1))
    first = s.until(name, "InService")["EndpointConfigName"]
    policy = shift("CANARY", wait=600, CanarySize=size(50))
    policy["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name_of_alarm}]}
    with Asking(s, name, askers=4) as asking:
        s.sm.update_endpoint(EndpointName=name, EndpointConfigName=s.config(s.model(add=2)), DeploymentConfig=policy)
        stage(s, name, "Baking", "50% of the requests")
        asking.hears(5)
        rings()
        d = s.until(name, "InService")
        assert d["EndpointConfigName"] == first and name_of_alarm in d["FailureReason"] and "PendingDeploymentSummary" not in d
        asking.hears(10)
        assert all(set(heard[-9:]) == {1} for heard in asking.heard)
    s.sm.delete_endpoint(EndpointName=name)


def test_a_rolling_update(serving):
    s = serving
    name = s.endpoint(variant(s.model(add=1), count=2))
    s.until(name, "InService")
    policy = {"RollingUpdatePolicy": {"MaximumBatchSize": size(1, "INSTANCE_COUNT"), "WaitIntervalInSeconds": 3}}
    with Asking(s, name) as asking:
        s.sm.update_endpoint(EndpointName=name, EndpointConfigName=s.config(variant(s.model(add=2), count=2)), DeploymentConfig=policy)
        d = stage(s, name, "Baking", "step 1 of 2, 50% of the requests")
        assert d["PendingDeploymentSummary"]["ProductionVariants"][0]["CurrentInstanceCount"] == 1
        d = stage(s, name, "Baking", "step 2 of 2, 100% of the requests")
        assert d["ProductionVariants"][0]["CurrentInstanceCount"] == 1  # the other one has been replaced
        s.until(name, "InService")
        asking.hears(3)
        assert s.adds(name) == 2
    s.sm.delete_endpoint(EndpointName=name)


def test_what_leaves_ends_its_answer_first(serving):
    s = serving
    name = s.endpoint(s.model(program=STREAMING))
    s.until(name, "InService")
    said = stream(s, name, words=40, pause=0.5)
    events, words = iter(said["Body"]), b""
    words += next(events)["PayloadPart"]["Bytes"]
    s.sm.update_endpoint(EndpointName=name, EndpointConfigName=s.config(s.model(add=2)))
    s.until(name, "InService")
    assert s.adds(name) == 2  # the new version answers while the old one still streams
    before = len(words)
    for event in events:
        words += event["PayloadPart"]["Bytes"]
    assert len(words) > before and words == b"".join(b"word %d " % n for n in range(40))
    s.sm.delete_endpoint(EndpointName=name)


def test_what_cannot_be_done_is_refused(serving):
    s = serving
    name = s.endpoint(s.model(add=1))
    s.until(name, "InService")
    other = s.config(variant(s.model(add=2), name="Another"))
    with refused("ValidationException", "must have the same variant names"):
        s.sm.update_endpoint(EndpointName=name, EndpointConfigName=other, DeploymentConfig=shift("ALL_AT_ONCE"))
    with refused("ValidationException", "does not exist"):
        policy = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "nobody"}]}}
        s.sm.update_endpoint(EndpointName=name, EndpointConfigName=other, DeploymentConfig=policy)
    s.sm.delete_endpoint(EndpointName=name)
