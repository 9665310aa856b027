"""CloudWatch as boto3 uses it, in each of the three protocols that its versions have spoken."""

import copy
import datetime

import botocore.session
import pytest
from conftest import eventually, refused, unique


@pytest.fixture(params=["json", "smithy-rpc-v2-cbor", "query"])
def metrics(request):
    session = botocore.session.get_session()
    loader = session.get_component("data_loader")
    load = loader.load_service_model

    def only(service, kind, api_version=None):
        model = load(service, kind, api_version)
        if (service, kind) == ("cloudwatch", "service-2"):
            model = copy.deepcopy(model)
            model["metadata"].update(protocol=request.param, protocols=[request.param])
        return model

    loader.load_service_model = only
    made = session.create_client("cloudwatch")
    assert made.meta.service_model.resolved_protocol == request.param
    return made


def test_metrics(metrics):
    namespace = unique("metrics")
    at = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0, second=0) - datetime.timedelta(minutes=10)
    who = [{"Name": "Who", "Value": "me & <you>"}]
    metrics.put_metric_data(Namespace=namespace, MetricData=[
        {"MetricName": "loss", "Dimensions": who, "Timestamp": at + datetime.timedelta(seconds=n), "Value": n / 8, "Unit": "Bytes"}
        for n in range(50)
    ])
    found = metrics.get_metric_statistics(
        Namespace=namespace, MetricName="loss", Dimensions=who, Period=60, StartTime=at,
        EndTime=at + datetime.timedelta(minutes=1), Statistics=["SampleCount", "Average", "Maximum"],
    )["Datapoints"]
    assert found == [{"Timestamp": at, "SampleCount": 50, "Average": 49 / 16, "Maximum": 49 / 8, "Unit": "Bytes"}]
    assert metrics.list_metrics(Namespace=namespace)["Metrics"] == [
        {"Namespace": namespace, "MetricName": "loss", "Dimensions": who}
    ]


def test_refusals_have_their_old_codes_and_types(metrics):
    with pytest.raises(metrics.exceptions.InvalidParameterValueException) as refusal:
        metrics.list_metrics(NextToken="?")
    assert refusal.value.response["Error"]["Code"] == "InvalidParameterValue"
    assert refusal.value.response["Error"].get("Type") == "Sender"
    with refused("InvalidParameterCombination", "mutually exclusive", status=400):
        values = {"SampleCount": 1, "Sum": 1, "Minimum": 1, "Maximum": 1}
        metrics.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 1, "StatisticValues": values}])
    with refused("MissingParameter", status=400):
        metrics.put_metric_data(Namespace="n", MetricData=[])


def test_alarms(metrics):
    namespace, name = unique("alarmed"), unique("alarm")
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=25)
    metrics.put_metric_data(Namespace=namespace, MetricData=[{"MetricName": "loss", "Timestamp": before, "Value": 9}])
    alarm = {
        "AlarmName": name, "Namespace": namespace, "MetricName": "loss", "Statistic": "Average", "Period": 60, "EvaluationPeriods": 5, "DatapointsToAlarm": 1,
        "Threshold": 10.0, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching", "AlarmActions": ["arn:aws:sns:us-east-1:1:t"],
    }  # fmt: skip
    metrics.put_metric_alarm(**alarm)

    def described():
        return metrics.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]

    eventually(lambda: described()["StateValue"] == "OK", "the alarm to be evaluated")
    shown = described()
    assert {k: shown[k] for k in alarm} == alarm and shown["AlarmArn"].endswith(f":alarm:{name}")
    assert "StateReasonData" in shown and shown["StateUpdatedTimestamp"] >= shown["AlarmConfigurationUpdatedTimestamp"]
    metrics.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a drill", StateReasonData='{"by": "me"}')
    found = metrics.describe_alarms(AlarmNamePrefix=name, StateValue="ALARM", ActionPrefix="arn:aws:sns")["MetricAlarms"]
    assert [(a["StateReason"], a["StateReasonData"]) for a in found] == [("a drill", '{"by": "me"}')]
    metrics.delete_alarms(AlarmNames=[name])
    assert metrics.describe_alarms(AlarmNames=[name])["MetricAlarms"] == []
    with refused("ResourceNotFound", name):
        metrics.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="gone")
    with refused("ValidationError", "more than a day"):
        metrics.put_metric_alarm(**alarm | {"EvaluationPeriods": 1441})


def test_an_alarm_rings_by_its_metric(metrics):
    if metrics.meta.service_model.resolved_protocol != "json":
        return  # what rings does not depend on who asks
    namespace, name = unique("rings"), unique("alarm")
    metrics.put_metric_alarm(
        AlarmName=name, Namespace=namespace, MetricName="errors", Statistic="Sum", Period=10, EvaluationPeriods=1, Threshold=1.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )  # fmt: skip
    metrics.put_metric_data(Namespace=namespace, MetricData=[{"MetricName": "errors", "Value": 3}])

    def state():
        return metrics.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]

    eventually(lambda: state()["StateValue"] == "ALARM", "the alarm to ring", limit=40)
    assert state()["StateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [3.0 ("), state()
