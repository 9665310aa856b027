"""HTTP/1.1 and the formats, without a server: whatever the pieces, the same requests."""

import os
import random
import sys
import unittest

from harness import PROGRAM

sys.path.insert(0, os.path.dirname(PROGRAM))

from stintserve import codecs, wire  # noqa: E402
from stintserve.wire import Refused  # noqa: E402


def chunked(rng, body):
    """A body in chunks of random sizes."""
    out = b""
    while body:
        size = rng.randint(1, len(body))
        out, body = out + b"%x%b\r\n%b\r\n" % (size, rng.choice([b"", b";ext=1"]), body[:size]), body[size:]
    return out + b"0\r\n" + rng.choice([b"", b"Trailer: x\r\n"]) + b"\r\n"


def some_request(rng):
    """(bytes, path, body) of a random request."""
    body = bytes(rng.randrange(256) for _ in range(rng.choice([0, 1, 5, 300])))
    path = "/" + "x" * rng.randint(0, 9)
    if rng.random() < 0.5:
        return b"POST %b?q HTTP/1.1\r\nA: b\r\nTransfer-Encoding: Chunked\r\n\r\n%b" % (path.encode(), chunked(rng, body)), path, body
    return b"POST %b HTTP/1.1\r\nContent-Length: %d\r\nA:b\r\n\r\n%b" % (path.encode(), len(body), body), path, body


def read(pieces, limit=0):
    """All requests that a reader makes of the pieces."""
    reader, found = wire.Reader(limit), []
    for piece in pieces:
        request = reader.feed(piece)
        while request is not None:
            found.append(request)
            request = reader.feed(b"")
    return reader, found


class Reading(unittest.TestCase):
    def test_the_pieces_make_no_difference(self):
        rng = random.Random(11)
        for _ in range(300):
            wanted = [some_request(rng) for _ in range(rng.randint(1, 4))]
            data = b"".join(text for text, _, _ in wanted)
            cuts = sorted(rng.randrange(len(data)) for _ in range(rng.randint(0, 30)))
            reader, found = read([data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])])
            self.assertEqual([(r.path, r.body) for r in found], [(path, body) for _, path, body in wanted])
            self.assertTrue(all(type(r.body) is bytes and r.headers["a"] == "b" for r in found))
            self.assertFalse(reader.started)

    def test_nonsense_is_refused_and_nothing_worse(self):
        rng = random.Random(12)
        for _ in range(3000):
            data = bytearray(some_request(rng)[0])
            for _ in range(rng.randint(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            try:
                read([bytes(data)], 1000)
            except Refused as refused:
                self.assertTrue(400 <= refused.status < 600)

    def test_bodies_have_a_limit_whatever_their_form(self):
        for head in (b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\n", b"Transfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n5\r\n"):
            with self.assertRaises(Refused) as caught:
                read([b"POST / HTTP/1.1\r\n" + head], 10)
            self.assertEqual(caught.exception.status, 413)
        self.assertEqual(read([b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789"], 10)[1][0].body, b"0123456789")


class Formats(unittest.TestCase):
    def test_the_best_format_that_is_accepted_comes_first(self):
        for accept, want in (
            ("text/csv", ["text/csv"]),
            ("Text/CSV; charset=utf-8", ["text/csv"]),
            ("a/b, c/d", ["a/b", "c/d"]),
            ("a/b;q=0.1, c/d;q=0.9, e/f", ["e/f", "c/d", "a/b"]),
            ("a/b;q=0, c/d", ["c/d"]),
            ("a/b;q=x, c/d", ["c/d"]),
        ):
            self.assertEqual(codecs.accepted(accept), want, accept)

    def test_plain_values_in_and_out(self):
        for content_type, body, want in (
            ("application/json", b'{"a": [1, null]}', {"a": [1, None]}),
            ("application/jsonlines", b'{"a": 1}\n\n[2]\n', [{"a": 1}, [2]]),
            ("application/x-jsonlines", b"1\n", [1]),
            ("text/csv", b'1,2.5,x\n"a,b",,3\n', [[1, 2.5, "x"], ["a,b", "", 3]]),
            ("text/plain; charset=utf-8", "é".encode(), "é"),
            ("application/octet-stream", b"\xff", b"\xff"),
        ):
            self.assertEqual(codecs.decode(body, content_type), want, content_type)
        for value, accept, want in (
            ({"a": (1, {2})}, "application/json", b'{"a": [1, [2]]}'),
            ([1, "a"], "application/jsonlines", b'1\n"a"\n'),
            ([[1, "a,b"], [2, "c"]], "text/csv", b'1,"a,b"\n2,c\n'),
            ([1, 2], "text/csv", b"1\n2\n"),
            (7, "text/csv", b"7\n"),
            ("é", "text/plain", "é".encode()),
            ([1], "image/png, */*;q=0.1", b"[1]"),
            (b"\xff", "application/octet-stream", b"\xff"),
        ):
            self.assertEqual(codecs.encode(value, accept, codecs.JSON)[0], want, (value, accept))
        with self.assertRaises(TypeError):
            codecs.encode(object(), "application/json", codecs.JSON)

    def test_arrays_without_numpy_say_what_is_missing(self):
        if codecs.numpy_or_none() is None:
            with self.assertRaises(Refused) as caught:
                codecs.decode(b"", codecs.NPY)
            self.assertEqual((caught.exception.status, str(caught.exception)), (415, "application/x-npy needs numpy, which this runtime's Python has not"))
