"""A worker process: loads a model, then answers the requests of the connections it is handed.

A loop serves all its connections alone, one request at a time; a worker of several
threads has as many loops, which share the model. So a handler never meets another
request in its thread, and nothing here needs a lock.
"""

import atexit
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback

from . import channel, wire
from .handler import Handler, LoadError, refusal
from .wire import Refused

LOAD_FAILED = 3  # a worker's exit code

RECEIVE = 256 * 1024
# A client that has been refused may still be sending: reading on for a while lets it
# see the answer, which a reset would destroy.
LINGER_SECONDS = 2.0
HALF_A_REQUEST_SECONDS = 60.0
TICK = 0.5

MULTI_PREFIX, MULTI_SUFFIX = "/models/", "/invoke"


class Connection:
    """One client's connection, as long as this worker has it."""

    __slots__ = ("socket", "number", "reader", "out", "last", "lingers_until", "half_since", "told", "queued")

    def __init__(self, sock, number, limit):
        self.socket = sock
        self.number = number
        self.reader = wire.Reader(limit)
        self.out = None  # what could not be sent at once
        self.last = False  # the connection ends with the answer that is under way
        self.lingers_until = 0.0
        self.half_since = 0.0  # when part of a request came and the rest did not
        self.told = channel.CLEAN  # what the master knows of it
        self.queued = False  # a request of it waits for its batch


class Loop:
    """One thread of a worker."""

    def __init__(self, settings, handler, end, slot):
        self.settings = settings
        self.handler = handler
        self.slot = slot.cells
        self.sticky = not settings.multi_model
        self.connections = {}  # by descriptor
        self.waiting = set()  # connections that something is awaited of: the rest of a request, or their end
        self.draining = False
        self._end = end
        self._poll = select.epoll()
        self._poll.register(end.fileno(), select.EPOLLIN)

    def run(self):
        """Serve until the master says to end, or is gone."""
        while not (self.draining and not self.connections):
            for descriptor, events in self._poll.poll(TICK if self.waiting or self.draining else -1):
                connection = self.connections.get(descriptor)
                if connection is not None:
                    self._turn(connection, events)
                elif descriptor == self._end.fileno():
                    self._obey()
                else:
                    self.woken(descriptor)
            if self.waiting:
                self._expire()
            if self.draining:
                self._close_idle()

    def woken(self, descriptor):
        """Something else than a connection is ready; for loops that have more."""

    # Connections.

    def _obey(self):
        kind, numbers, descriptor = channel.receive(self._end)
        if kind == channel.SERVE:
            sock = socket.socket(fileno=descriptor)
            sock.setblocking(False)
            connection = Connection(sock, numbers[0], self.settings.max_body)
            self.connections[sock.fileno()] = connection
            self._poll.register(sock.fileno(), select.EPOLLIN)
            self._turn(connection, select.EPOLLIN)  # the master hands over what has something to read
        elif kind == channel.GIVE_BACK:
            idle = [c for c in self.connections.values() if c.told == channel.CLEAN and not c.lingers_until]
            for connection in idle[: numbers[0]]:
                self._give_back(connection)
        elif kind == channel.DRAIN:
            self.draining = True
        else:
            os._exit(1)  # the master is gone, and nobody would know of this worker

    def _give_back(self, connection):
        self._forget(connection)
        connection.socket.close()
        self.tell(channel.RETURNED, connection)

    def close(self, connection):
        """End a connection. The master holds it too: closing alone would not tell the client."""
        self._forget(connection)
        try:
            connection.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was faster
        connection.socket.close()
        self.tell(channel.CLOSED, connection)

    def _forget(self, connection):
        descriptor = connection.socket.fileno()
        self._poll.unregister(descriptor)  # the master's descriptor would keep it alive in here
        del self.connections[descriptor]
        self.waiting.discard(connection)

    def tell(self, kind, *connections):
        """Tell the master of connections."""
        try:
            channel.send(self._end, kind, [c.number for c in connections])
        except OSError:
            os._exit(1)  # the master is gone

    def hold(self, connection, state):
        """Let the master know what is in hand of a connection: HELD, SENDING or CLEAN."""
        if connection.told != state:
            connection.told = state
            self.tell(state, connection)

    def _turn(self, connection, events):
        if connection.out is not None:
            self._flush(connection)
            return
        self.take_up(connection)
        try:
            data = connection.socket.recv(RECEIVE)
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        if data == b"":
            self.close(connection)
        elif data and not connection.lingers_until:
            self._read(connection, data)
        self.put_down()

    def take_up(self, connection):
        """From here on, should this process die, something of this connection may be lost with it."""
        self.slot[channel.CONNECTION] = connection.number

    def put_down(self):
        """What was taken up is answered, or the master has been told what is left of it."""
        slot = self.slot
        slot[channel.CONNECTION] = 0.0
        slot[channel.BEGUN] = 0.0

    def _read(self, connection, data):
        """Take in data and serve the requests that are whole with it."""
        while True:
            try:
                request = connection.reader.feed(data)
            except Refused as refused:
                self.refuse(connection, refused.status, str(refused))
                return
            if request is None:
                break
            if connection.half_since:
                connection.half_since = 0.0
                self.waiting.discard(connection)
            self.serve(connection, request)
            if not self._goes_on(connection) or not connection.reader.started:
                return
            data = b""
        reader = connection.reader
        if reader.expects:
            reader.expects = False
            self.send(connection, wire.CONTINUE)
        if reader.started and not connection.half_since:
            connection.half_since = time.monotonic()
            self.waiting.add(connection)
            self.hold(connection, channel.HELD)

    def _goes_on(self, connection):
        """Whether the next request of a connection may be read now."""
        open_here = connection.socket.fileno() in self.connections
        return open_here and connection.out is None and not connection.queued and not connection.lingers_until

    def _expire(self):
        now = time.monotonic()
        for connection in list(self.waiting):
            if connection.lingers_until and now >= connection.lingers_until:
                self.close(connection)
            elif connection.half_since and now - connection.half_since > HALF_A_REQUEST_SECONDS:
                self.refuse(connection, 408, "the rest of the request did not come")

    def _close_idle(self):
        """While draining: what has sent nothing more is closed, what has is served first."""
        for connection in list(self.connections.values()):
            if connection.told == channel.CLEAN and not connection.lingers_until and not _readable(connection.socket):
                self.close(connection)

    # Requests.

    def serve(self, connection, request):
        """Answer one request."""
        path = request.path
        if path == "/invocations" or not self.sticky and path.startswith(MULTI_PREFIX) and path.endswith(MULTI_SUFFIX):
            if request.method == "POST":
                self.invoke(connection, request)
            else:
                self.reply(connection, request, wire.problem(405, "%s takes POST" % path, headers={"Allow": "POST"}))
        elif path == "/ping":
            self.reply(connection, request, wire.response(200, b""))
        elif path == "/execution-parameters":
            self._run(connection, request, lambda: self._parameters(connection, request))
        else:
            self.reply(connection, request, wire.problem(404, "there is no %.200s here" % path))

    def _parameters(self, connection, request):
        said = self.handler.execution_parameters()
        self.reply(connection, request, wire.response(200, said.encode("utf-8") if isinstance(said, str) else said))

    def invoke(self, connection, request):
        """Answer an invocation."""
        self._run(connection, request, lambda: self.answer(connection, request, self.handler.answer(request)))

    def _run(self, connection, request, work):
        """Run what calls the user's code: the master watches meanwhile, and what it raises becomes an answer."""
        self.slot[channel.BUSY] = time.monotonic()
        try:
            work()
        except Exception as error:
            self.fail(connection, request, error)
        # Not when it ends the process: the master has to see what was being done.
        self.slot[channel.BUSY] = 0.0

    def fail(self, connection, request, error):
        """Answer with what an exception says; the rest of it is for the log."""
        status, message = refusal(error)
        if status >= 500 or not isinstance(error, Refused):
            print_exception(error)
        self.reply(connection, request, wire.problem(status, message))

    def answer(self, connection, request, answer):
        """Send a handler's answer."""
        if not isinstance(answer.body, bytes):
            self._stream(connection, request, answer)
            return
        if answer.status in wire.WITHOUT_BODY:
            answer.body = b""
        head = wire.response_head(answer.status, answer.content_type, len(answer.body), True, answer.headers)
        self.reply(connection, request, head + answer.body)

    def _stream(self, connection, request, answer):
        """Send the parts of a body as the handler makes them, holding none back and keeping none."""
        parts = answer.body
        try:
            first = next(parts, None)  # an error before the first part still has a status
            part = b"" if first is None else _part(first)
            chunked = request.chunks_allowed
            connection.last = not (chunked and self._keeps(connection, request))
            length = wire.IN_CHUNKS if chunked else wire.TO_THE_END
            head = wire.response_head(answer.status, answer.content_type, length, not connection.last, answer.headers)
        except BaseException:
            _end(parts)
            raise
        frame = wire.chunk if chunked else bytes
        self.slot[channel.BEGUN] = 1.0
        try:
            self._send_now(connection, head + frame(part))
            for part in parts:
                data = frame(_part(part))
                if data:
                    self._send_now(connection, data)
            if chunked:
                self._send_now(connection, wire.LAST_CHUNK)
        except Exception as error:
            # Cut off, not ended: the client must not take what it has for the whole.
            if not isinstance(error, _Gone):
                print_exception(error)
            connection.last = True
        finally:
            _end(parts)
        self._sent(connection)

    def _send_now(self, connection, data):
        """Send all of data, waiting for a slow client as long as a request may take."""
        sock, view = connection.socket, memoryview(data)
        while view:
            try:
                view = view[sock.send(view) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(sock, select.POLLOUT)
                if not poll.poll(self.settings.timeout * 500):
                    raise _Gone()
            except OSError:
                raise _Gone()
            self.slot[channel.BUSY] = time.monotonic()

    # Answers.

    def _keeps(self, connection, request):
        return request.keep_alive and not self.slot[channel.ENDING] and not (not self.sticky and connection.reader.started)

    def reply(self, connection, request, data):
        """Send a whole answer, made as if the connection went on; whether it does is said here."""
        if not self._keeps(connection, request):
            data = data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
            connection.last = True
        elif not request.chunks_allowed:
            data = data.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n", 1)
        self.slot[channel.BEGUN] = 1.0
        self.send(connection, data)
        if connection.out is None:
            self._sent(connection)

    def refuse(self, connection, status, message):
        """Answer what cannot be read any further, and hang up when the client had time to see why."""
        self.slot[channel.BEGUN] = 1.0
        self.send(connection, wire.problem(status, message, keep_alive=False))
        connection.half_since = 0.0
        self._linger(connection)

    def _linger(self, connection):
        if connection.socket.fileno() not in self.connections:
            return
        try:
            if connection.out is None:
                connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the client was faster: the next read says so
        connection.lingers_until = time.monotonic() + LINGER_SECONDS
        self.waiting.add(connection)

    def send(self, connection, data):
        """Send data; what the client does not take at once goes out as it does."""
        try:
            sent = connection.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            connection.last = True
            return
        if sent < len(data):
            connection.out = memoryview(data)[sent:]
            self.hold(connection, channel.SENDING)
            self._poll.modify(connection.socket.fileno(), select.EPOLLOUT)

    def _flush(self, connection):
        try:
            connection.out = connection.out[connection.socket.send(connection.out) :]
        except BlockingIOError:
            return
        except OSError:
            self.close(connection)
            return
        if not connection.out:
            connection.out = None
            self._poll.modify(connection.socket.fileno(), select.EPOLLIN)
            if connection.lingers_until:
                self._linger(connection)
            else:
                self._sent(connection)
                if self._goes_on(connection) and connection.reader.started:
                    self._read(connection, b"")

    def _sent(self, connection):
        """After a whole answer: on to the next request, to the master, or to the end."""
        if connection.last:
            self.close(connection)
        elif not self.sticky:
            self._give_back(connection)
        elif not connection.reader.started:
            self.hold(connection, channel.CLEAN)


class _Gone(Exception):
    """The client takes no more of a stream."""


def _part(part):
    return part.encode("utf-8") if isinstance(part, str) else bytes(part)


def _end(parts):
    if hasattr(parts, "close"):
        parts.close()


def _readable(sock):
    try:
        return len(sock.recv(1, socket.MSG_PEEK)) > 0
    except OSError:
        return False


def print_exception(error):
    """The traceback of an exception, in the log, in one piece."""
    sys.stderr.write("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    sys.stderr.flush()


def load(settings, model_dir, place):
    """The loaded model's handler; a failure is in the log when LoadError is raised."""
    handler = Handler(settings, model_dir, place)
    try:
        handler.load()
    except LoadError as error:
        if error.__cause__ is not None:
            print_exception(error.__cause__)
        raise
    return handler


def run(settings, model_dir, place, loops, handler=None):
    """The life of a worker process. loops holds (channel's end, slot) of each thread; handler is given when it is loaded."""
    code = 1
    try:
        _prepare(settings)
        if handler is None:
            try:
                handler = load(settings, model_dir, place)
            except LoadError as error:
                channel.send(loops[0][0], channel.FAILED, text=str(error))
                code = LOAD_FAILED
                return
        kind = Loop
        if handler.batching:
            from .batching import BatchLoop as kind
        threads = [kind(settings, handler, end, slot) for end, slot in loops]
        for end, _ in loops:
            channel.send(end, channel.READY, text="%d" % (handler.batch_queue if handler.batching else 1))
        others = [threading.Thread(target=loop.run) for loop in threads[1:]]
        for thread in others:
            thread.start()
        threads[0].run()
        for thread in others:
            thread.join()
        atexit._run_exitfuncs()
        code = 0
    except BaseException as error:
        print_exception(error)
        code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads the log
        os._exit(code & 0xFF)  # not back into the master's code, of which this is a fork


def _prepare(settings):
    """Make the fork an ordinary process for the user's code."""
    signal.set_wakeup_fd(-1)
    # The master says when to end. A handler that does nothing, unlike one that ignores,
    # is not passed on to the programs that the user's code starts.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # The log is watched live, and is that of several workers: a line is written as a whole, also by an
            # unbuffered interpreter, which would write each argument of print() by itself.
            stream.reconfigure(line_buffering=True, write_through=False)
    import logging

    logging.basicConfig(level=settings.log_level)
