"""The formats of bodies: JSON, JSON lines, CSV, npy, npz and text, in and out.

Without numpy, JSON and CSV are plain Python values and npy and npz are refused with the
reason. Arrays of pickled objects are refused: reading one runs what the sender wrote.
"""

import io
import json

from .wire import Refused

JSON, JSON_LINES, CSV, TEXT = "application/json", "application/jsonlines", "text/csv", "text/plain"
NPY, NPZ, OCTETS, ANY = "application/x-npy", "application/x-npz", "application/octet-stream", "*/*"

# Bodies that a handler is given as text, as the public toolkits do.
TEXTS = (JSON, CSV)

# A client asked for one of these and means the other.
ALIASES = {"application/x-jsonlines": JSON_LINES, "application/jsonl": JSON_LINES, "application/x-ndjson": JSON_LINES}


class UnsupportedFormat(Refused):
    """A format that is not known here: 415 for what came, 406 for what is asked for."""

    def __init__(self, status, name, known):
        Refused.__init__(self, status, "%r is not supported; supported are %s" % (name, ", ".join(known)))


def media_type(content_type):
    """The type without parameters, as this module knows it."""
    name = content_type.partition(";")[0].strip().lower() if content_type else ""
    return ALIASES.get(name, name)


def accepted(accept):
    """The types of an Accept header, best first."""
    if "," not in accept and ";" not in accept:
        return [media_type(accept)]
    ranked = []
    for position, part in enumerate(accept.split(",")):
        name, *parameters = part.split(";")
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if quality > 0 and name.strip():
            ranked.append((-quality, position, media_type(name)))
    return [name for _, _, name in sorted(ranked)]


def as_text(body):
    """A body as text; 400 when it is not UTF-8."""
    if isinstance(body, str):
        return body
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(400, "the body is not UTF-8: %s" % error)


def numpy_or_none():
    """numpy, where the interpreter has it."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


# What a request's body means.


def decode(body, content_type):
    """A body as plain Python values: what JSON says, rows of CSV, text, bytes; an array for npy."""
    decoders = {
        JSON: _from_json, JSON_LINES: _from_json_lines, CSV: _from_csv, NPY: _from_npy, NPZ: _from_npz,
        TEXT: as_text, OCTETS: bytes,
    }  # fmt: skip
    name = media_type(content_type)
    if name not in decoders:
        raise UnsupportedFormat(415, content_type, decoders)
    return decoders[name](body)


def decode_array(body, content_type):
    """A body as a numpy array; a dictionary of them for npz. CSV has two dimensions, always."""
    decoders = {JSON: _array_from_json, CSV: _array_from_csv, NPY: _from_npy, NPZ: _from_npz}
    name = media_type(content_type)
    if name not in decoders:
        raise UnsupportedFormat(415, content_type, decoders)
    return decoders[name](body)


def _from_json(body):
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is not JSON: %s" % error)


def _from_json_lines(body):
    return [_from_json(line) for line in as_text(body).splitlines() if line.strip()]


def _from_csv(body):
    import csv

    try:
        return [[_cell(cell) for cell in row] for row in csv.reader(io.StringIO(as_text(body))) if row]
    except csv.Error as error:
        raise Refused(400, "the body is not CSV: %s" % error)


def _cell(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _need_numpy(name):
    numpy = numpy_or_none()
    if numpy is None:
        raise Refused(415, "%s needs numpy, which this runtime's Python has not" % name)
    return numpy


def _load(body, name):
    numpy = _need_numpy(name)
    try:
        return numpy.load(io.BytesIO(body), allow_pickle=False)
    except Exception as error:  # a broken file is told in half a dozen kinds of exceptions
        raise Refused(400, "the body is not %s: %s" % (name, error))


def _from_npy(body):
    return _load(body, NPY)


def _from_npz(body):
    loaded = _load(body, NPZ)
    if not hasattr(loaded, "files"):
        return loaded
    try:
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # as above; members are read only now
        raise Refused(400, "the body is not %s: %s" % (NPZ, error))


def _array_from_json(body):
    numpy = _need_numpy("a JSON array")
    try:
        return numpy.array(_from_json(body))
    except ValueError as error:
        raise Refused(400, "the body is not an array: %s" % error)


def _array_from_csv(body):
    numpy = _need_numpy(CSV)
    text = as_text(body)
    try:
        return numpy.loadtxt(io.StringIO(text), delimiter=",", ndmin=2, comments=None)
    except ValueError:
        pass  # a missing value, perhaps: the slow way makes it nan
    try:
        rows = numpy.genfromtxt(io.StringIO(text), delimiter=",", comments=None)
    except ValueError as error:
        raise Refused(400, "the body is not CSV of numbers: %s" % error)
    return rows.reshape(1 if "\n" not in text.strip() else -1, 1) if rows.ndim == 0 else numpy.atleast_2d(rows)


# What a prediction looks like in a response.


def encode(prediction, accept, default):
    """A prediction in the best format that the client accepts: (body, content type)."""
    encoders = {JSON: _to_json, JSON_LINES: _to_json_lines, CSV: _to_csv, NPY: _to_npy, NPZ: _to_npz, TEXT: _to_text}
    wanted = accepted(accept) or [ANY]
    for name in wanted:
        if name in (ANY, "application/*") or name == "":
            name = default
        elif name == "text/*":
            name = CSV
        if name == OCTETS and isinstance(prediction, (bytes, bytearray)):
            return bytes(prediction), OCTETS
        if name in encoders:
            return encoders[name](prediction), name
    raise UnsupportedFormat(406, accept, encoders)


def plain(value):
    """An array, tensor or table as Python values, for json.dumps."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    raise TypeError("a %s cannot be written as JSON; give an output_fn" % type(value).__name__)


def _to_json(value):
    return json.dumps(value, default=plain).encode("utf-8")


def _to_json_lines(value):
    values = value if isinstance(value, (list, tuple)) else _rows(value)
    return "".join(json.dumps(item, default=plain) + "\n" for item in values).encode("utf-8")


def _rows(value):
    """A value as a list of rows."""
    if not isinstance(value, (list, tuple, str, bytes, int, float, dict)) and value is not None:
        value = plain(value)
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _to_csv(value):
    import csv

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in _rows(value):
        if not isinstance(row, (list, tuple, str, int, float)) and hasattr(row, "__len__"):
            row = _rows(row)
        writer.writerow(row if isinstance(row, (list, tuple)) else [row])
    return out.getvalue().encode("utf-8")


def _to_text(value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return (value if isinstance(value, str) else json.dumps(value, default=plain)).encode("utf-8")


def _array(value):
    numpy = _need_numpy(NPY)
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = numpy.asarray(value)
    if array.dtype.hasobject:
        raise Refused(406, "the prediction is not an array of numbers or text, so it cannot be sent as npy")
    return numpy, array


def _to_npy(value):
    numpy, array = _array(value)
    out = io.BytesIO()
    numpy.save(out, array, allow_pickle=False)
    return out.getvalue()


def _to_npz(value):
    numpy = _need_numpy(NPZ)
    items = value.items() if isinstance(value, dict) else [("arr_0", value)]
    out = io.BytesIO()
    numpy.savez(out, **{name: _array(item)[1] for name, item in items})
    return out.getvalue()
