"""JSON for the shim's first milliseconds.

The standard json package imports re, enum and functools: 10 to 15 ms, as much as
the interpreter's own start, and every job waits for it before the user's code
begins. The C scanner and encoder underneath it cost 1 ms and are what it uses
itself, so values and text are the same; an interpreter that lacks them, or has
changed them, gets the package.
"""

_BLANK = " \t\n\r"


class _Plain:
    """The settings json.loads gives its scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__
    memo = {}


try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    _scan = make_scanner(_Plain)
    _encode = make_encoder({}, None, encode_basestring_ascii, None, ":", ",", True, False, True)
    if "".join(_encode({"b": [1, True], "a": None}, 0)) != '{"a":null,"b":[1,true]}':
        raise TypeError("the C encoder has changed")
except (ImportError, TypeError):
    _scan = _encode = None


def loads(text):
    """Like json.loads for str: the value, or ValueError when text is not JSON."""
    if _scan is not None:
        body = text.strip(_BLANK)
        try:
            value, end = _scan(body, 0)
        except StopIteration:
            raise ValueError("no JSON value")
        except SystemError:
            # Broken JSON: the scanner wants to raise the package's error, and has none
            # as long as the package is not loaded. Let it find the words.
            pass
        else:
            if end != len(body):
                raise ValueError("more text after the JSON value, at character %d" % end)
            return value
    import json

    return json.loads(text)


def dumps(value):
    """Like json.dumps with sorted keys, no blanks and only ASCII characters."""
    if _encode is None:
        import json

        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return "".join(_encode(value, 0))
