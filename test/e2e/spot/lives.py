"""A training script of several lives: in each but its last it works until its capacity is taken away, saves what it has, and
goes on from there in its next life. How it hears of the end is a choice, as it is among real handlers. Standard library alone."""

import argparse
import json
import os
import pathlib
import random
import signal
import sys
import time
import urllib.error
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--lives", type=int, default=1)
parser.add_argument("--hear", choices=["signal", "imds", "file", "never"], default="signal")
parser.add_argument("--folder", default="/opt/ml/checkpoints")
parser.add_argument("--steps", type=int, default=10)  # of the last life
args, _ = parser.parse_known_args()
folder = pathlib.Path(args.folder)
told = []


def say(*words):
    print(*words, flush=True)


def place(path, content):
    """Written whole or not at all, as checkpoints should be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".part"), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    path.with_name(path.name + ".part").rename(path)


def save(state):
    place(folder / f"deep/step {state['step']}.bin", random.Random(state["step"]).randbytes(70_000))
    for old in sorted(folder.glob("deep/step *.bin"), key=lambda f: int(f.stem[5:]))[:-2]:
        old.unlink()
    place(folder / "state.json", json.dumps(state).encode())


def ask(path, method="GET", **headers):
    """The metadata service, as handlers for spot instances ask it; None while there is nothing."""
    url = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"].rstrip("/") + path
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers), timeout=2) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def notice():
    """What says that the end is near, or None."""
    if args.hear == "signal":
        return "SIGTERM" if told else None
    if args.hear == "imds":
        token = ask("/latest/api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        return ask("/latest/meta-data/spot/instance-action", **{"X-aws-ec2-metadata-token": token})
    if args.hear == "file":
        file = pathlib.Path(os.environ["STINT_INTERRUPTION_FILE"])
        return file.read_text() if file.exists() else None
    return None


signal.signal(signal.SIGTERM, (lambda *_: told.append(1)) if args.hear == "signal" else signal.SIG_IGN)
state = {"step": 0, "lives": []}
if (folder / "state.json").exists():
    state = json.loads((folder / "state.json").read_text())
    kept = (folder / f"deep/step {state['step']}.bin").read_bytes()
    assert kept == random.Random(state["step"]).randbytes(70_000), "the checkpoint is not what was saved"
life = {"from": state["step"], "heard": None}
state["lives"].append(life)
number = len(state["lives"])
say(f"life {number} from step {state['step']}")
deadline = time.monotonic() + 120
while time.monotonic() < deadline:
    time.sleep(0.02)
    state["step"] += 1
    if state["step"] % 5 == 0:
        save(state)
    if state["step"] == life["from"] + 5:
        say(f"life {number} works")
    if number >= args.lives and state["step"] >= life["from"] + args.steps:
        save(state)
        pathlib.Path("/opt/ml/model/result.json").write_text(json.dumps(state))
        say(f"done at step {state['step']}")
        sys.exit(0)
    life["heard"] = notice()
    if life["heard"]:
        save(state)
        say(f"life {number} saved at step {state['step']}: {life['heard']}")
        sys.exit(0)
sys.exit("nobody took the capacity away")
