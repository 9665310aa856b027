"""The master process: keeps the workers alive, says why when they are not, ends them in order.

It runs none of the user's code, so nothing of the user's can hang or kill it; the one
exception is a model that is to be loaded before the workers are forked.
"""

import os
import select
import signal
import socket
import sys
import time

from . import channel, worker
from .front import SETTLING_SECONDS, Executor, Front, Group
from .handler import LoadError
from .models import Models

QUICK, SLOW = 0.05, 1.0  # seconds between two looks at everything
LONGEST_PAUSE = 10.0
SETTLED_SECONDS = 10.0  # a worker that served so long was not broken from the start
MOST_FAILURES = 5  # in a row, after which a model without a single worker is given up
LONGEST_FAILURE = 1000

NUMBER_OF_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Process:
    """One worker process."""

    def __init__(self, group, place, pid):
        self.group = group
        self.place = place
        self.pid = pid
        self.executors = []
        self.failure = ""  # why it could not load the model
        self.ready_since = 0.0
        self.hangs = False


class Master:
    """One model server."""

    def __init__(self, settings):
        self.settings = settings
        self.groups = {}  # by name
        self._all_groups = []  # also those that are being unloaded
        self._processes = {}  # by pid
        self._ends = {}  # executors by their channel's descriptor
        self._poll = select.epoll()
        self._woken, self._waker = socket.socketpair()
        self._exit_code = None
        self._drain_until = 0.0
        self._began = time.monotonic()
        self.models = Models(self)
        self.front = None

    def run(self):
        """Serve until a signal asks to end; the exit code is 0 then, and 1 when the model cannot be served."""
        # 1. Threads of libraries: together no more than there are processors.
        threads = max(1, self.settings.cpus // (self.settings.workers * self.settings.threads))
        for name in NUMBER_OF_THREADS:
            os.environ.setdefault(name, str(threads))
        # 2. The port first, so that a second server fails before it loads anything.
        try:
            self.front = Front(self.settings, self._poll, self.groups, self.models.answer)
        except OSError as error:
            report(self.settings.root, "cannot listen on %s port %d: %s" % (self.settings.host, self.settings.port, error.strerror))
            return 1
        self._listen_to_signals()
        # 3. The model.
        if self.settings.multi_model:
            say("serving on http://%s, many models" % self.front.address)
        else:
            self._start_only_model()
        # 4. Everything else is an answer to something that happens.
        while self._exit_code is None:
            for descriptor, _ in self._poll.poll(self._pause()):
                self._happened(descriptor)
            self._look()
        for process in self._processes.values():
            kill(process.pid)
        return self._exit_code

    def _start_only_model(self):
        group = Group("", self.settings.model_dir, self.settings.workers)
        self.groups[""] = group
        if self.settings.preload:
            try:
                group.handler = worker.load(self.settings, group.model_dir, 0)
            except LoadError as error:
                self.fail(str(error))
                return
        self.start(group)

    def _listen_to_signals(self):
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._poll.register(self._woken.fileno(), select.EPOLLIN)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # the byte that wakes the loop is all

    def _pause(self):
        pending = self._drain_until or self.front.ending or any(g.restarts or g.waiting for g in self._all_groups)
        return QUICK if pending else SLOW

    def _happened(self, descriptor):
        front = self.front
        client = front.clients.get(descriptor)
        if client is not None:
            front.readable(client)
        elif descriptor in self._ends:
            executor = self._ends[descriptor]
            self._heard(executor, front.hear(executor))
        elif descriptor == self._woken.fileno():
            try:
                numbers = self._woken.recv(4096)
            except BlockingIOError:
                return
            if signal.SIGCHLD in numbers:
                self._reap()
            if signal.SIGTERM in numbers or signal.SIGINT in numbers:
                self.drain()
        elif descriptor == front.listener.fileno():
            front.accept()

    def _look(self):
        """What time brings: workers that hang, pauses that are over, ends that are overdue."""
        now = time.monotonic()
        for executor in self._ends.values():
            busy = executor.busy_since
            if busy and now - busy > self.settings.timeout and not executor.process.hangs:
                executor.process.hangs = True
                say("worker %d has not answered for %d s and is ended" % (executor.process.pid, self.settings.timeout))
                kill(executor.process.pid)
        for group in self._all_groups:
            while group.restarts and group.restarts[0] <= now and not self._drain_until:
                del group.restarts[0]
                self._fork(group)
            self.front.feed(group)
        self.front.expire()
        if self._drain_until:
            self._continue_drain(now)

    # Workers.

    def start(self, group):
        """Start the workers of a model."""
        self._all_groups.append(group)
        for _ in range(group.wanted):
            self._fork(group)

    def _fork(self, group):
        places = {process.place for process in group.processes}
        place = min(set(range(group.wanted)) - places)
        pairs = [channel.pair() + (channel.Slot(),) for _ in range(self.settings.threads)]
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self._let_go()
            for own, _, _ in pairs:
                own.close()
            worker.run(self.settings, group.model_dir, place, [(theirs, slot) for _, theirs, slot in pairs], group.handler)
        process = Process(group, place, pid)
        for own, theirs, slot in pairs:
            theirs.close()
            own.setblocking(False)
            executor = Executor(process, own, slot)
            process.executors.append(executor)
            self._ends[own.fileno()] = executor
            self._poll.register(own.fileno(), select.EPOLLIN)
        group.processes.append(process)
        self._processes[pid] = process

    def _let_go(self):
        """In a fork: close what is the master's, or connections and channels would outlive their owners."""
        self._poll.close()
        self._woken.close()
        self._waker.close()
        self.front.close()
        for executor in self._ends.values():
            executor.end.close()

    def _heard(self, executor, messages):
        process, group = executor.process, executor.process.group
        for kind, text in messages:
            if kind == channel.FAILED:
                process.failure = text
                continue
            executor.ready, executor.capacity = True, int(text)
            if not process.ready_since:
                process.ready_since = time.monotonic()
            if not group.loaded:
                group.loaded = True
                group.settled_at = time.monotonic() + SETTLING_SECONDS
                self._loaded(group)
            self.front.share_out(group)
            self.front.feed(group)

    def _loaded(self, group):
        if group.name:
            self.models.loaded(group)
        else:
            took = time.monotonic() - self._began
            say("serving on http://%s with %d workers; the model was ready after %.2f s" % (self.front.address, group.wanted, took))

    def _reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self._processes.pop(pid, None)
            if process is not None:  # as the first process of a container it also gets strangers' children
                self._died(process, status)

    def _died(self, process, status):
        group, how = process.group, describe_exit(status)
        for executor in process.executors:
            self._heard(executor, self.front.hear(executor))
        group.processes.remove(process)
        if process.hangs:
            code, message = 504, "the model did not answer within %d seconds" % self.settings.timeout
        else:
            code, message = 500, "the worker died while it worked on this request: %s" % how
        for executor in process.executors:
            self.front.bury(executor, code, message)
            descriptor = executor.end.fileno()
            del self._ends[descriptor]
            if not executor.ended:
                self._poll.unregister(descriptor)
            executor.end.close()
            executor.slot.close()
        if group.removed:
            if not group.processes:
                self._all_groups.remove(group)
                self.models.unloaded(group)
        elif not self._drain_until and self._exit_code is None:
            self._replace(group, process, how, status)

    def _replace(self, group, process, how, status):
        """A worker died that was still wanted."""
        now = time.monotonic()
        served = now - process.ready_since if process.ready_since else 0.0
        group.failures = 1 if served > SETTLED_SECONDS else group.failures + 1
        reason = process.failure
        if not process.ready_since and not reason:
            reason = "the worker died while it loaded the model: %s" % how
        if not group.loaded or (not group.executors() and reason and group.failures >= MOST_FAILURES):
            if group.name:
                self.models.failed(group, reason, os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
            else:
                self.fail(reason)
            return
        pause = 0.0 if group.failures < 2 else min(LONGEST_PAUSE, 0.25 * 2 ** (group.failures - 2))
        say("worker %d died: %s; another follows%s" % (process.pid, reason or how, " in %.2f s" % pause if pause else ""))
        group.restarts.append(now + pause)
        group.restarts.sort()

    def remove(self, group):
        """Unload a model: its workers finish what they do. models.unloaded is told when they are gone."""
        group.removed = True
        group.restarts.clear()
        self.front.refuse_waiting(group, 404, "the model %.200s is being unloaded" % group.name)
        for process in list(group.processes):
            self._tell_to_end(process)
        if not group.processes:
            self._all_groups.remove(group)
            self.models.unloaded(group)

    def _tell_to_end(self, process):
        if not process.ready_since:
            kill(process.pid)  # it hears nothing while it loads
            return
        for executor in process.executors:
            if executor.told_to_end:
                continue
            executor.slot.cells[channel.ENDING] = 1.0
            try:
                channel.send(executor.end, channel.DRAIN)
                executor.told_to_end = True
            except BlockingIOError:
                pass  # it hangs: its time is bounded
            except OSError:
                executor.told_to_end = True  # it is dying

    # The end.

    def fail(self, reason):
        """End the server, since its model cannot be served."""
        report(self.settings.root, reason)
        for group in self._all_groups:
            self.front.refuse_waiting(group, 503, "the model cannot be loaded")
        self._exit_code = 1

    def drain(self):
        """End in order: accept nothing, finish what runs."""
        if self._drain_until:
            return
        self._drain_until = time.monotonic() + max(self.settings.drain, QUICK)
        self.front.drain()
        self._continue_drain(time.monotonic())

    def _continue_drain(self, now):
        for group in self._all_groups:
            if not group.executors():
                self.front.refuse_waiting(group, 503, "the server is ending")
            if not group.waiting:
                for process in group.processes:
                    self._tell_to_end(process)
        if not self._processes and not self.front.ending:
            self._exit_code = 0
        elif now >= self._drain_until:
            if self._processes:
                say("%d workers have not finished in %d s and are ended" % (len(self._processes), self.settings.drain))
            self._exit_code = 0


def kill(pid):
    """End a process that may be gone, or hang."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def describe_exit(status):
    """How a process ended, in words."""
    if not os.WIFSIGNALED(status):
        return "exit code %d" % os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    name = signal.Signals(number).name if number in iter(signal.Signals) else str(number)
    return "killed by %s%s" % (name, ", as for want of memory" if number == signal.SIGKILL else "")


def say(text):
    """Tell something to whoever reads the log."""
    try:
        os.write(2, ("stint: %s\n" % text).encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # nobody does


def report(root, reason):
    """Say why the server cannot serve: in the log, and in output/failure for the platform."""
    say(reason)
    path = os.path.join(root, "output", "failure")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(reason[:LONGEST_FAILURE].encode("utf-8", "backslashreplace"))
    except OSError as error:
        say("cannot write %s: %s" % (path, error))
