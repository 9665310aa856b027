"""What each framework does where the user's program says nothing.

A framework has load(model_dir), decode(body, content_type), predict(data, model) and
encode(prediction, accept), as the public containers have them. Libraries are imported
when a model is loaded, never before.
"""

import os

from . import codecs
from .wire import Refused


class NoModelFunction(Exception):
    """The program has to say how its model is loaded, and does not."""


class Plain:
    """Any Python: bodies are plain values; a model is asked by predict or called."""

    name = "Python"
    default_accept = codecs.JSON
    default_content_type = codecs.JSON

    def __init__(self, settings):
        self.settings = settings

    def load(self, model_dir):
        raise NoModelFunction("%s has no default for model_fn; define model_fn(model_dir) in the program" % self.name)

    def decode(self, body, content_type):
        return codecs.decode(body, content_type)

    def predict(self, data, model):
        if hasattr(model, "predict"):
            return model.predict(data)
        if callable(model):
            return model(data)
        raise TypeError("a %s has no predict and cannot be called; define predict_fn(data, model)" % type(model).__name__)

    def encode(self, prediction, accept):
        return codecs.encode(prediction, accept, self.settings.default_accept or self.default_accept)


class Sklearn(Plain):
    """scikit-learn: arrays in, model.predict, arrays out."""

    name = "scikit-learn"

    def decode(self, body, content_type):
        array = codecs.decode_array(body, content_type)
        if codecs.media_type(content_type) not in codecs.TEXTS:
            return array
        return _cast(array, "float32")

    def predict(self, data, model):
        return model.predict(data)


class PyTorch(Plain):
    """PyTorch: tensors in, no gradients; the default model is TorchScript."""

    name = "PyTorch"

    def load(self, model_dir):
        import torch

        path = os.path.join(model_dir, "model.pt")
        if not os.path.exists(path):
            path = _only_file(model_dir, (".pt", ".pth"))
        try:
            model = torch.jit.load(path, map_location=self._device())
        except RuntimeError as error:
            raise NoModelFunction(
                "%s is not TorchScript (%s); define model_fn(model_dir) in the program, or save the model with torch.jit.save"
                % (path, str(error).strip().split("\n")[0])
            )
        return model.eval()

    def _device(self):
        import torch

        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def decode(self, body, content_type):
        import torch

        array = codecs.decode_array(body, content_type)
        if isinstance(array, dict):
            return {name: torch.from_numpy(value).to(self._device()) for name, value in array.items()}
        if codecs.media_type(content_type) in codecs.TEXTS:
            array = _cast(array, "float32")
        return torch.from_numpy(array).to(self._device())

    def predict(self, data, model):
        import torch

        if getattr(model, "training", False):
            model.eval()
        with torch.no_grad():
            return model(data)


class XGBoost(Plain):
    """XGBoost: DMatrix in. Without a program it is the built-in algorithm: it loads the booster and answers CSV."""

    name = "XGBoost"

    def __init__(self, settings, algorithm):
        Plain.__init__(self, settings)
        self.algorithm = algorithm
        if algorithm:
            self.default_accept = self.default_content_type = codecs.CSV

    def load(self, model_dir):
        if not self.algorithm:
            return Plain.load(self, model_dir)
        import xgboost

        path = _only_file(model_dir, ("",))
        with open(path, "rb") as file:
            pickled = file.read(1) == b"\x80"
        if pickled:
            import pickle

            with open(path, "rb") as file:
                booster = pickle.load(file)
        else:
            booster = xgboost.Booster()
            booster.load_model(path)
        if hasattr(booster, "get_booster"):
            booster = booster.get_booster()
        booster.set_param({"nthread": int(os.environ.get("OMP_NUM_THREADS", "1"))})
        return booster

    def decode(self, body, content_type):
        import xgboost

        name = codecs.media_type(content_type)
        if name in ("text/libsvm", "text/x-libsvm"):
            return xgboost.DMatrix(_from_libsvm(codecs.as_text(body)))
        if name in (codecs.NPY, codecs.JSON) and not self.algorithm:
            return xgboost.DMatrix(_cast(codecs.decode_array(body, content_type), "float32"))
        if name != codecs.CSV:
            known = (codecs.CSV, "text/libsvm", "text/x-libsvm") + (() if self.algorithm else (codecs.JSON, codecs.NPY))
            raise codecs.UnsupportedFormat(415, content_type, known)
        return xgboost.DMatrix(codecs.decode_array(body, content_type))

    def predict(self, data, model):
        if not self.algorithm:
            return model.predict(data, validate_features=False)
        known = model.num_features()
        if data.num_col() > known:
            raise Refused(400, "the model was trained on %d features; a row has %d" % (known, data.num_col()))
        best = model.attr("best_iteration")
        rounds = (0, int(best) + 1) if best is not None else (0, 0)
        import xgboost

        try:
            return model.predict(data, validate_features=False, iteration_range=rounds)
        except xgboost.core.XGBoostError as error:
            raise Refused(400, "the model cannot be asked with this body: %s" % error)

    def encode(self, prediction, accept):
        body, content_type = Plain.encode(self, prediction, accept)
        if self.algorithm and content_type == codecs.CSV and not self.settings.batch_transform and getattr(prediction, "ndim", 1) == 1:
            # Real-time answers of the built-in algorithm are one line, whatever the rows.
            body = body.strip().replace(b"\n", b",")
        return body, content_type


class Onnx(Plain):
    """ONNX: the model directory's .onnx file in onnxruntime; arrays in and out by name or, if there is one, without."""

    name = "ONNX"

    def load(self, model_dir):
        import onnxruntime

        path = os.path.join(model_dir, "model.onnx")
        if not os.path.exists(path):
            path = _only_file(model_dir, (".onnx",))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(path, options, providers=onnxruntime.get_available_providers())

    def decode(self, body, content_type):
        name = codecs.media_type(content_type)
        if name == codecs.JSON:
            value = codecs.decode(body, content_type)
            return value if isinstance(value, dict) else codecs.decode_array(body, content_type)
        return codecs.decode_array(body, content_type)

    def predict(self, data, model):
        inputs = model.get_inputs()
        if not isinstance(data, dict):
            if len(inputs) != 1:
                raise Refused(400, "the model has the inputs %s; give them by name" % ", ".join(i.name for i in inputs))
            data = {inputs[0].name: data}
        missing = [i.name for i in inputs if i.name not in data]
        if missing:
            raise Refused(400, "the inputs %s are missing" % ", ".join(missing))
        feed = {i.name: _cast(data[i.name], _ONNX_TYPES.get(i.type, "float32")) for i in inputs}
        outputs = model.run(None, feed)
        if len(outputs) == 1:
            return outputs[0]
        return {output.name: value for output, value in zip(model.get_outputs(), outputs)}


_ONNX_TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(int64)": "int64",
    "tensor(int32)": "int32", "tensor(int16)": "int16", "tensor(int8)": "int8", "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16", "tensor(uint32)": "uint32", "tensor(uint64)": "uint64", "tensor(bool)": "bool",
    "tensor(string)": "object",
}  # fmt: skip

NAMES = ("sklearn", "xgboost", "pytorch", "onnx")


def find(settings, has_program):
    """The framework that the settings name."""
    name = settings.framework
    if name == "xgboost":
        return XGBoost(settings, algorithm=not has_program)
    return {"sklearn": Sklearn, "pytorch": PyTorch, "onnx": Onnx, "": Plain}[name](settings)


def _cast(array, kind):
    import numpy

    try:
        return numpy.asarray(array).astype(kind, copy=False)
    except (ValueError, TypeError) as error:
        raise Refused(400, "the body is not an array of %s: %s" % (kind, error))


def _only_file(model_dir, endings):
    """The one file of a model directory that has one of the endings; the user's code is none."""
    try:
        names = sorted(os.listdir(model_dir))
    except OSError as error:
        raise NoModelFunction("cannot list the model directory: %s" % error)
    files = [n for n in names if n.endswith(endings) and not n.startswith(".") and os.path.isfile(os.path.join(model_dir, n))]
    if len(files) != 1:
        wanted = " or ".join(ending for ending in endings if ending) or "model"
        raise NoModelFunction(
            "exactly one %s file is needed in %s, which holds %s; or define model_fn(model_dir) in the program"
            % (wanted, model_dir, ", ".join(names) or "nothing")
        )
    return os.path.join(model_dir, files[0])


def _from_libsvm(text):
    """Rows of "[label] index:value …" as a sparse matrix. Indices are kept as they are written."""
    import numpy
    from scipy.sparse import csr_matrix

    columns, values, ends = [], [], [0]
    for line in text.splitlines():
        cells = line.split()
        if not cells:
            continue
        for cell in cells:
            index, colon, value = cell.partition(":")
            if not colon:
                continue  # a label
            try:
                columns.append(int(index))
                values.append(float(value))
            except ValueError:
                raise Refused(400, "the body is not libsvm: %.80r" % cell)
        ends.append(len(columns))
    if columns and min(columns) < 0:
        raise Refused(400, "the body is not libsvm: an index is negative")
    shape = (len(ends) - 1, max(columns) + 1 if columns else 1)
    return csr_matrix((numpy.array(values, dtype="float32"), columns, ends), shape=shape)
