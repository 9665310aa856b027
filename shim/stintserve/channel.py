"""What master and worker tell each other: messages over a socket, and a page of shared memory.

The page says what a loop does right now and costs nothing to write, which happens twice a
request; a message costs a system call and is for what is seldom. A message is one letter
and the numbers of connections, or text; over SOCK_SEQPACKET it arrives whole or not at all.
"""

import array
import mmap
import socket
import struct

# From the worker.
READY = b"R"  # the model is loaded; text: what the model declares (a JSON object)
FAILED = b"F"  # the model could not be loaded; text: why
CLOSED = b"X"  # these connections are closed
HELD = b"H"  # of these connections part of a request has been taken in
RUNNING = b"B"  # the requests of these connections are with the handler
SENDING = b"S"  # of these connections part of an answer is on its way
CLEAN = b"C"  # of these connections nothing is in hand
RETURNED = b"D"  # these connections are the master's again, with nothing in hand

# From the master.
SERVE = b"N"  # serve this connection; its descriptor comes along
GIVE_BACK = b"G"  # return up to this number of idle connections
DRAIN = b"Q"  # finish what runs, close the rest, end

LONGEST = 64 * 1024
_INTEGER = struct.Struct("=I")


def pair():
    """The two ends of a channel, (master's, worker's)."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end, kind, numbers=(), text="", descriptor=None):
    """Send one message. Raises OSError when the other side is gone."""
    data = kind + (text.encode("utf-8", "replace")[: LONGEST - 1] if text else b"".join(map(_INTEGER.pack, numbers)))
    rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    end.sendmsg([data], rights)


def receive(end):
    """One message: (kind, numbers or text, descriptor or None). Kind is b"" when the other side is gone."""
    # A program that the user's code starts must not inherit a client's connection.
    data, rights, _, _ = end.recvmsg(LONGEST, socket.CMSG_SPACE(_INTEGER.size), socket.MSG_CMSG_CLOEXEC)
    descriptor = None
    for level, kind, payload in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptor = array.array("i", payload[: _INTEGER.size])[0]
    kind = data[:1]
    if kind in (READY, FAILED):
        return kind, data[1:].decode("utf-8", "replace"), descriptor
    return kind, [number for (number,) in _INTEGER.iter_unpack(data[1:])], descriptor


class Slot:
    """The shared page of one loop: which connection it reads or answers, and since when its handler runs."""

    def __init__(self):
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)  # shared with the processes that are forked from this one
        self.cells = memoryview(self._memory).cast("d")

    def close(self):
        """Let the page go."""
        self.cells.release()
        self._memory.close()


# The cells of a slot.
CONNECTION = 0  # the number of the connection in hand, 0 when none
BUSY = 1  # the monotonic clock when the handler began, or last gave a part of its answer; 0 when it does not run
BEGUN = 2  # 1 when part of the answer is on its way
ENDING = 3  # 1, from the master, when the server is to end: a message waits behind a handler that runs
