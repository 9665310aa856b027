"""Answers that are sent as they are made."""

import http.client
import os
import signal

from harness import Case, error_of

COUNTS = """
import os
def model_fn(model_dir):
    gate = os.path.join(model_dir, "gate")
    if not os.path.exists(gate):
        os.mkfifo(gate)
    return gate
def predict_fn(data, gate):
    def parts():
        yield "one,"
        if data == "fail": raise ValueError("after one")
        if data == "hang": open(gate).read()
        if data == "wait": open(gate).read()
        yield b"two,"
        yield b""
        yield "three"
    return parts()
"""


class Streams(Case):
    def test_parts_arrive_as_they_are_made_and_the_connection_goes_on(self):
        s = self.serve(COUNTS)
        c = s.connect()
        c.request("POST", "/invocations", b'"wait"', {"Content-Type": "application/json", "Accept": "text/plain"})
        answer = c.getresponse()
        self.assertEqual((answer.headers["Transfer-Encoding"], answer.headers["Content-Type"]), ("chunked", "text/plain"))
        self.assertEqual(answer.read(4), b"one,")  # before the rest exists
        with open(os.path.join(s.model, "gate"), "w"):
            pass
        self.assertEqual(answer.read(), b"two,three")
        self.assertEqual(s.ask(b'"go"', connection=c)[2], b"one,two,three")
        c.close()

    def test_a_stream_for_the_older_protocol_ends_with_its_connection(self):
        s = self.serve(COUNTS)
        with s.raw() as sock:
            sock.sendall(b'POST /invocations HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"go"')
            said = sock.makefile("rb").read()
        self.assertTrue(said.endswith(b"\r\n\r\none,two,three"), said)

    def test_an_error_before_the_first_part_has_a_status(self):
        s = self.serve("def model_fn(d): return 1\ndef predict_fn(data, model):\n    raise ValueError('at once')\n    yield 1\n")
        status, _, body = s.ask(b"1")
        self.assertEqual((status, error_of(body)), (500, "at once"))

    def test_an_error_after_it_cuts_the_answer_off(self):
        s = self.serve(COUNTS)
        c = s.connect()
        c.request("POST", "/invocations", b'"fail"', {"Content-Type": "application/json"})
        answer = c.getresponse()
        with self.assertRaises(http.client.IncompleteRead) as caught:
            answer.read()
        self.assertEqual(caught.exception.partial, b"one,")
        s.await_log("ValueError: after one")
        c.close()
        self.assertEqual(s.ask(b'"go"')[0], 200)

    def test_a_death_or_a_hang_cuts_it_off_too(self):
        s = self.serve(COUNTS, environ={"SAGEMAKER_MODEL_SERVER_TIMEOUT": "1"})
        for kill in (True, False):
            c = s.connect()
            c.request("POST", "/invocations", b'"hang"', {"Content-Type": "application/json"})
            answer = c.getresponse()
            self.assertEqual(answer.read(4), b"one,")
            if kill:
                os.kill(s.workers()[0], signal.SIGKILL)
            self.assertEqual(answer.fp.read().strip(), b"")  # neither an end nor another answer
            answer.close()
            c.close()
            s.await_log("another follows", 1 if kill else 2)

    def test_a_client_that_goes_away_ends_the_generator(self):
        s = self.serve(
            """
            def model_fn(d): return 1
            def transform_fn(model, body, content_type, accept):
                def parts():
                    try:
                        while True: yield b"x" * 65536
                    finally:
                        print("closed")
                return parts()
            """
        )
        c = s.connect()
        c.request("POST", "/invocations", b"1")
        c.getresponse().read(100000)
        c.close()
        s.await_log("closed")
        self.assertEqual(s.ping(), 200)

    def test_a_gibibyte_passes_without_being_kept(self):
        s = self.serve(
            """
            import resource
            def model_fn(d): return b"x" * (1 << 20)
            def transform_fn(model, body, content_type, accept):
                if body == "peak": return str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
                return (model for _ in range(1024))
            """
        )
        before = int(s.ask(b"peak")[2])
        c = s.connect()
        c.request("POST", "/invocations", b"1")
        answer, total = c.getresponse(), 0
        buffer = bytearray(1 << 20)
        while True:
            count = answer.readinto(buffer)
            if not count:
                break
            total += count
        self.assertEqual(total, 1 << 30)
        self.assertLess(int(s.ask(b"peak")[2]) - before, 16 << 10)
        c.close()
