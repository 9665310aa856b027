"""The second container of the pipeline: XGBoost tells where the sum of what is comparable is above none."""

import os

import numpy as np
import xgboost


def model_fn(model_dir):
    if os.path.exists("/opt/ml/model/values"):
        raise RuntimeError("this is the other container's model")
    values = np.random.default_rng(1).normal(size=(400, 2))
    labels = values.sum(axis=1) > 0
    return xgboost.train({"objective": "binary:logistic", "max_depth": 4, "nthread": 1}, xgboost.DMatrix(values, labels), 30)
