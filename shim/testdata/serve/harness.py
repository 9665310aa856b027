"""Starts model servers for the tests, in folders of their own, and talks to them over real sockets."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

PROGRAM = os.environ["STINT_SERVE_PROGRAM"]
DEADLINE = 60.0


class Server:
    """One model server; its log is kept line by line as it comes."""

    def __init__(self, case, code="", environ=None, files=None, framework="", python=sys.executable, wait=True):
        self._folder = tempfile.TemporaryDirectory()
        case.addCleanup(self._folder.cleanup)
        self.root = self._folder.name
        self.model = os.path.join(self.root, "model")
        os.makedirs(os.path.join(self.model, "code"))
        if code:
            self.write("model/code/inference.py", code)
        for name, content in (files or {}).items():
            self.write(name, content)
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("SAGEMAKER_", "STINT_BATCH"))}
        variables.update({"SAGEMAKER_BIND_TO_PORT": "0", "SAGEMAKER_MODEL_SERVER_WORKERS": "1", "STINT_NUM_CPUS": "2"})
        variables.update(environ or {})
        arguments = [python, PROGRAM, "--root", self.root] + (["--framework", framework] if framework else [])
        self.process = subprocess.Popen(arguments, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.root)
        case.addCleanup(self._end)
        self.log = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = 0
        if wait:
            self.port = int(self.await_log("serving on http://").split("http://127.0.0.1:")[1].split()[0].rstrip(","))

    def write(self, name, content):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else textwrap.dedent(content).encode())

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.log.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.log.append(None)
            self._changed.notify_all()

    def await_log(self, part, count=1):
        """The line of the log that holds part, or the count-th of them, when it has come."""
        until = time.monotonic() + DEADLINE
        with self._changed:
            while True:
                found = [line for line in self.log if line is not None and part in line]
                if len(found) >= count:
                    return found[count - 1]
                if self.log and self.log[-1] is None or time.monotonic() > until:
                    raise AssertionError("the log has no %r (%d): %r" % (part, count, self.log))
                self._changed.wait(1)

    def text(self):
        """The log until now."""
        with self._changed:
            return "\n".join(line for line in self.log if line is not None)

    def wait(self):
        """The exit code, when the server has ended and its log is whole."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def failure(self):
        """What output/failure says; "" when there is none."""
        try:
            with open(os.path.join(self.root, "output", "failure")) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def _end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(DEADLINE)
        self.process.stdout.close()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def raw(self):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        return sock

    def ask(self, body=b"", content_type="application/json", accept=None, path="/invocations", method="POST", connection=None, headers=None):
        """(status, headers, body) of one request."""
        own = connection is None
        connection = connection or self.connect()
        said = dict(headers or {})
        if content_type:
            said["Content-Type"] = content_type
        if accept:
            said["Accept"] = accept
        connection.request(method, path, body, said)
        answer = connection.getresponse()
        result = answer.status, answer.headers, answer.read()
        if own:
            connection.close()
        return result

    def ping(self):
        return self.ask(path="/ping", method="GET", content_type=None)[0]

    def workers(self):
        """The process ids of the master's children."""
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as file:
            return [int(pid) for pid in file.read().split()]


def eventually(what, check):
    """Ask again and again until check is true; for what gives no signal."""
    until = time.monotonic() + DEADLINE
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError("never: " + what)
        time.sleep(0.01)


def error_of(body):
    return json.loads(body)["error"]


class Case(unittest.TestCase):
    """A test with model servers."""

    maxDiff = None

    def serve(self, *arguments, **options):
        return Server(self, *arguments, **options)
