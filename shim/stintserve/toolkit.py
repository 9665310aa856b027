"""The names that inference scripts import from the public inference toolkit, where it is not installed.

Scripts written for the vendor's containers say "from sagemaker_inference import decoder,
encoder, content_types, errors". What they use of it is a few functions over formats that
this server has anyway. A real installation comes first: this one is asked last.
"""

import importlib.machinery
import sys
import types

from . import codecs

PACKAGE = "sagemaker_inference"


class InferenceError(Exception):
    """The base of the toolkit's errors: the answer's status, message and phrase."""

    def __init__(self, status_code, message, phrase=""):
        Exception.__init__(self, message)
        self.status_code, self.message, self.phrase = status_code, message, phrase


class UnsupportedFormatError(InferenceError):
    """A content type that the program does not take."""

    def __init__(self, content_type, **_):
        InferenceError.__init__(self, 415, "Content type %s is not supported by this framework." % content_type, "Unsupported Media Type")


def decode(obj, content_type):
    """A body as a numpy array; as in the toolkit a single row or column of CSV has one dimension."""
    try:
        array = codecs.decode_array(obj, content_type)
    except codecs.UnsupportedFormat:
        raise UnsupportedFormatError(content_type)
    return array.squeeze() if codecs.media_type(content_type) == codecs.CSV else array


def encode(array_like, content_type):
    """An array as bytes of npy, or text of JSON or CSV."""
    try:
        body, name = codecs.encode(array_like, content_type, codecs.JSON)
    except codecs.UnsupportedFormat:
        raise UnsupportedFormatError(content_type)
    return body.decode("utf-8") if name in codecs.TEXTS else body


_MEMBERS = {
    "content_types": {
        "JSON": codecs.JSON, "CSV": codecs.CSV, "NPY": codecs.NPY, "NPZ": codecs.NPZ, "OCTET_STREAM": codecs.OCTETS, "ANY": codecs.ANY,
        "UTF8_TYPES": list(codecs.TEXTS),
    },
    "decoder": {"decode": decode},
    "encoder": {"encode": encode, "SUPPORTED_CONTENT_TYPES": {codecs.JSON, codecs.CSV, codecs.NPY}},
    "errors": {
        "BaseInferenceToolkitError": InferenceError, "GenericInferenceToolkitError": InferenceError,
        "UnsupportedFormatError": UnsupportedFormatError,
    },
}  # fmt: skip


class Finder:
    """Finds the package and its modules when nobody else has."""

    def find_spec(self, name, _path=None, _target=None):
        """The import system's question."""
        package, _, member = name.partition(".")
        if package != PACKAGE or member and member not in _MEMBERS:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=not member)

    def create_module(self, spec):
        """An empty module."""
        return types.ModuleType(spec.name)

    def exec_module(self, module):
        """Fill a module."""
        member = module.__name__.partition(".")[2]
        if member:
            vars(module).update(_MEMBERS[member])


def offer():
    """Make the names importable."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
