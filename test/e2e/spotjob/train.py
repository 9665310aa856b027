"""A training job that counts: logistic regression by stochastic gradient descent, the same model whatever interrupts it.

Every step and every checkpoint is said in the log. A checkpoint is two files that belong together and a pointer to them,
each renamed into place, the pointer last; the two newest are kept. A job that finds a pointer to files that do not belong
together has been given a torn set, and fails.
"""
import json
import os
import random
import signal
import sys
import time

STEPS, EVERY = int(os.environ["STEPS"]), int(os.environ["EVERY"])
SECONDS = float(os.environ["STEP_SECONDS"])
POLITE = os.environ["POLITE"] == "yes"  # saves when it is told to end, as good handlers do
FOLDER = os.environ.get("STINT_CHECKPOINT_DIR", "/opt/ml/checkpoints")

told = False


def tell(*words):
    print(*words, flush=True)


def hear(_signal, _frame):
    global told
    told = True


def place(name, content):
    """Write a file whole or not at all."""
    path = os.path.join(FOLDER, name)
    with open(path + ".tmp", "w") as out:
        json.dump(content, out)
        out.flush()
        os.fsync(out.fileno())
    os.rename(path + ".tmp", path)


def save(step, weights, moments):
    place(f"weights-{step}.json", {"step": step, "weights": weights})
    place(f"moments-{step}.json", {"step": step, "moments": moments, "ballast": "x" * 20000})
    place("latest.json", {"step": step})
    tell("checkpoint", step)
    steps = sorted(int(name[8:-5]) for name in os.listdir(FOLDER) if name.startswith("weights-") and name.endswith(".json"))
    for old in steps[:-2]:
        for kind in ("weights", "moments"):
            try:
                os.remove(os.path.join(FOLDER, f"{kind}-{old}.json"))
            except FileNotFoundError:
                pass


def load():
    try:
        with open(os.path.join(FOLDER, "latest.json")) as f:
            step = json.load(f)["step"]
    except FileNotFoundError:  # no checkpoint was ever whole
        return 0, [0.0] * 8, [0.0] * 8
    try:
        with open(os.path.join(FOLDER, f"weights-{step}.json")) as f:
            weights = json.load(f)
        with open(os.path.join(FOLDER, f"moments-{step}.json")) as f:
            moments = json.load(f)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"torn set: {error}; there are {sorted(os.listdir(FOLDER))}")
    if weights["step"] != step or moments["step"] != step:
        sys.exit("torn set: the files do not belong together")
    return step, weights["weights"], moments["moments"]


def learn(step, weights, moments):
    """One step on a sample that follows from the step's number alone."""
    chance = random.Random(step)
    x = [chance.gauss(0, 1) for _ in weights]
    wanted = 1.0 if sum(x[:4]) > sum(x[4:]) else 0.0
    score = max(-30.0, min(30.0, sum(w * v for w, v in zip(weights, x))))
    error = wanted - 1 / (1 + 2.718281828459045 ** -score)
    moments = [0.9 * m + error * v for m, v in zip(moments, x)]
    return [w + 0.05 * m for w, m in zip(weights, moments)], moments


def main():
    if POLITE:
        signal.signal(signal.SIGTERM, hear)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    step, weights, moments = load()
    tell("resume", step)
    while step < STEPS:
        step += 1
        weights, moments = learn(step, weights, moments)
        tell("step", step)
        if step % EVERY == 0 or told:
            save(step, weights, moments)
        if told:
            return
        time.sleep(SECONDS)
    with open("/opt/ml/model/model.json", "w") as out:
        json.dump({"steps": step, "weights": weights, "moments": moments}, out)


main()
