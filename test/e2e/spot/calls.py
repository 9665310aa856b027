"""What the Python suites ask of the server about managed spot, beside what the AWS clients can ask."""

import json
import os
import subprocess
import urllib.error
import urllib.request

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

ONCE = ["Starting", "Downloading", "Training", "Uploading", "Completed"]
INTERRUPTED = ["Starting", "Downloading", "Training", "Interrupted", *ONCE]


def call(operation, **members):
    """An operation of Stint's own service, which no AWS SDK knows; botocore's signer does for it."""
    session = boto3.Session()
    request = AWSRequest(
        "POST",
        os.environ["AWS_ENDPOINT_URL"] + "/",
        data=json.dumps(members).encode(),
        headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Stint." + operation},
    )
    SigV4Auth(session.get_credentials().get_frozen_credentials(), "stint", session.region_name).add_auth(request)
    try:
        with urllib.request.urlopen(urllib.request.Request(request.url, request.data, dict(request.headers))) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from None


def interrupt(job, notice=15, **more):
    return call("InterruptTrainingJob", TrainingJobName=job, NoticeSeconds=notice, **more)


def bill(job):
    """What `stint cost` says of a job."""
    said = subprocess.run([os.environ["STINT_BIN"], "cost", job, "--json"], capture_output=True, text=True, check=True)
    return json.loads(said.stdout)["Costs"][0]


def history(description):
    return [t["Status"] for t in description["SecondaryStatusTransitions"]]


def check_savings(description, percent=70):
    """Describe and the bill agree to the second. Each attempt's seconds are rounded once, so a short job is some way off its percentage."""
    costs = bill(description["TrainingJobName"])
    trained, billed = description["TrainingTimeInSeconds"], description["BillableTimeInSeconds"]
    assert (costs["Seconds"], costs["BillableSeconds"]) == (trained, billed), costs
    assert not costs["Running"]
    assert {line["Purchase"] for line in costs["Lines"]} == {"spot"}, costs
    total, list_price = float(costs["Total"]["Amount"]), float(costs["OnDemandTotal"]["Amount"])
    assert abs(total / list_price - (1 - percent / 100)) < 0.001, costs
    assert abs(billed - trained * (1 - percent / 100)) <= 0.5 * len(costs["Lines"]) + 0.001, costs
    return f"{(1 - billed / trained) * 100:.1f}%"
