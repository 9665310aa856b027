"""Fits a classifier to the iris flowers, and writes down all that it was given."""

import importlib.metadata
import json
import os
import sys

import joblib
import numpy as np
import six
import whale
from sklearn.linear_model import LogisticRegression


def read(channel):
    folder, rows, owners = os.environ["SM_CHANNEL_" + channel.upper()], [], set()
    for path, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(path, name)
            owners.add(os.stat(file).st_uid)
            rows.append(np.loadtxt(file, delimiter=","))
    return np.concatenate(rows), owners


if __name__ == "__main__":
    train, train_owners = read("train")
    test, test_owners = read("test")
    model = LogisticRegression(max_iter=500).fit(train[:, :4], train[:, 4])
    for epoch in range(3):
        print(f"epoch {epoch}: loss={1 / (epoch + 1):.4f} [not/markup]")
    accuracy = model.score(test[:, :4], test[:, 4])
    print(f"accuracy {accuracy:.4f}, größer")
    joblib.dump(model, os.path.join(os.environ["SM_MODEL_DIR"], "model.joblib"))
    report = {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "accuracy": accuracy,
        "user": os.getuid(),
        "owners": sorted(train_owners | test_owners),
        "rows": [len(train), len(test)],
        "versions": {
            "whale": whale.__version__,
            "six": six.__version__,
            "six installed": importlib.metadata.version("six"),
        },
    }
    with open("/opt/ml/input/config/hyperparameters.json") as file:
        report["hyperparameters"] = json.load(file)
    with open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "report.json"), "w") as file:
        json.dump(report, file)
