"""The model of the benchmark: the answer is the question. For Stint's model server."""


def model_fn(model_dir):
    return "echo"


def predict_fn(data, model):
    return data
