"""The model of the endpoint suites: it adds a number to every value, and suffers what its model.json or a request says."""

import json
import os
import time


def model_fn(model_dir):
    with open(os.path.join(model_dir, "model.json")) as file:
        model = json.load(file)
    print("the model adds", model["add"], flush=True)
    if "fault" in model:
        raise RuntimeError(model["fault"])
    time.sleep(model.get("loads", 0))
    model["weights"] = b"w" * (model.get("weighs", 0) << 20)
    return model


def predict_fn(data, model):
    if not isinstance(data, dict):
        return [[value + model["add"] for value in row] for row in data]
    if "fault" in data:
        raise ValueError(data["fault"])
    if data.get("die"):
        os._exit(9)
    model["leaked"] = b"l" * (data.get("leaks", 0) << 20)
    time.sleep(data.get("sleeps", 0))
    return {"add": model["add"], "instance": os.getppid(), "worker": os.getpid()}
