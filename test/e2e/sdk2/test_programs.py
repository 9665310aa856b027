"""Whole programs that wait for their jobs: what a user reads in the terminal."""

import io
import re
import zipfile

import pytest


@pytest.fixture(scope="module")
def said(started):
    """What a program printed. They run since the first test; the slowest SDK loop looks twice a minute."""

    def read(name):
        text, _ = started[name].communicate(timeout=300)
        assert started[name].returncode == 0, text
        return text

    return read


def in_order(text, *parts):
    at = 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is not in its place; the program printed:\n{text}"
        at = found + len(part)


def test_the_program_of_the_document(said, server):
    text = said("document.py")
    in_order(
        text,
        "Starting - ",
        "30 rows\n",
        *(f"epoch {epoch} of 10, loss " for epoch in range(1, 11)),
        "saved\n",
        "Training seconds: ",
        "Billable seconds: ",
    )
    in_order(text, "Completed - Training job completed")
    job = server.completed(re.search(r"^job: (.*)$", text, re.M)[1])
    model = server.archive(re.search(r"^model: (.*)$", text, re.M)[1])
    assert set(model) == {"model.pth"}
    assert any(name.endswith("data.pkl") for name in zipfile.ZipFile(io.BytesIO(model["model.pth"])).namelist())
    # The machine has no such GPU: the job ran all the same, was told so, and is billed as what was asked.
    notes = " ".join(t["StatusMessage"] for t in job["SecondaryStatusTransitions"])
    assert "ml.p3.2xlarge asks for 8 vCPUs, 61 GiB and 1 GPU; this machine gives" in notes
    assert job["ResourceConfig"]["InstanceType"] == "ml.p3.2xlarge"


def test_a_failing_script_raises_with_its_own_error(said):
    text = said("failing.py")
    in_order(text, "checking what was given\n", "Traceback (most recent call last)", "ValueError: the learning rate must be positive, not -1.0; naïve?")
    in_order(text, "status: Failed\n", "error: Error for Training job ", ": Failed. Reason: AlgorithmError: ExecuteUserScriptError:\nExitCode 1\n")
    in_order(text, "error: ", 'ErrorMessage "ValueError: the learning rate must be positive, not -1.0; naïve?', '"\nCommand "', "fail.py --rate -1", "exit code: 1")
