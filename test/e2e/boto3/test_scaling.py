"""Application Auto Scaling and alarms as a boto3 user has them, on endpoints that really work."""

import datetime
import json
import threading

import pytest
from conftest import client, eventually, refused, unique
from serving import LIMIT, Serving, variant

COUNT = "sagemaker:variant:DesiredInstanceCount"
CONCURRENCY = "sagemaker:variant:DesiredProvisionedConcurrency"


@pytest.fixture(scope="module")
def serving(bucket):
    return Serving(bucket)


@pytest.fixture(scope="module", autouse=True)
def endpoints(serving):
    """Every endpoint of these tests, begun at once."""
    model = serving.model(add=1)
    without = {"VariantName": "AllTraffic", "ModelName": model, "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 5}}
    return {"tracked": serving.endpoint(model), "stepped": serving.endpoint(variant(model)), "serverless": serving.endpoint(without)}


@pytest.fixture(scope="module")
def scaling():
    return client("application-autoscaling")


@pytest.fixture(scope="module")
def cloudwatch():
    return client("cloudwatch")


def of(endpoint, dimension=COUNT):
    return {"ServiceNamespace": "sagemaker", "ResourceId": f"endpoint/{endpoint}/variant/AllTraffic", "ScalableDimension": dimension}


def instances(serving, endpoint):
    return serving.describe(endpoint)["ProductionVariants"][0]["CurrentInstanceCount"]


class Load:
    """Clients that ask without a pause, until the block is left."""

    def __init__(self, endpoint, clients):
        self.endpoint, self.stop, self.faults = endpoint, threading.Event(), []
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]

    def ask(self):
        runtime = client("sagemaker-runtime")
        while not self.stop.is_set():
            try:
                said = runtime.invoke_endpoint(EndpointName=self.endpoint, ContentType="application/json", Body=json.dumps({"sleeps": 0.1}))
                said["Body"].read()
            except Exception as fault:
                self.faults.append(fault)
                return

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()


def test_instances_follow_the_load_and_its_end(serving, scaling, cloudwatch, endpoints):
    name = endpoints["tracked"]
    serving.until(name, "InService")
    scaling.register_scalable_target(**of(name), MinCapacity=1, MaxCapacity=2)
    policy = scaling.put_scaling_policy(
        PolicyName="few-at-once", PolicyType="TargetTrackingScaling", **of(name),
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 1.5, "ScaleOutCooldown": 10, "ScaleInCooldown": 20,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"},
        },
    )  # fmt: skip
    high, low = [a["AlarmName"] for a in policy["Alarms"]]
    assert high.startswith(f"TargetTracking-endpoint/{name}/variant/AllTraffic-AlarmHigh-") and "AlarmLow" in low
    with Load(name, 4) as load:
        eventually(lambda: instances(serving, name) == 2, "a second instance", limit=LIMIT)
        state = lambda a: cloudwatch.describe_alarms(AlarmNames=[a])["MetricAlarms"][0]["StateValue"]  # noqa: E731
        eventually(lambda: state(high) == "ALARM", "the high alarm to ring", limit=30)
    assert not load.faults
    eventually(lambda: instances(serving, name) == 1, "the second instance to go", limit=LIMIT)
    serving.until(name, "InService")

    def past():
        found = scaling.describe_scaling_activities(**of(name))["ScalingActivities"]
        return found[0]["StatusCode"] == "Successful" and found

    down, up = eventually(past, "the activity to end")
    assert up["Description"] == "Setting desired instance count to 2."
    assert up["Cause"] == f"monitor alarm {high} in state ALARM triggered policy few-at-once"
    assert down["Cause"] == f"monitor alarm {low} in state ALARM triggered policy few-at-once"
    assert "ConcurrentRequestsPerModel" in up["Details"] and up["EndTime"] > up["StartTime"]
    # What belongs to an endpoint goes with it.
    serving.sm.delete_endpoint(EndpointName=name)
    gone = lambda: not scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[of(name)["ResourceId"]])["ScalableTargets"]  # noqa: E731
    eventually(gone, "the target to go with its endpoint", limit=30)
    assert not cloudwatch.describe_alarms(AlarmNames=[high, low])["MetricAlarms"]


def test_a_step_follows_its_alarm(serving, scaling, cloudwatch, endpoints):
    name = endpoints["stepped"]
    serving.until(name, "InService")
    with refused("ObjectNotFoundException", "No scalable target registered", name):
        scaling.put_scaling_policy(PolicyName="steps", **of(name))
    scaling.register_scalable_target(**of(name), MinCapacity=1, MaxCapacity=3)
    steps = {
        "AdjustmentType": "ChangeInCapacity", "Cooldown": 60,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
    }  # fmt: skip
    arn = scaling.put_scaling_policy(PolicyName="steps", PolicyType="StepScaling", **of(name), StepScalingPolicyConfiguration=steps)["PolicyARN"]
    alarm = unique("alarm")
    cloudwatch.put_metric_alarm(
        AlarmName=alarm, Namespace="queues", MetricName="length", Statistic="Maximum", Period=60, EvaluationPeriods=1, Threshold=5,
        ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching", AlarmActions=[arn],
    )  # fmt: skip
    shown = scaling.describe_scaling_policies(PolicyNames=["steps"], **of(name))["ScalingPolicies"]
    assert [a["AlarmName"] for a in shown[0]["Alarms"]] == [alarm]
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a drill")
    eventually(lambda: instances(serving, name) == 2, "a second instance", limit=LIMIT)
    # The bounds hold at once.
    serving.until(name, "InService")
    scaling.register_scalable_target(**of(name), MaxCapacity=1)
    eventually(lambda: instances(serving, name) == 1, "the second instance to go", limit=LIMIT)


def test_provisioned_concurrency_is_scheduled(serving, scaling, endpoints):
    name = endpoints["serverless"]
    serving.until(name, "InService")
    scaling.register_scalable_target(**of(name, CONCURRENCY), MinCapacity=0, MaxCapacity=3)
    soon = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)).strftime("at(%Y-%m-%dT%H:%M:%S)")
    scaling.put_scheduled_action(ScheduledActionName="soon", Schedule=soon, ScalableTargetAction={"MinCapacity": 2}, **of(name, CONCURRENCY))
    provisioned = lambda: serving.describe(name)["ProductionVariants"][0]["CurrentServerlessConfig"].get("ProvisionedConcurrency")  # noqa: E731
    eventually(lambda: provisioned() == 2, "provisioned concurrency", limit=LIMIT)
    causes = [a["Cause"] for a in scaling.describe_scaling_activities(**of(name, CONCURRENCY))["ScalingActivities"]]
    assert causes[::-1] == ["scheduled action name soon was triggered", "minimum capacity was set to 2"]


def test_what_cannot_be_scaled_is_refused(scaling):
    with refused("ValidationException", "doesn't exist"):
        scaling.register_scalable_target(**of("nobody"), MinCapacity=1, MaxCapacity=2)
    with refused("UnsupportedOperation", "ecs"):
        scaling.register_scalable_target(
            ServiceNamespace="ecs", ResourceId="service/a/b", ScalableDimension="ecs:service:DesiredCount", MinCapacity=1, MaxCapacity=2
        )
    with refused("ObjectNotFoundException", "nobody"):
        scaling.deregister_scalable_target(**of("nobody"))
