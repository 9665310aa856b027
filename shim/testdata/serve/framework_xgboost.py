"""XGBoost, in its runtime: as the built-in algorithm and in script mode."""

import json
import os
import pickle
import tempfile

import numpy as np
import xgboost as xgb
from harness import Case, error_of


def train():
    rng = np.random.default_rng(7)
    x = rng.random((200, 3)).astype("float32")
    return xgb.train({"max_depth": 3, "nthread": 1}, xgb.DMatrix(x, label=2 * x[:, 0] + x[:, 1]), num_boost_round=20)


ROWS = np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]], dtype="float32")
CSV = "\n".join(",".join(str(v) for v in row) for row in ROWS.tolist())
LIBSVM = "0.1 0:0.1 1:0.2 2:0.3\n0:0.9 1:0.8 2:0.7\n"


class XGBoost(Case):
    def setUp(self):
        self.booster = train()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.ubj")
            self.booster.save_model(path)
            with open(path, "rb") as file:
                self.model = file.read()
        self.want = self.booster.predict(xgb.DMatrix(ROWS))

    def test_the_algorithm_loads_either_kind_of_file(self):
        for content in (self.model, pickle.dumps(self.booster)):
            s = self.serve(framework="xgboost", files={"model/xgboost-model": content})
            for content_type, body in (("text/csv", CSV), ("text/libsvm", LIBSVM), ("text/x-libsvm", LIBSVM), (None, CSV)):
                status, headers, said = s.ask(body, content_type)
                self.assertEqual((status, headers["Content-Type"]), (200, "text/csv"), said)
                np.testing.assert_allclose([float(v) for v in said.decode().split(",")], self.want, rtol=1e-5)
            np.testing.assert_allclose(json.loads(s.ask(CSV, "text/csv", "application/json")[2]), self.want, rtol=1e-5)

    def test_a_batch_transform_gets_a_line_a_row(self):
        s = self.serve(framework="xgboost", files={"model/xgboost-model": self.model}, environ={"SAGEMAKER_BATCH": "true"})
        np.testing.assert_allclose([float(v) for v in s.ask(CSV, "text/csv")[2].decode().splitlines()], self.want, rtol=1e-5)

    def test_the_algorithm_refuses_what_it_cannot_use(self):
        s = self.serve(framework="xgboost", files={"model/xgboost-model": self.model})
        self.assertEqual(s.ask("[1]", "application/json")[0], 415)
        status, _, body = s.ask("1,2,3,4", "text/csv")
        self.assertEqual((status, error_of(body)), (400, "the model was trained on 3 features; a row has 4"))
        self.assertEqual(s.ask("0:a", "text/libsvm")[0], 400)

    def test_a_folder_without_a_model_says_so(self):
        s = self.serve(framework="xgboost", wait=False)
        self.assertEqual(s.wait(), 1)
        self.assertIn("exactly one model file is needed", s.failure())

    def test_script_mode(self):
        code = """
            import os, xgboost
            def model_fn(model_dir):
                booster = xgboost.Booster()
                booster.load_model(os.path.join(model_dir, "own.ubj"))
                return booster
        """
        s = self.serve(code, framework="xgboost", files={"model/own.ubj": self.model})
        for content_type, body in (("text/csv", CSV), ("text/libsvm", LIBSVM), ("application/json", json.dumps(ROWS.tolist()))):
            np.testing.assert_allclose(json.loads(s.ask(body, content_type)[2]), self.want, rtol=1e-5)
        s = self.serve("x = 1\n", framework="xgboost", wait=False)
        self.assertEqual(s.wait(), 1)
        self.assertIn("XGBoost has no default for model_fn", s.failure())
