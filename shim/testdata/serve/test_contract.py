"""The container contract, asked over real sockets."""

import json
import os
import socket

from harness import Case, error_of

ECHO = """
def model_fn(model_dir):
    return model_dir

def predict_fn(data, model):
    return data
"""

WAITS = """
import os
def model_fn(model_dir):
    os.mkfifo(os.path.join(model_dir, "gate"))
    print("loading")
    open(os.path.join(model_dir, "gate")).read()
    return lambda data: data
"""


class Health(Case):
    def test_ping_says_when_the_model_is_loaded_and_requests_wait_for_it(self):
        port = free_port()
        s = self.serve(WAITS, environ={"SAGEMAKER_BIND_TO_PORT": str(port)}, wait=False)
        s.port = port
        s.await_log("loading")
        self.assertEqual(s.ping(), 503)
        early = s.connect()
        early.request("POST", "/invocations", b"[1]", {"Content-Type": "application/json"})
        open(os.path.join(s.model, "gate"), "w").close()
        self.assertEqual(early.getresponse().read(), b"[1]")
        early.close()
        self.assertEqual(s.ping(), 200)

    def test_ping_is_answered_while_every_worker_works_and_tells_how_many_requests_run_at_once(self):
        s = self.serve(
            """
            import os
            def model_fn(model_dir):
                os.mkfifo(os.path.join(model_dir, "gate"))
                return model_dir
            def predict_fn(data, model):
                print("working")
                open(os.path.join(model, "gate")).read()
                return data
            """
        )
        busy = s.connect()
        busy.request("POST", "/invocations", b"1", {"Content-Type": "application/json"})
        s.await_log("working")
        status, headers, _ = s.ask(path="/ping", method="GET")
        self.assertEqual((status, headers["X-Stint-Concurrency"]), (200, "1"))
        open(os.path.join(s.model, "gate"), "w").close()
        self.assertEqual(busy.getresponse().read(), b"1")
        busy.close()

    def test_pings_and_invocations_share_a_connection(self):
        s = self.serve(ECHO)
        c = s.connect()
        for _ in range(3):
            self.assertEqual(s.ask(path="/ping", method="GET", connection=c)[0], 200)
            self.assertEqual(s.ask(b"2", connection=c)[2], b"2")
        c.close()

    def test_a_second_server_on_the_port_fails_before_it_loads_anything(self):
        first = self.serve(ECHO)
        second = self.serve(ECHO, environ={"SAGEMAKER_BIND_TO_PORT": str(first.port)}, wait=False)
        self.assertEqual(second.wait(), 1)
        self.assertIn("cannot listen on 127.0.0.1 port %d: Address already in use" % first.port, second.failure())


def free_port():
    """A port that was free just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Log(Case):
    def test_a_line_is_written_as_a_whole_also_by_an_unbuffered_interpreter(self):
        s = self.serve(
            """
            import os
            def model_fn(model_dir):
                print("half", end=" ")
                os.write(1, b"another worker's\\n")
                print("and half")
            """,
            environ={"PYTHONUNBUFFERED": "1"},
        )
        self.assertIn("half and half", s.log)
        self.assertIn("another worker's", s.log)


class Functions(Case):
    def test_the_chain_of_functions(self):
        s = self.serve(
            """
            def model_fn(model_dir):
                return 10
            def input_fn(body, content_type):
                return (type(body).__name__, int(body), content_type)
            def predict_fn(data, model):
                return [data[0], data[1] * model, data[2]]
            def output_fn(prediction, accept):
                return repr((prediction, accept))
            """
        )
        self.assertEqual(s.ask(b"4", "text/csv", "x/y")[2], b"(['str', 40, 'text/csv'], 'x/y')")
        self.assertEqual(s.ask(b"4", "application/x-own")[2], b"(['bytes', 40, 'application/x-own'], 'application/json')")
        self.assertEqual(s.ask(b"4", None, "*/*")[2], b"(['str', 40, 'application/json'], 'application/json')")

    def test_transform_fn_and_a_content_type_of_its_own(self):
        s = self.serve(
            """
            def model_fn(model_dir): return 1
            def transform_fn(model, body, content_type, accept): return (body[::-1], "application/x-reversed")
            """
        )
        status, headers, body = s.ask(b"abc", "application/octet-stream")
        self.assertEqual((status, headers["Content-Type"], body), (200, "application/x-reversed", b"cba"))

    def test_the_context_tells_of_the_request_and_shapes_the_answer(self):
        s = self.serve(
            """
            def model_fn(model_dir, context): return context.system_properties["model_dir"]
            def transform_fn(model, body, content_type, accept, context):
                context.set_response_status(code=202)
                context.set_response_header("X-Own", context.get_request_header("X-Amzn-SageMaker-Custom-Attributes"))
                context.set_response_header("Content-Length", "3")
                context.set_response_content_type(0, "text/plain")
                return model
            """
        )
        status, headers, body = s.ask(b"", headers={"X-Amzn-SageMaker-Custom-Attributes": "a=1"})
        self.assertEqual((status, headers["X-Own"], headers["Content-Type"]), (202, "a=1", "text/plain"))
        self.assertEqual(body.decode(), s.model)

    def test_a_header_of_the_answer_cannot_begin_another(self):
        s = self.serve(
            """
            def model_fn(model_dir): return 1
            def transform_fn(model, body, content_type, accept, context):
                context.set_response_header("X-Own", body + "\\r\\nX-Stolen: 1")
                return ""
            """
        )
        headers = s.ask(b"a")[1]
        self.assertEqual((headers["X-Own"], headers["X-Stolen"]), ("a  X-Stolen: 1", None))

    def test_the_program_is_found_where_the_sdk_puts_it_and_sees_its_neighbours_only(self):
        s = self.serve(
            environ={"SAGEMAKER_PROGRAM": "app/serve_it.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"},
            files={
                "model/code/app/serve_it.py": """
                    import importlib.util, launch, helper
                    assert importlib.util.find_spec("jobenv") is None
                    def model_fn(model_dir): return launch.NAME + helper.NAME
                    def transform_fn(model, body, content_type, accept): return model + __name__
                """,
                "model/code/launch.py": "NAME = 'mine'",  # the server's own folder has a module of this name
                "model/code/app/helper.py": "NAME = 'too'",
            },
        )
        self.assertEqual(s.ask()[2], b"minetooserve_it")

    def test_a_program_in_an_archive_elsewhere_has_been_unpacked_beside_the_model(self):
        s = self.serve(
            environ={"SAGEMAKER_PROGRAM": "train.py", "SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket/job/source/sourcedir.tar.gz"},
            files={"code/train.py": "import os\ndef model_fn(d): return d == os.environ['SM_MODEL_DIR']\ndef predict_fn(data, model): return model\n"},
        )
        self.assertEqual(s.ask(b"1")[2], b"true")

    def test_the_public_toolkit_can_be_imported(self):
        s = self.serve(
            """
            from sagemaker_inference import content_types, decoder, encoder, errors
            import sagemaker_inference.decoder
            def model_fn(d): return 1
            def input_fn(body, content_type):
                if content_type == content_types.NPY: return decoder.decode(body, "image/png")
                if content_type != content_types.JSON: raise errors.UnsupportedFormatError(content_type)
                return body
            def predict_fn(data, model): return [data]
            def output_fn(prediction, accept): return encoder.encode(prediction, accept), accept
            """
        )
        self.assertEqual(s.ask(b"1", "application/json", "text/csv")[2], b"1\n")
        for content_type, named in (("text/csv", "text/csv"), ("application/x-npy", "image/png")):
            status, _, body = s.ask(b"1", content_type)
            self.assertEqual((status, error_of(body)), (415, "Content type %s is not supported by this framework." % named))

    def test_what_batch_transform_asks_first(self):
        s = self.serve(ECHO, environ={"SAGEMAKER_MODEL_SERVER_WORKERS": "2", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6"})
        said = json.loads(s.ask(path="/execution-parameters", method="GET")[2])
        self.assertEqual(said, {"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6})
        s = self.serve(ECHO + "\ndef execution_parameters_fn(): return {'MaxPayloadInMB': 1}\n")
        self.assertEqual(json.loads(s.ask(path="/execution-parameters", method="GET")[2]), {"MaxPayloadInMB": 1})

    def test_several_threads_share_one_model(self):
        s = self.serve(
            """
            import threading
            def model_fn(model_dir): return threading.Barrier(3, timeout=30)
            def predict_fn(data, model): return model.wait() >= 0
            """,
            environ={"STINT_WORKER_THREADS": "3"},
        )
        connections = [s.connect() for _ in range(3)]
        for c in connections:
            c.request("POST", "/invocations", b"1", {"Content-Type": "application/json"})
        for c in connections:
            self.assertEqual(c.getresponse().read(), b"true")
            c.close()

    def test_a_model_loaded_once_is_shared_by_the_workers(self):
        s = self.serve(
            "import os\ndef model_fn(model_dir): return os.getpid()\ndef predict_fn(data, model): return [model, os.getpid()]\n",
            environ={"STINT_PRELOAD_MODEL": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": "2"},
        )
        loader, worker = json.loads(s.ask(b"1")[2])
        self.assertEqual(loader, s.process.pid)
        self.assertIn(worker, s.workers())

    def test_threads_of_libraries_are_bounded_together(self):
        code = "import os\ndef model_fn(d): return 1\ndef predict_fn(data, model): return os.environ['OMP_NUM_THREADS']\n"
        for declared, want in (({}, b'"4"'), ({"OMP_NUM_THREADS": "3"}, b'"3"')):
            environ = {"STINT_NUM_CPUS": "8", "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
            environ.update(declared)
            self.assertEqual(self.serve(code, environ=environ).ask(b"1")[2], want)


class Errors(Case):
    def test_formats_that_are_not_known(self):
        s = self.serve(ECHO)
        status, _, body = s.ask(b"x", "image/png")
        self.assertEqual(status, 415)
        self.assertIn("'image/png' is not supported; supported are application/json", error_of(body))
        status, _, body = s.ask(b"1", accept="image/png")
        self.assertEqual(status, 406)
        self.assertIn("'image/png' is not supported", error_of(body))
        status, _, body = s.ask(b"{", "application/json")
        self.assertEqual(status, 400)
        self.assertIn("the body is not JSON", error_of(body))
        self.assertEqual(s.ask(b"\xff", "application/json")[0], 400)
        self.assertNotIn("Traceback", s.text())

    def test_a_handler_names_its_own_status(self):
        s = self.serve(
            """
            class UnsupportedFormatError(Exception): pass
            class Teapot(Exception): status_code = 422
            def model_fn(d): return 1
            def input_fn(body, content_type):
                if content_type != "application/json": raise UnsupportedFormatError(content_type + " is not for me")
                raise Teapot("no coffee")
            """
        )
        status, _, body = s.ask(b"1", "a/b")
        self.assertEqual((status, error_of(body)), (415, "a/b is not for me"))
        status, _, body = s.ask(b"1")
        self.assertEqual((status, error_of(body)), (422, "no coffee"))

    def test_an_exception_is_a_500_whose_traceback_is_in_the_log_only(self):
        s = self.serve(
            """
            SECRET = "hush"
            def model_fn(d): return 1
            def predict_fn(data, model):
                if data: raise ValueError("the data is bad")
                return 0
            """
        )
        c = s.connect()
        status, headers, body = s.ask(b"1", connection=c)
        self.assertEqual((status, body, headers["Content-Type"]), (500, b'{"error": "the data is bad"}', "application/json"))
        s.await_log('raise ValueError("the data is bad")')
        s.await_log("ValueError: the data is bad")
        self.assertEqual(s.ask(b"0", connection=c)[2], b"0")  # on the same connection
        c.close()

    def test_what_cannot_be_sent_is_said(self):
        s = self.serve("def model_fn(d): return 1\ndef predict_fn(data, model): return data\ndef output_fn(p, accept): return 7\n")
        status, _, body = s.ask(b"1")
        self.assertEqual(status, 500)
        self.assertIn("output_fn returned a int", error_of(body))

    def test_paths_and_methods(self):
        s = self.serve(ECHO)
        self.assertEqual(s.ask(path="/nowhere")[0], 404)
        status, headers, _ = s.ask(path="/invocations", method="GET")
        self.assertEqual((status, headers["Allow"]), (405, "POST"))

    def test_a_body_over_the_limit_is_refused_while_the_client_still_sends(self):
        s = self.serve(ECHO, environ={"SAGEMAKER_MAX_PAYLOAD_IN_MB": "1"})
        status, _, body = s.ask(b"1" * (8 << 20))
        self.assertEqual(status, 413)
        self.assertIn("larger than the 1048576 bytes", error_of(body))
        status, _, _ = s.ask(iter([b"1" * 65536] * 64))  # in chunks
        self.assertEqual(status, 413)
        self.assertEqual(s.ask(b"1" * 1000)[0], 200)


class Protocol(Case):
    def talk(self, server, data):
        """What the server says to data until it hangs up."""
        with server.raw() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            said = b""
            while True:
                part = sock.recv(65536)
                if not part:
                    return said
                said += part

    def test_requests_in_pieces_in_chunks_and_in_a_row(self):
        s = self.serve(ECHO)
        with s.raw() as sock:
            answers = sock.makefile("rb")
            for byte in b"POST /invocations HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n[1]":
                sock.sendall(bytes([byte]))
            self.assertEqual(read_answer(answers), (200, b"[1]"))
            chunked = b"POST /invocations HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n3;x=y\r\n,2]\r\n0\r\nTrailer: 1\r\n\r\n"
            sock.sendall(chunked)
            self.assertEqual(read_answer(answers), (200, b"[1, 2]"))
            one = b"POST /invocations HTTP/1.1\r\nContent-Length: 1\r\n\r\n%d"
            sock.sendall(one % 1 + one % 2 + one % 3)
            self.assertEqual([read_answer(answers)[1] for _ in range(3)], [b"1", b"2", b"3"])

    def test_a_client_that_waits_to_be_told_to_go_on(self):
        s = self.serve(ECHO)
        with s.raw() as sock:
            answers = sock.makefile("rb")
            sock.sendall(b"POST /invocations HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
            self.assertEqual(answers.readline() + answers.readline(), b"HTTP/1.1 100 Continue\r\n\r\n")
            sock.sendall(b"5")
            self.assertEqual(read_answer(answers), (200, b"5"))

    def test_the_older_protocol(self):
        s = self.serve(ECHO)
        said = self.talk(s, b"POST /invocations HTTP/1.0\r\nContent-Length: 1\r\n\r\n5")
        self.assertIn(b"Connection: close\r\n\r\n5", said)

    def test_what_is_not_clear_is_refused(self):
        s = self.serve(ECHO)
        for head, status in (
            (b"nonsense\r\n\r\n", b"400"),
            (b"POST /invocations HTTP/2.0\r\n\r\n", b"505"),
            (b"POST /invocations HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
            (b"POST /invocations HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
            (b"POST /invocations HTTP/1.1\r\nContent-Length: +1\r\n\r\n", b"400"),
            (b"POST /invocations HTTP/1.1\r\nContent-Length : 1\r\n\r\n", b"400"),
            (b"POST /invocations HTTP/1.1\r\nA: b\r\n c\r\n\r\n", b"400"),
            (b"POST /invocations HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", b"501"),
            (b"POST /invocations HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"400"),
            (b"POST /invocations HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", b"400"),
            (b"POST /invocations HTTP/1.1\r\nA: " + b"b" * 70000 + b"\r\n\r\n", b"431"),
        ):
            self.assertTrue(self.talk(s, head).startswith(b"HTTP/1.1 " + status), head[:60])
        self.assertEqual(s.ask(b"1")[2], b"1")

    def test_half_a_request_holds_nobody_up(self):
        s = self.serve(ECHO)
        with s.raw() as half:
            half.sendall(b"POST /invocations HTTP/1.1\r\nContent-Length: 10\r\n\r\n1")
            self.assertEqual(s.ask(b"2")[2], b"2")

    def test_a_slow_reader_of_a_large_answer_holds_nobody_up(self):
        s = self.serve("def model_fn(d): return 1\ndef transform_fn(model, body, content_type, accept): return b'x' * int(body)\n")
        with s.raw() as slow:
            slow.sendall(b"POST /invocations HTTP/1.1\r\nContent-Length: 8\r\n\r\n50000000")
            self.assertEqual(s.ask(b"3")[2], b"xxx")
            answers = slow.makefile("rb")
            self.assertEqual(len(read_answer(answers)[1]), 50000000)
            slow.sendall(b"POST /invocations HTTP/1.1\r\nContent-Length: 1\r\n\r\n2")
            self.assertEqual(read_answer(answers), (200, b"xx"))

    def test_a_large_body(self):
        s = self.serve("def model_fn(d): return 1\ndef transform_fn(model, body, content_type, accept): return str(len(body))\n")
        self.assertEqual(s.ask(b"z" * (32 << 20), "application/octet-stream")[2], str(32 << 20).encode())

    def test_more_connections_than_allowed_are_told_so(self):
        s = self.serve(ECHO, environ={"STINT_MAX_CONNECTIONS": "3"})
        kept = [s.connect() for _ in range(3)]
        for c in kept:
            self.assertEqual(s.ask(b"1", connection=c)[0], 200)
        status, headers, _ = s.ask(b"1")
        self.assertEqual((status, headers["Retry-After"]), (503, "1"))
        for c in kept:
            c.close()


def read_answer(file):
    """(status, body) of one answer with a length."""
    status = int(file.readline().split()[1])
    length = 0
    while True:
        line = file.readline()
        if line == b"\r\n":
            return status, file.read(length)
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
