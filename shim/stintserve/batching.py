"""A worker whose model takes several requests at once.

The loop reads requests and queues them; a thread of its own takes up to a batch of them,
waiting for more no longer than the model declares, and asks the model. A request that
finds the queue full is told to come again at once: it does not wait for the batch.
"""

import os
import select
import threading
import time
from collections import deque

from . import channel, wire
from .worker import Loop


class BatchLoop(Loop):
    """A loop that answers invocations in batches."""

    def __init__(self, settings, handler, end, slot):
        Loop.__init__(self, settings, handler, end, slot)
        self._changed = threading.Condition()
        self._queue = deque()  # (connection, request), guarded by _changed
        self._running = []  # the connections of the batch that the model has
        self._done = deque()  # (connection, request, answer or exception)
        self._wake = os.pipe()
        os.set_blocking(self._wake[0], False)
        self._poll.register(self._wake[0], select.EPOLLIN)
        threading.Thread(target=self._compute, daemon=True).start()

    def invoke(self, connection, request):
        """Queue an invocation, or say that the queue is full."""
        with self._changed:
            full = len(self._queue) >= self.handler.batch_queue
        if full:
            told = wire.problem(503, "%d requests wait for the model already" % self.handler.batch_queue, headers=wire.UNPROCESSED)
            self.reply(connection, request, told)
            return
        # Until it is answered nothing more is read of this connection.
        connection.queued = True
        self._poll.unregister(connection.socket.fileno())
        # Told before the other thread may say that the model has it.
        self.hold(connection, channel.HELD)
        with self._changed:
            self._queue.append((connection, request))
            self._changed.notify()

    def woken(self, descriptor):
        """Send the answers that the thread has made."""
        os.read(descriptor, 4096)
        while self._done:
            connection, request, result = self._done.popleft()
            connection.queued = False
            self.take_up(connection)
            self._poll.register(connection.socket.fileno(), select.EPOLLIN)
            if isinstance(result, Exception):
                self.fail(connection, request, result)
            else:
                try:
                    self.answer(connection, request, result)
                except Exception as error:  # of a stream's first part
                    self.fail(connection, request, error)
            if self._goes_on(connection) and connection.reader.started:
                self._read(connection, b"")
            self.put_down()

    def _compute(self):
        while True:
            batch = self._take()
            self.tell(channel.RUNNING, *[connection for connection, _ in batch])
            self.slot[channel.BUSY] = time.monotonic()
            self._done.extend(self._ask(batch))
            self.slot[channel.BUSY] = 0.0
            os.write(self._wake[1], b".")

    def _take(self):
        """The next batch: when it is full, or its first request has waited as long as is declared."""
        size, delay = self.handler.batch_size, self.handler.batch_delay_ms / 1000
        with self._changed:
            while not self._queue:
                self._changed.wait()
            until = time.monotonic() + delay
            while len(self._queue) < size and not self.draining:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            return [self._queue.popleft() for _ in range(min(size, len(self._queue)))]

    def _ask(self, batch):
        """Results of a batch. A request that input_fn refuses fails alone; predict_fn's failure is everyone's."""
        results, inputs = [], []
        for connection, request in batch:
            try:
                inputs.append((connection, request) + self.handler.decode(request))
            except Exception as error:
                results.append((connection, request, error))
        if not inputs:
            return results
        try:
            predictions = self.handler.predict([data for _, _, data, _ in inputs], [context for _, _, _, context in inputs])
        except Exception as error:
            return results + [(connection, request, error) for connection, request, _, _ in inputs]
        for (connection, request, _, context), prediction in zip(inputs, predictions):
            try:
                results.append((connection, request, self.handler.encode(request, prediction, context)))
            except Exception as error:
                results.append((connection, request, error))
        return results
