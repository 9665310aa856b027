"""The multi-model contract."""

import json
import os
import signal

from harness import Case, error_of, eventually

NAMED = """
import os, sys
def model_fn(model_dir):
    with open(os.path.join(model_dir, "name")) as file:
        name = file.read()
    if name == "broken": raise ValueError("no model here")
    if name == "huge": raise MemoryError()
    if name == "killed": os.kill(os.getpid(), 9)
    if name == "gated": os.mkfifo(os.path.join(model_dir, "gate"))
    return name
def predict_fn(data, model):
    if data == "pid": return os.getpid()
    if data == "wait":
        print("waiting")
        open(os.path.join(os.path.dirname(os.path.dirname(__file__)), "gate")).read()
    return [model, data]
"""


class Models(Case):
    def many(self, **environ):
        variables = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
        variables.update(environ)
        return self.serve(environ=variables)

    def load(self, server, name, connection=None):
        server.write("models/%s/code/inference.py" % name, NAMED)
        server.write("models/%s/name" % name, name)
        body = json.dumps({"model_name": name, "url": os.path.join(server.root, "models", name)})
        return server.ask(body, path="/models", connection=connection)

    def invoke(self, server, name, data='"x"', connection=None):
        status, _, body = server.ask(data, path="/models/%s/invoke" % name, connection=connection)
        return status, json.loads(body)

    def test_models_without_code_of_their_own_share_what_was_submitted(self):
        shared = {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket/code.tar.gz", "SAGEMAKER_PROGRAM": "inference.py"}
        s = self.many(**shared)
        s.write("code/inference.py", NAMED.replace("[model, data]", "['shared', model, data]"))
        self.assertEqual(self.load(s, "own")[0], 200)
        s.write("models/bare/name", "bare")
        body = json.dumps({"model_name": "bare", "url": os.path.join(s.root, "models", "bare")})
        self.assertEqual(s.ask(body, path="/models")[0], 200)
        self.assertEqual(self.invoke(s, "own"), (200, ["own", "x"]))
        self.assertEqual(self.invoke(s, "bare"), (200, ["shared", "bare", "x"]))

    def test_load_list_ask_and_unload(self):
        s = self.many()
        self.assertEqual(s.ping(), 200)
        c = s.connect()
        self.assertEqual(json.loads(s.ask(path="/models", method="GET", connection=c)[2]), {"models": []})
        for name in ("a", "b"):
            self.assertEqual(self.load(s, name, c)[0], 200)
        for name in ("a", "b", "a"):  # on one connection
            self.assertEqual(self.invoke(s, name, connection=c), (200, [name, "x"]))
        said = json.loads(s.ask(path="/models", method="GET", connection=c)[2])
        self.assertEqual(said, {"models": [{"modelName": n, "modelUrl": os.path.join(s.root, "models", n)} for n in "ab"]})
        one = json.loads(s.ask(path="/models/a", method="GET", connection=c)[2])
        self.assertEqual((one["modelName"], one["memoryBytes"] > 0), ("a", True))
        pid = self.invoke(s, "a", '"pid"', c)[1]
        self.assertEqual(s.ask(path="/models/a", method="DELETE", connection=c)[0], 200)
        self.assertNotIn(pid, s.workers())
        self.assertEqual(s.ask(path="/models/a", method="GET", connection=c)[0], 404)
        self.assertEqual(self.invoke(s, "a")[0], 404)
        self.assertEqual(self.load(s, "a", c)[0], 200)
        s.terminate()
        self.assertEqual(s.wait(), 0)
        c.close()

    def test_what_is_refused(self):
        s = self.many()
        self.assertEqual(self.load(s, "a")[0], 200)
        self.assertEqual(self.load(s, "a")[0], 409)
        for path, method, status in (
            ("/models/none", "GET", 404), ("/models/none", "DELETE", 404), ("/models/none/invoke", "POST", 404), ("/models", "PUT", 405),
            ("/invocations", "POST", 404), ("/models", "POST", 400),
        ):  # fmt: skip
            self.assertEqual(s.ask(path=path, method=method)[0], status, (path, method))
        for body, status in (('{"model_name": "b"}', 400), ("[]", 400), ('{"model_name": "b", "url": "/no/such/folder"}', 404)):
            self.assertEqual(s.ask(body, path="/models")[0], status, body)

    def test_models_that_do_not_load_and_those_without_memory(self):
        s = self.many()
        status, _, body = self.load(s, "broken")
        self.assertEqual(status, 500)
        self.assertIn("model_fn failed: ValueError: no model here", error_of(body))
        self.assertEqual(self.load(s, "huge")[0], 507)
        self.assertEqual(self.load(s, "killed")[0], 507)
        self.assertEqual(self.load(s, "broken")[0], 500)  # not 409: it is not there
        self.assertEqual(self.load(s, "good")[0], 200)

    def test_a_model_that_dies_is_its_own_matter(self):
        s = self.many()
        for name in "ab":
            self.load(s, name)
        one, other = self.invoke(s, "a", '"pid"')[1], self.invoke(s, "b", '"pid"')[1]
        os.kill(one, signal.SIGKILL)
        self.assertNotEqual(self.invoke(s, "a", '"pid"')[1], one)
        self.assertEqual(self.invoke(s, "b", '"pid"')[1], other)

    def test_what_waits_for_a_model_is_bounded_and_holds_no_other_model_up(self):
        s = self.many(STINT_MAX_WAITING="1")
        for name in ("gated", "other"):
            self.load(s, name)
        gate = os.path.join(s.root, "models", "gated", "gate")
        running, waiting = s.connect(), s.connect()
        running.request("POST", "/models/gated/invoke", b'"wait"')
        s.await_log("waiting")
        waiting.request("POST", "/models/gated/invoke", b'"x"')
        status = eventually("the second waits", lambda: self.invoke(s, "gated")[0])
        self.assertEqual(status, 503)
        self.assertEqual(self.invoke(s, "other"), (200, ["other", "x"]))
        with open(gate, "w"):
            pass
        for c in (running, waiting):
            self.assertEqual(c.getresponse().status, 200)
            c.close()

    def test_unloading_lets_a_request_finish(self):
        s = self.many()
        self.load(s, "gated")
        running, deleting = s.connect(), s.connect()
        running.request("POST", "/models/gated/invoke", b'"wait"')
        s.await_log("waiting")
        deleting.request("DELETE", "/models/gated")
        eventually("it is not listed", lambda: s.ask(path="/models/gated", method="GET")[0] == 404)
        with open(os.path.join(s.root, "models", "gated", "gate"), "w"):
            pass
        self.assertEqual(json.loads(running.getresponse().read()), ["gated", "wait"])
        self.assertEqual(deleting.getresponse().status, 200)
        self.assertEqual(s.workers(), [])
        running.close()
        deleting.close()

    def test_a_long_list_comes_in_pages(self):
        s = self.many()
        for name in "abc":
            self.load(s, name)
        first = json.loads(s.ask(path="/models?limit=2", method="GET")[2])
        rest = json.loads(s.ask(path="/models?limit=2&next_page_token=" + first["nextPageToken"], method="GET")[2])
        self.assertEqual([m["modelName"] for m in first["models"] + rest["models"]], ["a", "b", "c"])
        self.assertNotIn("nextPageToken", rest)
