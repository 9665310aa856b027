"""Models that take several requests at once."""

import json
import os
import signal

from harness import Case, error_of, eventually

SUMS = """
import os
def model_fn(model_dir):
    gate = os.path.join(model_dir, "gate")
    if not os.path.exists(gate):
        os.mkfifo(gate)
    return gate
def input_fn(body, content_type):
    value = int(body)
    if value < 0: raise ValueError("negative")
    return value
def predict_fn(batch, gate):
    print("batch of", len(batch))
    if 0 in batch: open(gate).read()
    if 13 in batch: raise RuntimeError("unlucky")
    return [(value, len(batch)) for value in batch]
"""


class Batches(Case):
    def start(self, *numbers):
        """Connections on which these requests were sent, in order."""
        connections = []
        for number in numbers:
            c = self.server.connect()
            c.request("POST", "/invocations", str(number), {"Content-Type": "application/json"})
            connections.append(c)
        return connections

    def answers(self, connections):
        result = []
        for c in connections:
            answer = c.getresponse()
            result.append((answer.status, json.loads(answer.read())))
            c.close()
        return result

    def open_gate(self):
        with open(os.path.join(self.server.model, "gate"), "w"):
            pass

    def test_requests_that_come_while_the_model_works_are_its_next_batch(self):
        self.server = self.serve(SUMS, environ={"STINT_BATCH_SIZE": "4", "STINT_BATCH_DELAY_MS": "60000", "STINT_NUM_CPUS": "8"})
        connections = self.start(0, 1, 2, 3)
        self.server.await_log("batch of 4")
        connections += self.start(4, 5, -1, 6)
        self.open_gate()
        answers = self.answers(connections)
        self.assertEqual(answers[:6], [(200, [n, 4 if n < 4 else 3]) for n in range(6)])
        self.assertEqual((answers[6][0], answers[6][1]["error"]), (500, "negative"))
        self.assertEqual(answers[7], (200, [6, 3]))

    def test_a_program_may_declare_it_and_a_lone_request_waits_no_longer_than_declared(self):
        self.server = self.serve(SUMS + "STINT_BATCH_SIZE = 8\nSTINT_BATCH_DELAY_MS = 20\n")
        self.assertEqual(self.answers(self.start(7)), [(200, [7, 1])])
        self.assertEqual(self.server.ask(path="/ping", method="GET")[1]["X-Stint-Concurrency"], "64")

    def test_a_full_queue_says_so_at_once_and_the_server_stays_healthy(self):
        environ = {"STINT_BATCH_SIZE": "2", "STINT_BATCH_DELAY_MS": "0", "STINT_BATCH_QUEUE": "2"}
        self.server = self.serve(SUMS, environ=environ)
        running = self.start(0)
        self.server.await_log("batch of 1")
        waiting = self.start(1, 2)
        said = []
        eventually("the queue is full", lambda: self.refused(said))
        self.assertIn("2 requests wait for the model already", said[0])
        self.assertEqual(self.server.ping(), 200)
        self.open_gate()
        self.assertEqual([status for status, _ in self.answers(running + waiting)], [200, 200, 200])

    def refused(self, said):
        status, headers, body = self.server.ask(b"3")
        if status == 503 and headers["Retry-After"]:
            said.append(error_of(body))
        return said

    def test_a_batch_that_fails_fails_for_all_of_it(self):
        self.server = self.serve(SUMS, environ={"STINT_BATCH_SIZE": "2", "STINT_BATCH_DELAY_MS": "60000"})
        self.assertEqual(self.answers(self.start(13, 1)), [(500, {"error": "unlucky"})] * 2)
        self.assertEqual(self.answers(self.start(1, 2)), [(200, [1, 2]), (200, [2, 2])])

    def test_a_wrong_number_of_predictions_is_said(self):
        code = "def model_fn(d): return 1\ndef predict_fn(batch, model): return [1]\n"
        self.server = self.serve(code, environ={"STINT_BATCH_SIZE": "2", "STINT_BATCH_DELAY_MS": "60000"})
        self.assertIn("was given a batch of 2 and has to return as many", self.answers(self.start(1, 2))[0][1]["error"])

    def test_a_death_answers_what_the_model_had_and_what_waited(self):
        environ = {"STINT_BATCH_SIZE": "2", "STINT_BATCH_DELAY_MS": "0", "STINT_BATCH_QUEUE": "2"}
        self.server = self.serve(SUMS, environ=environ)
        running = self.start(0)
        self.server.await_log("batch of 1")
        waiting = self.start(1, 2)
        eventually("the queue is full", lambda: self.refused([]))
        os.kill(self.server.workers()[0], signal.SIGKILL)
        answers = self.answers(running + waiting)
        self.assertEqual([status for status, _ in answers], [500, 503, 503])
        self.assertEqual(self.answers(self.start(5)), [(200, [5, 1])])

    def test_a_batch_that_hangs_is_ended(self):
        self.server = self.serve(SUMS, environ={"STINT_BATCH_SIZE": "2", "STINT_BATCH_DELAY_MS": "60000", "SAGEMAKER_MODEL_SERVER_TIMEOUT": "1"})
        self.assertEqual([status for status, _ in self.answers(self.start(0, 1))], [504, 504])

    def test_everything_in_hand_is_finished_at_the_end(self):
        self.server = self.serve(SUMS, environ={"STINT_BATCH_SIZE": "2", "STINT_BATCH_DELAY_MS": "0"})
        running = self.start(0)
        self.server.await_log("batch of 1")
        waiting = self.start(1, 2, 3)
        self.server.terminate()
        self.open_gate()
        self.assertEqual([status for status, _ in self.answers(running + waiting)], [200] * 4)
        self.assertEqual(self.server.wait(), 0)

    def test_transform_fn_takes_no_batches(self):
        code = "def model_fn(d): return 1\ndef transform_fn(m, b, c, a): return b\n"
        s = self.serve(code, environ={"STINT_BATCH_SIZE": "2"}, wait=False)
        self.assertEqual(s.wait(), 1)
        self.assertIn("it cannot have a transform_fn", s.failure())
