"""The main job, as a user of SageMaker writes it: upload data, fit an estimator, fetch the model, see how good it is, deploy
it, ask it, and delete the endpoint.

Nothing here knows of Stint but the last lines, which ask what the job and the endpoint cost. Where the services are and who calls is in the
environment that `stint env` prints.
"""

import io
import logging
import os
import subprocess
import sys
import tarfile
import tempfile

import boto3
import numpy as np
from sagemaker.pytorch import PyTorch
from sagemaker.sklearn import SKLearn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

BUCKET = "digits-demo"
PREFIX = "handwritten/train/"
PARTS = 8

HYPERPARAMETERS = {"epochs": 10, "batch-size": 32, "learning-rate": 0.001}


def say(text):
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}▸ {text}{plain}", flush=True)


def upload(s3, rows, folder):
    """Write the rows into files and upload each."""
    try:
        s3.create_bucket(Bucket=BUCKET)
    except s3.exceptions.BucketAlreadyOwnedByYou:
        pass  # by an earlier run
    for number, part in enumerate(np.array_split(rows, PARTS)):
        path = os.path.join(folder, f"part-{number:02d}.csv")
        np.savetxt(path, part, delimiter=",", fmt="%d")
        s3.upload_file(path, BUCKET, PREFIX + os.path.basename(path))


def make_estimator(framework, role):
    if framework == "sklearn":
        return SKLearn(
            entry_point="train_sklearn.py",
            source_dir="code",
            role=role,
            framework_version="1.2-1",
            instance_count=1,
            instance_type="ml.m5.large",
            hyperparameters=HYPERPARAMETERS,
        )
    return PyTorch(
        entry_point="train.py",
        source_dir="code",
        role=role,
        framework_version="1.13",
        py_version="py39",
        instance_count=1,
        instance_type="ml.p3.2xlarge",
        hyperparameters={"epochs": 10, "batch-size": 32, "learning-rate": 0.001},
        input_mode="File",
    )


def fetch_weights(s3, uri):
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    archive = io.BytesIO()
    s3.download_fileobj(bucket, key, archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as model:
        print("model.tar.gz holds " + ", ".join(f"{m.name} ({m.size:,} bytes)" for m in model if m.isfile()))
        return np.load(io.BytesIO(model.extractfile("weights.npz").read()))


def read_digits(weights, pixels):
    hidden = np.maximum(pixels / 16 @ weights["0.weight"].T + weights["0.bias"], 0)
    return (hidden @ weights["2.weight"].T + weights["2.bias"]).argmax(1)


def main(framework):
    for chatty in "sagemaker.config", "sagemaker.image_uris", "botocore":
        logging.getLogger(chatty).setLevel(logging.WARNING)
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    pixels, labels = load_digits(return_X_y=True)
    known, unseen, known_labels, unseen_labels = train_test_split(pixels, labels, test_size=0.2, random_state=0, stratify=labels)

    say(f"Uploading {len(known)} handwritten digits to s3://{BUCKET}/{PREFIX}; {len(unseen)} are held out")
    s3 = boto3.client("s3")
    with tempfile.TemporaryDirectory() as folder:
        upload(s3, np.column_stack([known, known_labels]), folder)

    estimator = make_estimator(framework, os.environ["SAGEMAKER_ROLE"])
    say(f"Training with the SageMaker SDK's {type(estimator).__name__} estimator")
    estimator.fit({"train": f"s3://{BUCKET}/{PREFIX}"})

    say("Reading the held-out digits with the model")
    weights = fetch_weights(s3, estimator.model_data)
    accuracy = (read_digits(weights, unseen) == unseen_labels).mean()
    print(f"{accuracy:.1%} of {len(unseen)} digits that it had never seen")

    say("Deploying the model; the SDK waits half a minute before it looks, the endpoint does not")
    predictor = estimator.deploy(initial_instance_count=1, instance_type="ml.m5.large")
    print()
    scores = predictor.predict((unseen / 16).astype("float32"))
    served = (np.asarray(scores).argmax(1) == unseen_labels).mean()
    print(f"the endpoint reads {served:.1%} of them")
    predictor.delete_endpoint()

    say("What it cost")
    names = estimator.latest_training_job.name, predictor.endpoint_name
    subprocess.run([os.environ["STINT_BIN"], "cost", *names], check=True)
    if accuracy < 0.9 or abs(served - accuracy) > 0.01:
        sys.exit(f"the model reads {accuracy:.1%} of the held-out digits and its endpoint {served:.1%}; something is wrong")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "pytorch")
