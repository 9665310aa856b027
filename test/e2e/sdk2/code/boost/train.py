"""Boosts trees, in script mode."""

import argparse
import os

import numpy as np
import xgboost

parser = argparse.ArgumentParser()
parser.add_argument("--max-depth", type=int)
parser.add_argument("--rounds", type=int)
arguments = parser.parse_args()
rows = np.loadtxt(os.path.join(os.environ["SM_CHANNEL_TRAIN"], "a.csv"), delimiter=",")
matrix = xgboost.DMatrix(rows[:, :4], rows[:, 4])
settings = {"max_depth": arguments.max_depth, "objective": "multi:softmax", "num_class": 3}
model = xgboost.train(settings, matrix, arguments.rounds, evals=[(matrix, "train")])
print("wrong:", int((model.predict(matrix) != rows[:, 4]).sum()))
model.save_model(os.path.join(os.environ["SM_MODEL_DIR"], "model.json"))
