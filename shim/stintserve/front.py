"""The master's side of connections: accepts them, and hands each to a worker.

Until a connection has something to say it stays here, and so does one that only pings:
health is answered even while every worker works. Requests are looked at, not taken in,
so that a worker finds them whole.
"""

import math
import select
import socket
import time
from collections import deque
from urllib.parse import unquote

from . import channel, wire
from .wire import Refused

PEEK = 4096
ARMED = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
LINGER_SECONDS = 2.0
SETTLING_SECONDS = 1.0
BEHIND = 1024  # connections that may wait to be accepted
MANAGEMENT_BODY = 64 * 1024

# Where a connection is.
IDLE = "idle"  # here; nothing has been read
WAITING = "waiting"  # here; a request of it waits for a worker
MANAGED = "managed"  # here; a request of it is the master's own to answer
ENDING = "ending"  # here; its last answer is sent
AWAY = "away"  # with a worker

BUSY_MESSAGE = "too many requests wait for the model; try again later"


class Client:
    """One connection, as the master holds it."""

    __slots__ = ("socket", "number", "where", "executor", "reader", "until")

    def __init__(self, sock, number):
        self.socket = sock
        self.number = number
        self.where = IDLE
        self.executor = None  # the loop of a worker that has it
        self.reader = None  # of a managed request
        self.until = 0.0  # when an ending connection is closed whatever the client does


class Executor:
    """One loop of a worker process, as the master sees it."""

    def __init__(self, process, end, slot):
        self.process = process
        self.end = end
        self.slot = slot
        self.ready = False
        self.capacity = 1  # requests that it takes at once
        self.clients = {}  # by number
        self.states = {}  # what it has said of connections: channel.HELD, RUNNING or SENDING
        self.told_to_end = False
        self.ended = False  # it will never say anything again

    @property
    def busy_since(self):
        """The monotonic clock since when its handler runs; 0 when it does not."""
        return self.slot.cells[channel.BUSY]


class Group:
    """The workers of one model."""

    def __init__(self, name, model_dir, wanted):
        self.name = name  # "" for the only model
        self.model_dir = model_dir
        self.wanted = wanted
        self.processes = []
        self.waiting = deque()  # clients whose request no worker can take yet
        self.loaded = False  # whether a worker ever was ready
        self.settled_at = 0.0  # the monotonic clock when the workers ought to be ready all
        self.removed = False
        self.failures = 0  # deaths in a row
        self.restarts = []  # when to start workers anew
        self.handler = None  # loaded before the workers are forked, if that is asked for
        self.told = None  # the client that waits to hear of the model's loading or unloading

    def executors(self):
        """The loops that serve."""
        return [e for process in self.processes for e in process.executors if e.ready and not e.told_to_end]

    @property
    def settling(self):
        """Whether its first workers are only just becoming ready, one after the other."""
        return time.monotonic() < self.settled_at and not all(e.ready for process in self.processes for e in process.executors)


class Front:
    """The connections of one server."""

    def __init__(self, settings, poll, groups, manage):
        self._settings = settings
        self._poll = poll
        self._groups = groups  # by name
        self._manage = manage  # answers what is neither a ping nor an invocation: manage(client, request)
        self.sticky = not settings.multi_model
        self.clients = {}  # by descriptor
        self.ending = set()
        self.draining = False
        self._numbers = 0
        self.listener = _listen(settings)
        poll.register(self.listener.fileno(), select.EPOLLIN)

    @property
    def address(self):
        """Where the server listens, as text."""
        host, port = self.listener.getsockname()[:2]
        return "%s:%d" % ("[%s]" % host if ":" in host else host, port)

    @property
    def ready(self):
        """Whether the server can answer: its model is loaded, or it has many and needs none."""
        return not self.draining and (not self.sticky or bool(self._groups[""].executors()))

    def accept(self):
        """Take in new connections."""
        for _ in range(64):
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                pass  # it is gone already; the first read says so
            self._numbers += 1
            client = Client(sock, self._numbers)
            self.clients[sock.fileno()] = client
            self._poll.register(sock.fileno(), ARMED)
            if len(self.clients) > self._settings.max_connections:
                self.finish(client, wire.problem(503, "too many connections", keep_alive=False, headers=wire.UNPROCESSED))

    def _arm(self, client, where=IDLE):
        client.where = where
        self._poll.modify(client.socket.fileno(), ARMED)

    def drop(self, client):
        """End a connection."""
        descriptor = client.socket.fileno()
        if self.clients.pop(descriptor, None) is None:
            return
        self.ending.discard(client)
        self._poll.unregister(descriptor)
        try:
            client.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was faster
        client.socket.close()

    def finish(self, client, data):
        """Send the last answer of a connection; reading on for a while lets the client see it before the end."""
        try:
            client.socket.send(data)
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(client)
            return
        client.until = time.monotonic() + LINGER_SECONDS
        self.ending.add(client)
        self._arm(client, ENDING)

    def reply(self, client, data, last=False):
        """Send an answer of the master's own and go on with the connection."""
        if client.socket.fileno() < 0:
            return  # it did not wait for the answer
        if last or self.draining:
            self.finish(client, data)
            return
        try:
            client.socket.send(data)  # small: the buffer of a connection that was idle takes it
        except OSError:
            self.drop(client)
            return
        if client.reader is not None and client.reader.started:
            self.drop(client)  # requests sent without waiting for answers are not for the master
            return
        client.reader = None
        self._arm(client)

    def readable(self, client):
        """A connection has something to say, or ends."""
        if client.where == IDLE:
            self._route(client)
        elif client.where == MANAGED:
            self._take_in(client)
        elif client.where == ENDING:
            self._discard(client)

    def _discard(self, client):
        try:
            while client.socket.recv(65536):
                pass
        except BlockingIOError:
            self._arm(client, ENDING)
            return
        except OSError:
            pass
        self.drop(client)

    def _route(self, client):
        try:
            head = client.socket.recv(PEEK, socket.MSG_PEEK)
        except BlockingIOError:
            self._arm(client)
            return
        except OSError:
            head = b""
        if not head:
            self.drop(client)
        elif head.startswith((b"GET /ping ", b"GET /ping?")) and b"\r\n\r\n" in head:
            client.socket.recv(head.index(b"\r\n\r\n") + 4)
            self._ping(client, b"connection: close" in head.lower() or b" HTTP/1.0\r\n" in head)
        elif self.sticky:
            self.hand(client, self._groups[""])
        else:
            self._choose(client, head)

    def _ping(self, client, last):
        if self.ready:
            headers = {"X-Stint-Concurrency": str(sum(e.capacity for group in self._groups.values() for e in group.executors()))}
            self.reply(client, wire.response(200, b"", keep_alive=not last, headers=headers), last)
        else:
            why = "the server is ending" if self.draining else "the model is not loaded"
            self.reply(client, wire.problem(503, why, keep_alive=not last), last)

    def _choose(self, client, head):
        """Among many models: the one that the request names."""
        end = head.find(b"\r\n")
        words = head[: max(end, 0)].split(b" ")
        path = words[1].partition(b"?")[0] if len(words) == 3 else b""
        if path.startswith(b"/models/") and path.endswith(b"/invoke"):
            name = unquote(path[len("/models/") : -len("/invoke")].decode("latin-1"))
            group = self._groups.get(name)
            if group is None:
                self.finish(client, wire.problem(404, "the model %.200s is not loaded" % name, keep_alive=False))
            else:
                self.hand(client, group)
        else:
            client.reader = wire.Reader(MANAGEMENT_BODY)
            self._take_in(client)

    def _take_in(self, client):
        """Read a request that the master answers itself."""
        try:
            data = client.socket.recv(65536)
        except BlockingIOError:
            self._arm(client, MANAGED)
            return
        except OSError:
            data = b""
        if not data:
            self.drop(client)
            return
        try:
            request = client.reader.feed(data)
        except Refused as refused:
            self.finish(client, wire.problem(refused.status, str(refused), keep_alive=False))
            return
        if request is None:
            self._arm(client, MANAGED)
            return
        client.where = MANAGED
        self._manage(client, request)

    # To the workers and back.

    def hand(self, client, group):
        """Hand a connection to a worker of a model, or let it wait for one."""
        executor = self._free(group)
        if executor is not None and self._give(client, executor):
            return
        if len(group.waiting) >= self._settings.max_waiting:
            self.finish(client, wire.problem(503, BUSY_MESSAGE, keep_alive=False, headers=wire.UNPROCESSED))
            return
        client.where = WAITING
        group.waiting.append(client)

    def _free(self, group):
        """The loop that has least to do. Of one model connections stay where they are; of many they come back."""
        candidates = group.executors()
        if not self.sticky:
            candidates = [e for e in candidates if len(e.clients) < e.capacity]
        elif group.settling:
            # Or all that waits would stay with the worker that happened to be first.
            candidates = [e for e in candidates if not e.clients]
        return min(candidates, key=lambda e: (len(e.clients), e.busy_since > 0), default=None)

    def _give(self, client, executor):
        try:
            channel.send(executor.end, channel.SERVE, [client.number], descriptor=client.socket.fileno())
        except OSError:
            return False  # it is dying, or its channel is full since it hangs
        client.where = AWAY
        client.executor = executor
        executor.clients[client.number] = client
        return True

    def feed(self, group):
        """Hand out what waits, as far as there are workers for it."""
        while group.waiting:
            executor = self._free(group)
            if executor is None or not self._give(group.waiting[0], executor):
                return
            group.waiting.popleft()

    def refuse_waiting(self, group, status, message):
        """Tell those who wait that there will be no worker."""
        while group.waiting:
            self.finish(group.waiting.popleft(), wire.problem(status, message, keep_alive=False, headers=wire.UNPROCESSED))

    def hear(self, executor):
        """Read what a worker has said of connections; gives the other messages, as (kind, text)."""
        others = []
        while not executor.ended:
            try:
                kind, said, _ = channel.receive(executor.end)
            except BlockingIOError:
                break
            except OSError:
                kind = b""
            if not kind:
                executor.ended = True  # the process may take its time to go
                self._poll.unregister(executor.end.fileno())
                break
            if kind in (channel.READY, channel.FAILED):
                others.append((kind, said))
            elif kind in (channel.CLOSED, channel.RETURNED):
                for number in said:
                    self._back(executor, number, kind)
            else:
                for number in said:
                    executor.states[number] = kind
        if not self.sticky or executor.process.group.waiting:
            self.feed(executor.process.group)
        return others

    def _back(self, executor, number, kind):
        client = executor.clients.pop(number, None)
        executor.states.pop(number, None)
        if client is None:
            return
        client.executor = None
        if kind == channel.CLOSED:
            self.drop(client)
        else:
            self._arm(client)
            if self.draining:
                self._route_or_drop(client)

    def share_out(self, group):
        """After a worker has become ready: let the others return what they have more than their part of."""
        executors = group.executors()
        if not self.sticky or len(executors) < 2:
            return
        part = math.ceil(sum(len(e.clients) for e in executors) / len(executors))
        for executor in executors:
            if len(executor.clients) > part:
                try:
                    channel.send(executor.end, channel.GIVE_BACK, [len(executor.clients) - part])
                except OSError:
                    pass  # it keeps them

    def bury(self, executor, status, message):
        """A worker has died: answer for it what it was working on, take everything else back."""
        cells = executor.slot.cells
        for number, client in executor.clients.items():
            state = executor.states.get(number, channel.CLEAN)
            if cells[channel.CONNECTION] == number:
                if cells[channel.BEGUN]:
                    state = channel.SENDING
                elif cells[channel.BUSY]:
                    state = channel.RUNNING
                elif state == channel.CLEAN:
                    state = channel.HELD
            client.executor = None
            if state == channel.CLEAN:
                self._arm(client)
            elif state == channel.RUNNING:
                self.finish(client, wire.problem(status, message, keep_alive=False))
            elif state == channel.HELD:
                told = "the worker that had read this request died before it began; try again"
                self.finish(client, wire.problem(503, told, keep_alive=False, headers=wire.UNPROCESSED))
            else:
                self.drop(client)
        executor.clients.clear()

    # The end.

    def drain(self):
        """Accept no more; what has been sent is still served."""
        self.draining = True
        self._poll.unregister(self.listener.fileno())
        self.listener.close()
        for client in list(self.clients.values()):
            if client.where == IDLE:
                self._route_or_drop(client)

    def _route_or_drop(self, client):
        try:
            if client.socket.recv(1, socket.MSG_PEEK):
                self._route(client)
                return
        except OSError:
            pass
        self.drop(client)

    def expire(self):
        """Close the connections that had their last answer and time to read it."""
        now = time.monotonic()
        for client in [c for c in self.ending if now >= c.until]:
            self.drop(client)

    def close(self):
        """Let go of every descriptor without a word to anyone, as after a fork."""
        self.listener.close()
        for client in self.clients.values():
            client.socket.close()


def _listen(settings):
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BEHIND)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
