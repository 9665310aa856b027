"""Train a small network to read handwritten digits, as a script for SageMaker's PyTorch estimator, and serve it."""

import argparse
import os
import time

import boto3
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BUCKET = "digits-demo"
PREFIX = "handwritten/train/"
DATA_DIR = "/opt/ml/input/data/train"
MODEL_PATH = "/opt/ml/model/model.pth"


def download_data():
    """Fetch every file under the prefix, page by page."""
    s3 = boto3.client("s3")
    os.makedirs(DATA_DIR, exist_ok=True)
    files, request = [], {"Bucket": BUCKET, "Prefix": PREFIX}
    while True:
        page = s3.list_objects_v2(**request)
        for item in page.get("Contents", []):
            path = os.path.join(DATA_DIR, os.path.basename(item["Key"]))
            s3.download_file(BUCKET, item["Key"], path)
            files.append(path)
        if not page["IsTruncated"]:
            return files
        request["ContinuationToken"] = page["NextContinuationToken"]


def load(files):
    """Read rows of 64 pixels from 0 to 16 and a label."""
    rows = np.concatenate([np.loadtxt(path, delimiter=",", dtype=np.float32) for path in sorted(files)])
    return TensorDataset(torch.from_numpy(rows[:, :64] / 16), torch.from_numpy(rows[:, 64]).long())


def network():
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def model_fn(model_dir):
    """What an endpoint calls to load the model; the rest of serving is PyTorch's default: arrays in, scores out."""
    model = network()
    model.load_state_dict(torch.load(os.path.join(model_dir, os.path.basename(MODEL_PATH))))
    return model


def train(dataset, arguments):
    model = network()
    loader = DataLoader(dataset, batch_size=arguments.batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=arguments.learning_rate)
    loss_function = nn.CrossEntropyLoss()
    for epoch in range(1, arguments.epochs + 1):
        began, total, right = time.time(), 0.0, 0
        for pixels, labels in loader:
            scores = model(pixels)
            loss = loss_function(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            right += (scores.argmax(1) == labels).sum().item()
        print(
            f"epoch {epoch}/{arguments.epochs}: loss {total / len(dataset):.4f}, "
            f"accuracy {right / len(dataset):.4f}, {time.time() - began:.2f} s",
            flush=True,
        )
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)  # the network is too small to be worth sharing
    files = download_data()
    dataset = load(files)
    print(f"PyTorch {torch.__version__}: {len(dataset)} digits from {len(files)} files", flush=True)

    model = train(dataset, arguments)
    torch.save(model.state_dict(), MODEL_PATH)
    # The same weights for readers without PyTorch, demo.py among them.
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    np.savez(os.path.join(os.path.dirname(MODEL_PATH), "weights.npz"), **weights)
    print(f"saved {MODEL_PATH}", flush=True)


if __name__ == "__main__":
    main()
