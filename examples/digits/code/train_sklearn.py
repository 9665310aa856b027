"""The same network in scikit-learn, for machines without PyTorch: a script for SageMaker's SKLearn estimator, and its endpoint."""

import argparse
import os

import joblib
import numpy as np
from sklearn.neural_network import MLPClassifier


def model_fn(model_dir):
    """What an endpoint calls to load the model."""
    return joblib.load(os.path.join(model_dir, "model.joblib"))


def predict_fn(pixels, model):
    """Scores, as PyTorch's network gives them."""
    return model.predict_proba(pixels)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    arguments = parser.parse_args()

    folder = os.environ["SM_CHANNEL_TRAIN"]
    rows = np.concatenate([np.loadtxt(os.path.join(folder, name), delimiter=",") for name in sorted(os.listdir(folder))])
    pixels, labels = rows[:, :64] / 16, rows[:, 64].astype(int)
    print(f"{len(rows)} digits", flush=True)

    model = MLPClassifier(
        (128,), batch_size=arguments.batch_size, learning_rate_init=arguments.learning_rate, random_state=0
    )
    for epoch in range(1, arguments.epochs + 1):
        model.partial_fit(pixels, labels, classes=np.arange(10))
        print(f"epoch {epoch}/{arguments.epochs}: loss {model.loss_:.4f}, accuracy {model.score(pixels, labels):.4f}", flush=True)

    joblib.dump(model, os.path.join(os.environ["SM_MODEL_DIR"], "model.joblib"))
    # By the names and in the form that PyTorch has them.
    weights = {}
    for place, (matrix, bias) in zip((0, 2), zip(model.coefs_, model.intercepts_)):
        weights[f"{place}.weight"], weights[f"{place}.bias"] = matrix.T, bias
    np.savez(os.path.join(os.environ["SM_MODEL_DIR"], "weights.npz"), **weights)


if __name__ == "__main__":
    main()
