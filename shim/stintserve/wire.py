"""HTTP/1.1 as a server speaks it: requests out of bytes, and bytes of responses.

No sockets here. What is ambiguous is refused rather than guessed (two lengths, a folded
line, blanks before a colon): a proxy in front may have guessed otherwise.
"""

LONGEST_HEAD = 64 * 1024

PHRASES = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
    400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
    408: "Request Timeout", 409: "Conflict", 411: "Length Required", 413: "Content Too Large",
    415: "Unsupported Media Type", 422: "Unprocessable Content", 424: "Failed Dependency", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
    503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported", 507: "Insufficient Storage",
}  # fmt: skip

# Headers of an answer that was given instead of a handler's, for a request that none has
# seen: whoever stands before this server may send it again, here or elsewhere.
UNPROCESSED = {"Retry-After": "1", "X-Stint-Unprocessed": "1"}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

# Lengths of a response's body that is not known before it ends.
IN_CHUNKS, TO_THE_END = -1, -2

WITHOUT_BODY = (204, 304)

# What the framing of a response says; a handler cannot.
_FRAMING = frozenset(("connection", "content-length", "transfer-encoding", "content-type", "keep-alive", "upgrade", "trailer"))

_DIGITS = frozenset("0123456789")
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Refused(Exception):
    """A request that gets an answer other than success; the message is for the client."""

    def __init__(self, status, message):
        Exception.__init__(self, message)
        self.status = status


class Request:
    """One request. Names of headers are in lower case; values are text."""

    __slots__ = ("method", "path", "query", "headers", "body", "keep_alive", "chunks_allowed")

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/"):
            raise Refused(400, "not an HTTP request: %.80r" % lines[0])
        self.method, target, version = words
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise Refused(505, "%s is not spoken here" % version)
        self.path, _, self.query = target.partition("?")
        self.headers = headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or not _TOKEN.issuperset(name):
                raise Refused(400, "not a header: %.80r" % line)
            name, value = name.lower(), value.strip(" \t")
            headers[name] = headers[name] + ", " + value if name in headers else value
        self.chunks_allowed = version == "HTTP/1.1"
        said = headers.get("connection", "").lower()
        self.keep_alive = "close" not in said if self.chunks_allowed else "keep-alive" in said
        self.body = b""

    def length(self):
        """Bytes of the body; None when it comes in chunks."""
        headers = self.headers
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None:
            if length is not None:
                raise Refused(400, "a request has a Content-Length or a Transfer-Encoding, not both")
            if coding.lower() != "chunked":
                raise Refused(501, "the transfer encoding %r is not known here" % coding)
            return None
        if length is None:
            return 0
        if not length or len(length) > 18 or not _DIGITS.issuperset(length):
            raise Refused(400, "the Content-Length %.80r is not a number" % length)
        return int(length)


class Reader:
    """Makes requests of what one connection sends, a request at a time."""

    __slots__ = ("_limit", "_buffer", "_request", "_need", "_body", "_searched", "expects")

    def __init__(self, limit):
        self._limit = limit  # of a body, in bytes; 0 is none
        self._buffer = b""
        self._reset()

    def _reset(self):
        self._request = None
        self._need = 0  # bytes of the body, or None when it comes in chunks
        self._body = None  # what has come of a body in chunks
        self._searched = 0
        self.expects = False  # the client waits for "100 Continue" before it sends the body

    @property
    def started(self):
        """Whether part of a request has come."""
        return self._request is not None or len(self._buffer) > 0

    def feed(self, data):
        """Take in data; returns the next whole request, or None as long as there is none."""
        if self._buffer:
            if not isinstance(self._buffer, bytearray):
                self._buffer = bytearray(self._buffer)
            self._buffer += data
        else:
            self._buffer = data
        request = self._request
        if request is None:
            request = self._head()
            if request is None:
                return None
        if self._need is None:
            body = self._chunks()
        else:
            body = self._take(self._need) if len(self._buffer) >= self._need else None
        if body is None:
            return None
        request.body = body
        self._reset()
        return request

    def _head(self):
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0 or end > LONGEST_HEAD:
            if len(buffer) > LONGEST_HEAD:
                raise Refused(431, "the head of the request is longer than %d bytes" % LONGEST_HEAD)
            self._searched = max(0, len(buffer) - 3)
            return None
        request = Request(bytes(buffer[:end]))
        self._need = request.length()
        self._check(self._need or 0)
        self._buffer = buffer[end + 4 :]
        if self._need is None:
            self._body = bytearray()
        self.expects = "expect" in request.headers and request.headers["expect"].lower() == "100-continue"
        self._request = request
        return request

    def _check(self, size):
        if self._limit and size > self._limit:
            raise Refused(413, "the body is larger than the %d bytes that are allowed" % self._limit)

    def _take(self, size):
        buffer = self._buffer
        if len(buffer) == size and isinstance(buffer, bytes):  # nearly always: it came in one piece
            self._buffer = b""
            return buffer
        self._buffer = bytes(buffer[size:])
        with memoryview(buffer) as view:
            return bytes(view[:size])

    def _chunks(self):
        """The body when its last chunk has come."""
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                if len(self._buffer) > 1024:
                    raise Refused(400, "a chunk's size is longer than 1024 bytes")
                return None
            line = bytes(self._buffer[:end]).partition(b";")[0].strip()
            try:
                size = int(line, 16) if line.isalnum() and len(line) <= 15 else -1
            except ValueError:
                size = -1
            if size < 0:
                raise Refused(400, "a chunk's size is not a number: %.80r" % line.decode("latin-1"))
            if size == 0:
                return self._trailer(end)
            self._check(len(self._body) + size)
            if len(self._buffer) < end + 2 + size + 2:
                return None
            if self._buffer[end + 2 + size : end + 4 + size] != b"\r\n":
                raise Refused(400, "a chunk is longer than its size")
            self._body += self._buffer[end + 2 : end + 2 + size]
            self._buffer = self._buffer[end + 4 + size :]

    def _trailer(self, start):
        """The whole body when the trailer after its last chunk has come; fields in it are dropped."""
        if self._buffer[start + 2 : start + 4] == b"\r\n":
            end = start
        else:
            end = self._buffer.find(b"\r\n\r\n", start + 2)
            if end < 0:
                if len(self._buffer) > LONGEST_HEAD:
                    raise Refused(431, "the trailer of the request is longer than %d bytes" % LONGEST_HEAD)
                return None
        self._buffer = self._buffer[end + 4 :]
        return bytes(self._body)


def status_line(status):
    """The first line of a response."""
    return ("HTTP/1.1 %d %s\r\n" % (status, PHRASES.get(status, "Status"))).encode("ascii")


_OK = status_line(200)


def header(name, value):
    """One header line. Line breaks in it would begin another, so they become blanks."""
    text = "%s: %s" % (name, value)
    if "\r" in text or "\n" in text:
        text = text.replace("\r", " ").replace("\n", " ")
    return text.encode("latin-1", "replace") + b"\r\n"


def response_head(status, content_type, length, keep_alive=True, headers=None):
    """The head of a response; length is of the body, or IN_CHUNKS or TO_THE_END of the connection."""
    head = _OK if status == 200 else status_line(status)
    if content_type:
        head += header("Content-Type", content_type)
    if headers:
        for name, value in headers.items():
            if name.lower() not in _FRAMING and _TOKEN.issuperset(name):
                head += header(name, value)
    if length >= 0:
        head += b"Content-Length: %d\r\n" % length
    elif length == IN_CHUNKS:
        head += b"Transfer-Encoding: chunked\r\n"
    return head + (b"\r\n" if keep_alive else b"Connection: close\r\n\r\n")


def response(status, body, content_type="application/json", keep_alive=True, headers=None):
    """A whole response."""
    return response_head(status, content_type if body else None, len(body), keep_alive, headers) + body


def problem(status, message, keep_alive=True, headers=None):
    """The answer that says what went wrong, as JSON."""
    import json

    return response(status, json.dumps({"error": message}).encode("ascii"), keep_alive=keep_alive, headers=headers)


def chunk(data):
    """One chunk of a body in chunks; empty data is none, since an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
