"""scikit-learn, in its runtime: what is answered where the program says nothing."""

import io
import json

import numpy as np
from harness import Case, error_of

CODE = """
import joblib, os
def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))
"""


class Sklearn(Case):
    def setUp(self):
        import joblib
        from sklearn.linear_model import LinearRegression

        file = io.BytesIO()
        joblib.dump(LinearRegression().fit(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([2.0, 3.0, 5.0])), file)
        self.server = self.serve(CODE, framework="sklearn", files={"model/model.joblib": file.getvalue()})

    def near(self, values, want):
        np.testing.assert_allclose(np.asarray(values, dtype=float), want, atol=1e-5)

    def test_every_format_in_and_out(self):
        rows = np.array([[1.0, 2.0], [3.0, 4.0]], dtype="float32")
        npy, npz = io.BytesIO(), io.BytesIO()
        np.save(npy, rows)
        np.savez(npz, rows)
        for content_type, body in (
            ("application/json", json.dumps(rows.tolist())),
            ("text/csv", "1,2\n3,4\n"),
            ("text/csv; charset=utf-8", "1.0, 2.0\r\n3.0, 4.0"),
            ("application/x-npy", npy.getvalue()),
        ):
            status, _, said = self.server.ask(body, content_type)
            self.assertEqual(status, 200, said)
            self.near(json.loads(said), [8, 18])
        status, headers, said = self.server.ask(npy.getvalue(), "application/x-npy", "application/x-npy")
        self.assertEqual(headers["Content-Type"], "application/x-npy")
        self.near(np.load(io.BytesIO(said)), [8, 18])
        self.near(np.load(io.BytesIO(self.server.ask(npy.getvalue(), "application/x-npy", "application/x-npz")[2]))["arr_0"], [8, 18])
        status, headers, said = self.server.ask("1,2\n3,4", "text/csv", "text/csv")
        self.assertEqual(headers["Content-Type"], "text/csv")
        self.near([float(line) for line in said.decode().split()], [8, 18])
        self.near(json.loads(self.server.ask("1,2\n3,4", "text/csv", "image/png;q=1, application/json;q=0.5")[2]), [8, 18])

    def test_a_single_row_of_csv_is_a_row(self):
        self.near(json.loads(self.server.ask("1,2", "text/csv")[2]), [8])

    def test_what_is_not_an_array(self):
        for content_type, body, status in (
            ("application/json", '[[1, 2], [3]]', 400), ("application/json", '{"a": 1}', 400), ("text/csv", "a,b", 500),
            ("application/x-npy", "no", 400), ("application/x-npz", "no", 400), ("image/png", "x", 415),
        ):  # fmt: skip
            self.assertEqual(self.server.ask(body, content_type)[0], status, (content_type, body))

    def test_pickles_are_not_read(self):
        file = io.BytesIO()
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        status, _, body = self.server.ask(file.getvalue(), "application/x-npy")
        self.assertEqual(status, 400)
        self.assertIn("allow_pickle=False", error_of(body))

    def test_without_model_fn_it_says_what_is_missing(self):
        s = self.serve("x = 1\n", framework="sklearn", wait=False)
        self.assertEqual(s.wait(), 1)
        self.assertIn("scikit-learn has no default for model_fn", s.failure())

    def test_the_public_toolkits_decoder(self):
        code = """
            from sagemaker_inference import decoder
            def model_fn(d): return 1
            def input_fn(body, content_type): return decoder.decode(body, content_type)
            def predict_fn(data, model): return list(data.shape)
        """
        s = self.serve(code, framework="sklearn")
        for content_type, body, shape in (("text/csv", "1,2,3", [3]), ("text/csv", "1,2\n3,4", [2, 2]), ("application/json", "[[1, 2, 3]]", [1, 3])):
            self.assertEqual(json.loads(s.ask(body, content_type)[2]), shape)
