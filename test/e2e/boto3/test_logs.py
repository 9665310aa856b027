"""CloudWatch Logs, of jobs and of one's own."""

import json
import time

import pytest
from conftest import JOB_LOGS, client, eventually, refused, unique


def stream_of(logs, job):
    def look():
        try:
            return logs.describe_log_streams(logGroupName=JOB_LOGS, logStreamNamePrefix=job + "/")["logStreams"]
        except logs.exceptions.ResourceNotFoundException:
            return None  # no job of this server has said anything yet

    (stream,) = eventually(look, f"the log of {job}")
    return stream["logStreamName"]


def test_paging_while_the_job_writes(sm, logs, start):
    lines = 1500
    job = start(f"i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.1; done; sleep 3")
    stream = stream_of(logs, job)
    assert stream.startswith(job + "/algo-1-")
    seen, token, empty_pages, over = [], None, 0, False
    while True:
        more = {"nextToken": token} if token else {}
        page = logs.get_log_events(logGroupName=JOB_LOGS, logStreamName=stream, startFromHead=True, limit=97, **more)
        seen += [e["message"] for e in page["events"]]
        stood = page["nextForwardToken"] == token
        token = page["nextForwardToken"]
        if stood and over:
            break
        if stood:
            empty_pages += 1
            over = sm.describe_training_job(TrainingJobName=job)["TrainingJobStatus"] != "InProgress"
    assert seen == [f"line {i}" for i in range(lines)]
    assert empty_pages > 1, "the job was never waited for, so that this proved nothing"
    # And back again.
    back, token = [], page["nextBackwardToken"]
    while True:
        page = logs.get_log_events(logGroupName=JOB_LOGS, logStreamName=stream, limit=400, nextToken=token)
        back = [e["message"] for e in page["events"]] + back
        if page["nextBackwardToken"] == token:
            break
        token = page["nextBackwardToken"]
    assert back == seen


def test_the_tail_comes_first_without_start_from_head(logs, start, ended):
    job = start("seq 1 30")
    ended(job)
    page = logs.get_log_events(logGroupName=JOB_LOGS, logStreamName=stream_of(logs, job), limit=5)
    assert [e["message"] for e in page["events"]] == ["26", "27", "28", "29", "30"]
    page = logs.get_log_events(
        logGroupName=JOB_LOGS, logStreamName=stream_of(logs, job), limit=5, nextToken=page["nextBackwardToken"]
    )
    assert [e["message"] for e in page["events"]] == ["21", "22", "23", "24", "25"]


def test_filter_log_events(logs, start, ended):
    jobs = [start(f"for i in 1 2 3; do echo job {n} info $i; echo job {n} ERROR $i; done") for n in range(2)]
    for job in jobs:
        ended(job)
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=JOB_LOGS, logStreamNames=[stream_of(logs, j) for j in jobs], filterPattern="ERROR",
        PaginationConfig={"PageSize": 2},
    )
    events = [e for p in pages for e in p["events"]]
    assert sorted(e["message"] for e in events) == sorted(f"job {n} ERROR {i}" for n in range(2) for i in (1, 2, 3))
    assert len({e["eventId"] for e in events}) == 6
    assert [e["timestamp"] for e in events] == sorted(e["timestamp"] for e in events)
    only = logs.filter_log_events(logGroupName=JOB_LOGS, logStreamNamePrefix=jobs[1] + "/", filterPattern='"info 2"')
    assert [e["message"] for e in only["events"]] == ["job 1 info 2"]


def test_own_groups_and_streams(logs):
    group = f"/own/{unique()}"
    logs.create_log_group(logGroupName=group)
    with refused("ResourceAlreadyExistsException"):
        logs.create_log_group(logGroupName=group)
    logs.put_retention_policy(logGroupName=group, retentionInDays=7)
    (found,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert found["retentionInDays"] == 7
    now = int(time.time() * 1000)
    for stream in ("a", "b"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        logs.put_log_events(
            logGroupName=group, logStreamName=stream,
            logEvents=[{"timestamp": now + i, "message": json.dumps({"n": i, "from": stream})} for i in range(10)],
        )
    events = logs.filter_log_events(logGroupName=group, filterPattern="{ $.n = 3 }")["events"]
    assert [json.loads(e["message"]) for e in events] == [{"n": 3, "from": "a"}, {"n": 3, "from": "b"}]
    names = [s["logStreamName"] for p in logs.get_paginator("describe_log_streams").paginate(logGroupName=group)
             for s in p["logStreams"]]
    assert names == ["a", "b"]
    window = logs.get_log_events(logGroupName=group, logStreamName="a", startTime=now + 2, endTime=now + 5, startFromHead=True)
    assert [json.loads(e["message"])["n"] for e in window["events"]] == [2, 3, 4]
    logs.delete_log_stream(logGroupName=group, logStreamName="a")
    with refused("ResourceNotFoundException"):
        logs.get_log_events(logGroupName=group, logStreamName="a")
    logs.delete_log_group(logGroupName=group)
    with refused("ResourceNotFoundException"):
        logs.describe_log_streams(logGroupName=group)


def test_what_is_missing_or_wrong(logs, start, ended):
    with refused("ResourceNotFoundException"):
        logs.describe_log_streams(logGroupName="/nobody/made/this")
    ended(start("echo x"))
    with refused("ResourceNotFoundException"):
        logs.get_log_events(logGroupName=JOB_LOGS, logStreamName="nobody/algo-1-1")
    with refused("InvalidParameterException"):
        logs.filter_log_events(logGroupName=JOB_LOGS, filterPattern="{ $.n = ")


def test_a_reader_of_one_job_reads_no_other(logs, start, ended, user):
    mine, other = start("echo mine"), start("echo other")
    ended(mine), ended(other)
    stream = stream_of(logs, mine)
    key = user(("Allow", "logs:GetLogEvents", f"arn:aws:logs:*:*:log-group:{JOB_LOGS}:log-stream:{mine}/*"))
    reader = client("logs", key)
    assert [e["message"] for e in reader.get_log_events(logGroupName=JOB_LOGS, logStreamName=stream)["events"]] == ["mine"]
    with refused("AccessDeniedException", "logs:GetLogEvents"):
        reader.get_log_events(logGroupName=JOB_LOGS, logStreamName=stream_of(logs, other))


@pytest.mark.parametrize("size", [1, 10_000])
def test_pages_hold_what_they_are_asked_for(logs, size):
    group = f"/own/{unique()}"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    now = int(time.time() * 1000)
    logs.put_log_events(
        logGroupName=group, logStreamName="s", logEvents=[{"timestamp": now, "message": str(i)} for i in range(20)]
    )
    page = logs.get_log_events(logGroupName=group, logStreamName="s", startFromHead=True, limit=size)
    assert [e["message"] for e in page["events"]] == [str(i) for i in range(min(size, 20))]
