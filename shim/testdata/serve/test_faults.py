"""What happens when the user's code dies, hangs or never starts, and when the server is asked to end."""

import io
import os
import signal
import time
import zipfile

from harness import Case, error_of, eventually

# Does what the request says; waits for a reader of the gate where it says "wait".
OBEYS = """
import os, sys
def model_fn(model_dir):
    gate = os.path.join(model_dir, "gate")
    if not os.path.exists(gate):
        os.mkfifo(gate)
    return gate
def predict_fn(data, gate):
    print("doing", data)
    if data == "die": os.kill(os.getpid(), 9)
    if data == "exit": sys.exit(7)
    if data == "wait": open(gate).read()
    return os.getpid()
"""


def post(connection, what):
    connection.request("POST", "/invocations", '"%s"' % what, {"Content-Type": "application/json"})


class Crashes(Case):
    def test_only_the_request_that_the_handler_had_is_lost(self):
        s = self.serve(OBEYS)
        kept, busy, behind = s.connect(), s.connect(), s.connect()
        first = int(s.ask(b'"a"', connection=kept)[2])
        s.ask(b'"b"', connection=behind)
        post(busy, "wait")
        s.await_log("doing wait")
        post(behind, "c")  # waits in the worker's socket, unread
        os.kill(first, signal.SIGKILL)
        answer = busy.getresponse()
        self.assertEqual(answer.status, 500)
        self.assertEqual(error_of(answer.read()), "the worker died while it worked on this request: killed by SIGKILL, as for want of memory")
        second = int(behind.getresponse().read())
        self.assertNotEqual(first, second)
        self.assertEqual(int(s.ask(b'"d"', connection=kept)[2]), second)
        s.await_log("worker %d died: killed by SIGKILL" % first)
        for c in (kept, busy, behind):
            c.close()

    def test_a_handler_that_kills_its_process_is_told_from_one_that_leaves(self):
        s = self.serve(OBEYS)
        self.assertIn("killed by SIGKILL", error_of(s.ask(b'"die"')[2]))
        self.assertIn("exit code 7", error_of(s.ask(b'"exit"')[2]))
        s.await_log("SystemExit: 7")
        self.assertEqual(s.ask(b'"a"')[0], 200)

    def test_idle_workers_that_die_are_replaced_ever_more_slowly(self):
        s = self.serve(OBEYS, environ={"SAGEMAKER_MODEL_SERVER_WORKERS": "2"})
        for turn in range(3):
            os.kill(int(s.ask(b'"a"')[2]), signal.SIGKILL)
            s.await_log("another follows", turn + 1)
        self.assertEqual(s.ask(b'"a"')[0], 200)
        self.assertTrue(s.await_log("another follows", 3).endswith("in 0.50 s"))
        eventually("two workers again", lambda: len(s.workers()) == 2)

    def test_half_a_request_dies_with_its_reader_and_may_be_sent_again(self):
        s = self.serve(OBEYS)
        with s.raw() as half:
            half.sendall(b"POST /invocations HTTP/1.1\r\nContent-Length: 10\r\n\r\n1")
            worker = int(s.ask(b'"a"')[2])
            os.kill(worker, signal.SIGKILL)
            said = half.makefile("rb").read()
        self.assertTrue(said.startswith(b"HTTP/1.1 503 "), said)
        self.assertIn(b"Retry-After: 1\r\nX-Stint-Unprocessed: 1\r\n", said)

    def test_a_new_worker_gets_its_part_of_the_connections(self):
        s = self.serve(OBEYS, environ={"SAGEMAKER_MODEL_SERVER_WORKERS": "2"})
        connections = [s.connect() for _ in range(4)]

        def shared():
            now = [int(s.ask(b'"a"', connection=c)[2]) for c in connections]
            return len(set(now)) == 2 and max(now.count(pid) for pid in now) == 2

        eventually("both workers have two", shared)
        self.assertEqual(s.ask(b'"die"')[0], 500)
        s.await_log("another follows")
        eventually("both have two again", shared)
        for c in connections:
            c.close()

    def test_the_death_of_the_master_ends_the_workers(self):
        s = self.serve(OBEYS, environ={"SAGEMAKER_MODEL_SERVER_WORKERS": "2"})
        s.ask(b'"a"')
        workers = s.workers()
        s.process.kill()
        s.process.wait()
        for pid in workers:
            eventually("worker %d ends" % pid, lambda pid=pid: not running(pid))


def running(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Hangs(Case):
    def test_a_worker_that_hangs_is_ended_and_the_request_answered(self):
        s = self.serve(OBEYS, environ={"SAGEMAKER_MODEL_SERVER_TIMEOUT": "1"})
        behind = s.connect()
        first = int(s.ask(b'"a"', connection=behind)[2])
        busy = s.connect()
        post(busy, "wait")
        s.await_log("doing wait")
        post(behind, "b")
        answer = busy.getresponse()
        self.assertEqual((answer.status, error_of(answer.read())), (504, "the model did not answer within 1 seconds"))
        self.assertNotEqual(int(behind.getresponse().read()), first)
        s.await_log("worker %d has not answered for 1 s and is ended" % first)
        busy.close()
        behind.close()


class Loading(Case):
    def fails(self, code="", reason="", log=(), **options):
        s = self.serve(code, wait=False, **options)
        self.assertEqual(s.wait(), 1)
        self.assertIn(reason, s.failure())
        for part in log:
            self.assertIn(part, s.text())
        return s

    def test_a_model_that_does_not_load(self):
        s = self.fails(
            "import json\ndef model_fn(model_dir):\n    return json.loads('{')\n",
            "model_fn failed: json.decoder.JSONDecodeError: Expecting property name",
            ["Traceback (most recent call last):", "stint: model_fn failed: "],
        )
        self.assertIn('inference.py", line 3, in model_fn', s.failure())

    def test_a_program_that_does_not_import(self):
        self.fails("import no_such_module\n", "inference.py cannot be imported: ModuleNotFoundError: No module named 'no_such_module'")
        self.fails("def model_fn(:\n", "inference.py cannot be imported: SyntaxError")
        self.fails("import sys\nsys.exit(4)\n", "inference.py cannot be imported: SystemExit: 4")

    def test_a_program_that_is_not_there_or_says_too_little(self):
        missing = {"SAGEMAKER_PROGRAM": "other.py"}
        self.fails("x = 1\n", "other.py does not exist; ", environ=missing)
        self.fails("x = 1\n", "Python has no default for model_fn; define model_fn(model_dir)")
        self.fails("", "Python has no default for model_fn")

    def test_functions_that_do_not_fit(self):
        self.fails("def model_fn(a, b, c): pass\n", "model_fn has to take 1 arguments, or 2 with the context; it takes 3")
        both = "def model_fn(d): pass\ndef transform_fn(m, b, c, a): pass\ndef predict_fn(d, m): pass\n"
        self.fails(both, "transform_fn cannot be used together with")

    def test_a_worker_that_dies_while_it_loads(self):
        self.fails("import os\nos.kill(os.getpid(), 11)\n", "the worker died while it loaded the model: killed by SIGSEGV")

    def test_a_model_that_cannot_be_loaded_before_the_workers(self):
        self.fails("def model_fn(d): raise OSError('no disk')\n", "model_fn failed: OSError: no disk", environ={"STINT_PRELOAD_MODEL": "1"})

    def test_settings_that_are_wrong(self):
        for name, value, reason in (
            ("SAGEMAKER_BIND_TO_PORT", "http", "SAGEMAKER_BIND_TO_PORT is 'http'; it has to be a whole number from 0 to 65535"),
            ("SAGEMAKER_MODEL_SERVER_WORKERS", "0", "it has to be a whole number from 1 to"),
            ("SAGEMAKER_MULTI_MODEL", "maybe", "SAGEMAKER_MULTI_MODEL is 'maybe'; it has to be true or false"),
        ):
            self.fails("def model_fn(d): pass\n", reason, environ={name: value})

    def test_words_that_are_not_understood(self):
        s = self.serve("def model_fn(d): pass\n", framework="tensorflow", wait=False)
        self.assertEqual(s.wait(), 2)

    def test_a_model_that_does_not_load_again_is_given_up(self):
        s = self.serve(
            """
            import os
            def model_fn(model_dir):
                once = os.path.join(model_dir, "once")
                if os.path.exists(once): raise RuntimeError("it is gone")
                open(once, "w").close()
                return 1
            def predict_fn(data, model): os._exit(9)
            """
        )
        self.assertEqual(error_of(s.ask(b"1")[2]), "the worker died while it worked on this request: exit code 9")
        self.assertEqual(s.wait(), 1)
        self.assertIn("model_fn failed: RuntimeError: it is gone", s.failure())
        s.await_log("another follows", 4)

    def test_what_the_program_requires_is_installed(self):
        wheel = io.BytesIO()
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("stint_served.py", "WORD = 'required'\n")
            archive.writestr("stint_served-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: stint-served\nVersion: 1\n")
            archive.writestr("stint_served-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr("stint_served-1.dist-info/RECORD", "stint_served.py,,\n")
        s = self.serve(
            "import stint_served\ndef model_fn(d): return stint_served.WORD\ndef predict_fn(data, model): return model\n",
            environ={"PIP_NO_INDEX": "1"},
            files={
                "model/code/requirements.txt": "./stint_served-1-py3-none-any.whl\n",
                "model/code/stint_served-1-py3-none-any.whl": wheel.getvalue(),
            },
        )
        self.assertEqual(s.ask(b"1")[2], b'"required"')

    def test_what_cannot_be_installed_is_said(self):
        self.fails(
            "def model_fn(d): pass\n",
            "InstallRequirementsError",
            environ={"PIP_NO_INDEX": "1"},
            files={"model/code/requirements.txt": "no-such-package-of-stint\n"},
        )


class Ending(Case):
    def test_what_runs_is_finished_and_what_is_sent_is_served(self):
        s = self.serve(OBEYS)
        idle, busy, behind = s.connect(), s.connect(), s.connect()
        s.ask(path="/ping", method="GET", connection=idle)
        s.ask(b'"a"', connection=behind)
        post(busy, "wait")
        s.await_log("doing wait")
        post(behind, "b")
        s.terminate()
        self.assertEqual(idle.sock.recv(1), b"")  # the end of what is idle says that the end has begun
        with self.assertRaises(ConnectionRefusedError):
            s.raw()
        with open(os.path.join(s.model, "gate"), "w"):
            pass
        for c in (busy, behind):
            answer = c.getresponse()
            self.assertEqual((answer.status, answer.headers["Connection"]), (200, "close"))
            answer.read()
            c.close()
        self.assertEqual(s.wait(), 0)
        self.assertEqual(s.failure(), "")
        idle.close()

    def test_what_does_not_finish_is_ended(self):
        s = self.serve(OBEYS, environ={"STINT_DRAIN_SECONDS": "1"})
        c = s.connect()
        post(c, "wait")
        s.await_log("doing wait")
        began = time.monotonic()
        s.terminate()
        self.assertEqual(s.wait(), 0)
        self.assertLess(time.monotonic() - began, 20)
        self.assertIn("1 workers have not finished in 1 s and are ended", s.text())
        c.close()

    def test_a_server_that_still_loads_ends_at_once(self):
        s = self.serve("import os, time\ndef model_fn(d):\n    print('loading')\n    time.sleep(3600)\n", wait=False)
        s.await_log("loading")
        s.terminate()
        self.assertEqual(s.wait(), 0)

    def test_a_signal_to_all_processes_ends_in_order_too(self):
        s = self.serve(OBEYS)
        c = s.connect()
        post(c, "wait")
        s.await_log("doing wait")
        for pid in s.workers():
            os.kill(pid, signal.SIGTERM)
        s.terminate()
        with open(os.path.join(s.model, "gate"), "w"):
            pass
        self.assertEqual(c.getresponse().status, 200)
        self.assertEqual(s.wait(), 0)
        c.close()

    def test_the_programs_that_a_handler_starts_can_be_ended(self):
        s = self.serve(
            """
            import subprocess, sys
            def model_fn(d): return 1
            def predict_fn(data, model):
                child = subprocess.Popen([sys.executable, "-c", "print(1, flush=True)\\nimport time\\ntime.sleep(3600)"], stdout=subprocess.PIPE)
                child.stdout.readline()
                child.terminate()
                return child.wait()
            """
        )
        self.assertEqual(s.ask(b"1")[2], b"-15")


