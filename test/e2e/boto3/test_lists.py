"""ListTrainingJobs over a few hundred jobs: every filter, every order, every page."""

import datetime

import pytest
from conftest import client, eventually, refused, request

COUNT = 250


@pytest.fixture(scope="module")
def jobs(sm, bucket, start, ended):
    """COUNT jobs that fail at once, as nothing can run their image, and some that complete or stop."""
    for i in range(COUNT):
        r = request(f"listed-{i:03}", "true", bucket)
        r["AlgorithmSpecification"] = {"TrainingImage": "nobody/knows:this", "TrainingInputMode": "File"}
        sm.create_training_job(**r)
    for i in range(3):
        start("true", name=f"listed-ok-{i}")
    stopped = start("sleep 60", name="listed-stopped")
    sm.stop_training_job(TrainingJobName=stopped)
    for i in range(3):
        ended(f"listed-ok-{i}")
    ended(stopped)
    eventually(
        lambda: all(s["TrainingJobStatus"] != "InProgress" for s in all_of(sm, NameContains="listed-")),
        "the jobs to end", limit=60,
    )


def all_of(sm, page=100, **filters):
    pages = sm.get_paginator("list_training_jobs").paginate(PaginationConfig={"PageSize": page}, **filters)
    return [s for p in pages for s in p["TrainingJobSummaries"]]


def names(summaries):
    return [s["TrainingJobName"] for s in summaries]


def test_the_paginator_gives_each_job_once(sm, jobs):
    expected = {f"listed-{i:03}" for i in range(COUNT)} | {f"listed-ok-{i}" for i in range(3)} | {"listed-stopped"}
    for page in (7, 100):
        found = names(all_of(sm, page, NameContains="listed-"))
        assert len(found) == len(expected) and set(found) == expected


@pytest.mark.parametrize("sort", ["Name", "CreationTime", "Status"])
def test_orders(sm, jobs, sort):
    value = {
        "Name": lambda s: s["TrainingJobName"],
        "CreationTime": lambda s: s["CreationTime"],
        "Status": lambda s: s["TrainingJobStatus"],
    }[sort]
    up = all_of(sm, 40, NameContains="listed-", SortBy=sort, SortOrder="Ascending")
    down = all_of(sm, 40, NameContains="listed-", SortBy=sort, SortOrder="Descending")
    assert len(up) == len(down) == COUNT + 4
    assert [value(s) for s in up] == sorted(value(s) for s in up)
    assert [value(s) for s in down] == sorted((value(s) for s in down), reverse=True)


def test_the_default_is_the_oldest_ten(sm, jobs):
    page = sm.list_training_jobs(NameContains="listed-")
    assert names(page["TrainingJobSummaries"]) == [f"listed-{i:03}" for i in range(10)]
    assert page["NextToken"]


def test_filter_by_status(sm, jobs):
    assert set(names(all_of(sm, StatusEquals="Completed", NameContains="listed-"))) == {f"listed-ok-{i}" for i in range(3)}
    assert names(all_of(sm, StatusEquals="Stopped", NameContains="listed-")) == ["listed-stopped"]
    assert len(all_of(sm, StatusEquals="Failed", NameContains="listed-")) == COUNT
    assert all_of(sm, StatusEquals="InProgress", NameContains="listed-") == []


def test_filter_by_name(sm, jobs):
    assert names(all_of(sm, NameContains="listed-12")) == [f"listed-12{i}" for i in range(10)]
    assert names(all_of(sm, NameContains="ed-stopp")) == ["listed-stopped"]
    assert names(all_of(sm, NameContains="LISTED-STOPPED")) in ([], ["listed-stopped"])
    assert all_of(sm, NameContains="no-such") == []


def test_filter_by_time(sm, jobs):
    every = all_of(sm, NameContains="listed-", SortBy="CreationTime", SortOrder="Ascending")
    middle = every[COUNT // 2]["CreationTime"]
    tick = datetime.timedelta(milliseconds=1)
    before = all_of(sm, NameContains="listed-", CreationTimeBefore=middle + tick)
    after = all_of(sm, NameContains="listed-", CreationTimeAfter=middle + tick)
    assert set(names(before)) == {s["TrainingJobName"] for s in every if s["CreationTime"] <= middle}
    assert set(names(after)) == {s["TrainingJobName"] for s in every if s["CreationTime"] > middle}
    modified = sorted(s["LastModifiedTime"] for s in every)[COUNT // 2]
    recent = all_of(sm, NameContains="listed-", LastModifiedTimeAfter=modified + tick)
    assert set(names(recent)) == {s["TrainingJobName"] for s in every if s["LastModifiedTime"] > modified}
    old = all_of(sm, NameContains="listed-", LastModifiedTimeBefore=modified + tick)
    assert len(old) + len(recent) == COUNT + 4


def test_summaries_say_how_it_is(sm, jobs):
    (s,) = all_of(sm, NameContains="listed-ok-0")
    assert s["TrainingJobStatus"] == "Completed"
    assert s["TrainingEndTime"] >= s["CreationTime"]
    assert s["TrainingJobArn"].endswith(":training-job/listed-ok-0")


def test_pages_stay_whole_while_jobs_come(sm, start, jobs):
    """Who pages through by name sees every job that was there when he began, though others come meanwhile."""
    page = sm.list_training_jobs(NameContains="listed-", SortBy="Name", SortOrder="Ascending", MaxResults=50)
    seen = names(page["TrainingJobSummaries"])
    arrived = 0
    while page.get("NextToken"):
        start("true", name=f"arriving-listed-{arrived}")
        arrived += 1
        page = sm.list_training_jobs(
            NameContains="listed-", SortBy="Name", SortOrder="Ascending", MaxResults=50, NextToken=page["NextToken"]
        )
        seen += names(page["TrainingJobSummaries"])
    assert arrived >= 5
    assert len(seen) == len(set(seen))
    assert {f"listed-{i:03}" for i in range(COUNT)} <= set(seen)


def test_bad_lists(sm):
    with refused("ValidationException", "'maxResults'"):
        sm.list_training_jobs(MaxResults=101)
    with refused("ValidationException"):
        sm.list_training_jobs(NextToken="made up")
    with refused("ValidationException", "'statusEquals'"):
        sm.list_training_jobs(StatusEquals="Sleeping")


def test_others_may_not_list(user):
    key = user(("Allow", "sagemaker:DescribeTrainingJob", "*"))
    with refused("AccessDeniedException", "sagemaker:ListTrainingJobs"):
        client("sagemaker", key).list_training_jobs()
