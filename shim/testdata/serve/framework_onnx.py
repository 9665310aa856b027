"""ONNX, in its runtime. The models are written by hand, field by field of onnx.proto, since the runtime has only what serves."""

import io
import json
import struct

import numpy as np
from harness import Case, error_of


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number, value):
    """One field of a message: a number, or text or a message by its bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


FLOAT = 1


def tensor_info(name, *dimensions):
    shape = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in dimensions)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, shape)))


def model(nodes, inputs, outputs, weights=()):
    graph = b"".join(field(1, node) for node in nodes) + field(2, "g")
    graph += b"".join(field(5, w) for w in weights)
    graph += b"".join(field(11, i) for i in inputs) + b"".join(field(12, o) for o in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def node(kind, inputs, output):
    return b"".join(field(1, i) for i in inputs) + field(2, output) + field(4, kind)


def weight(name, *values):
    data = struct.pack("<%df" % len(values), *values)
    return field(1, len(values)) + field(2, FLOAT) + field(8, name) + field(9, data)


DOUBLES = model([node("Mul", ["x", "w"], "y")], [tensor_info("x", "n", 2)], [tensor_info("y", "n", 2)], [weight("w", 2.0, 10.0)])
ADDS = model(
    [node("Add", ["a", "b"], "sum"), node("Mul", ["a", "b"], "product")],
    [tensor_info("a", "n"), tensor_info("b", "n")],
    [tensor_info("sum", "n"), tensor_info("product", "n")],
)


class Onnx(Case):
    def test_one_input_and_one_output_need_no_names(self):
        s = self.serve(framework="onnx", files={"model/any.onnx": DOUBLES})
        self.assertEqual(json.loads(s.ask("[[1, 2], [3, 4]]")[2]), [[2, 20], [6, 40]])
        self.assertEqual(json.loads(s.ask('{"x": [[1, 2]]}')[2]), [[2, 20]])
        self.assertEqual(s.ask("1,2\n3,4", "text/csv", "text/csv")[2], b"2.0,20.0\n6.0,40.0\n")
        npy = io.BytesIO()
        np.save(npy, np.array([[1.0, 2.0]]))  # 64 bits: the model's are 32
        self.assertEqual(np.load(io.BytesIO(s.ask(npy.getvalue(), "application/x-npy", "application/x-npy")[2])).tolist(), [[2, 20]])

    def test_several_go_by_name(self):
        s = self.serve(framework="onnx", files={"model/model.onnx": ADDS, "model/other.onnx": DOUBLES})
        self.assertEqual(json.loads(s.ask('{"a": [1, 2], "b": [3, 4]}')[2]), {"sum": [4, 6], "product": [3, 8]})
        npz = io.BytesIO()
        np.savez(npz, a=np.array([1.0]), b=np.array([3.0]))
        answer = np.load(io.BytesIO(s.ask(npz.getvalue(), "application/x-npz", "application/x-npz")[2]))
        self.assertEqual({name: answer[name].tolist() for name in answer.files}, {"sum": [4], "product": [3]})
        for body, reason in (('{"a": [1]}', "the inputs b are missing"), ("[1]", "the model has the inputs a, b; give them by name")):
            status, _, said = s.ask(body)
            self.assertEqual((status, error_of(said)), (400, reason))

    def test_a_file_that_is_no_model_says_so(self):
        s = self.serve(framework="onnx", files={"model/model.onnx": b"no model"}, wait=False)
        self.assertEqual(s.wait(), 1)
        self.assertIn("model_fn failed: ", s.failure())
