"""A scikit-learn model of the usual kind: small, behind a large library."""

import os
import pickle

import numpy
from sklearn.linear_model import LinearRegression


def model_fn(model_dir):
    path = os.path.join(model_dir, "model.pickle")
    if os.path.exists(path):
        with open(path, "rb") as file:
            return pickle.load(file)
    return LinearRegression().fit(numpy.eye(4), numpy.arange(4))


def predict_fn(data, model):
    return model.predict(numpy.asarray(data, dtype=float))
