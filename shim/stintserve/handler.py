"""A model and the functions around it: the user's, and the framework's where there are none.

The functions are those of the public toolkits: model_fn(model_dir), input_fn(body,
content_type), predict_fn(data, model), output_fn(prediction, accept), or transform_fn(model,
body, content_type, accept) in place of the last three. Each may take the context as one
more argument.
"""

import importlib.util
import inspect
import os
import sys

from . import codecs, frameworks, toolkit
from .wire import Refused

LONGEST_REASON = 900  # of the 1,024 characters that a failure's reason may have


class LoadError(Exception):
    """A model that cannot be loaded, in the words for its owner. The cause is the user's exception, if there is one."""


class Answer:
    """What a handler answers: a body of bytes, or an iterator of its parts."""

    __slots__ = ("status", "content_type", "body", "headers")

    def __init__(self, status, content_type, body, headers):
        self.status = status
        self.content_type = content_type
        self.body = body
        self.headers = headers


class Context:
    """What a function that asks for it learns of its request, and says of the answer.

    It has the members of the public model server's context that inference scripts use,
    for one request: an index is accepted where that one wants it, and is always 0.
    """

    def __init__(self, system_properties, headers):
        self.system_properties = system_properties
        self.manifest = {}
        self.request_processor = [self]
        self.status = 200
        self.content_type = None
        self.response_headers = {}
        self._headers = headers

    def get_request_header(self, *index_and_name):
        """The value of a request's header, whatever its case; None when there is none."""
        return self._headers.get(index_and_name[-1].lower())

    def get_all_request_header(self, _index=0):
        """All headers of the request, by their names in lower case."""
        return dict(self._headers)

    def get_request_properties(self):
        """The same, under the request processor's name for it."""
        return dict(self._headers)

    def get_request_property(self, name):
        """One header, under the request processor's name for it."""
        return self._headers.get(name.lower())

    def get_request_id(self, _index=0):
        """The caller's own name for the request."""
        return self._headers.get("x-amzn-sagemaker-inference-id")

    def set_response_status(self, code=200, phrase="", idx=0):  # noqa: ARG002 (the public signature)
        """Answer with this status instead of 200."""
        self.status = int(code)

    set_http_response_status = report_status = set_response_status

    def set_response_content_type(self, *index_and_value):
        """Answer with this content type."""
        self.content_type = index_and_value[-1]

    def set_response_header(self, *index_name_value):
        """Add a header to the answer."""
        self.response_headers[str(index_name_value[-2])] = str(index_name_value[-1])

    add_response_property = set_response_header


class _Function:
    """One function of the chain, called with the context if it takes one more argument than the contract gives."""

    def __init__(self, name, function, count):
        self.call = function
        self.with_context = False
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return  # a built-in function that does not say: the contract's arguments
        places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        required = [p for p in places if p.default is p.empty]
        if any(p.kind == p.VAR_POSITIONAL for p in parameters) and len(required) <= count:
            return
        self.with_context = len(places) == count + 1 or len(required) == count + 1
        if len(required) > count + 1 or len(places) < count:
            raise LoadError("%s has to take %d arguments, or %d with the context; it takes %d" % (name, count, count + 1, len(places)))


class Handler:
    """One model, loaded, and how it answers."""

    def __init__(self, settings, model_dir, place=0):
        self._settings = settings
        self._model_dir = model_dir
        gpu = place % settings.gpus if settings.gpus else None
        self._properties = {"model_dir": model_dir, "gpu_id": gpu, "batch_size": 1}
        self._model = None
        self.batch_size = settings.batch_size
        self.batch_delay_ms = settings.batch_delay_ms
        self.batch_queue = settings.batch_queue

    def load(self):
        """Import the user's program and load the model. Raises LoadError with the reason."""
        settings = self._settings
        program = settings.program(self._model_dir)
        self._framework = frameworks.find(settings, bool(program))
        user = _import(settings.code_dir(self._model_dir), program) if program else None
        self._bind(user)
        self._declare(user)
        context = Context(self._properties, {})
        arguments = [self._model_dir] + ([context] if self._model_fn.with_context else [])
        try:
            self._model = self._model_fn.call(*arguments)
        except frameworks.NoModelFunction as error:
            raise LoadError(str(error))
        except BaseException as error:
            raise LoadError("model_fn failed: " + describe(error)) from error

    def _bind(self, user):
        framework = self._framework
        defaults = {
            "model_fn": (framework.load, 1), "input_fn": (framework.decode, 2), "predict_fn": (framework.predict, 2),
            "output_fn": (framework.encode, 2), "transform_fn": (None, 4),
        }  # fmt: skip
        given = {name for name in defaults if callable(getattr(user, name, None))}
        if "transform_fn" in given and given & {"input_fn", "predict_fn", "output_fn"}:
            raise LoadError("transform_fn cannot be used together with input_fn, predict_fn or output_fn")
        for name, (default, count) in defaults.items():
            function = getattr(user, name) if name in given else default
            setattr(self, "_" + name, _Function(name, function, count) if function else None)
        chain = [self._transform_fn] if self._transform_fn else [self._input_fn, self._predict_fn, self._output_fn]
        self._wants_context = any(function.with_context for function in chain)
        parameters = getattr(user, "execution_parameters_fn", None)
        self._execution_parameters = parameters if callable(parameters) else None

    def _declare(self, user):
        """Batching may also be declared by the program, in module attributes of the variables' names."""
        for name in ("batch_size", "batch_delay_ms", "batch_queue"):
            said = getattr(user, "STINT_" + name.upper(), None)
            if said is None or getattr(self._settings, name) != (-1 if name == "batch_delay_ms" else 0):
                continue
            if not isinstance(said, int) or said < 0:
                raise LoadError("STINT_%s is %r; it has to be a whole number" % (name.upper(), said))
            setattr(self, name, said)
        if self.batch_delay_ms < 0:
            self.batch_delay_ms = 5
        self.batch_queue = max(self.batch_queue or 8 * self.batch_size, self.batch_size)
        if self.batching and self._transform_fn:
            raise LoadError("a model that takes batches is asked through predict_fn; it cannot have a transform_fn")
        self._properties["batch_size"] = max(1, self.batch_size)

    @property
    def batching(self):
        """Whether predict_fn is given a list of inputs."""
        return self.batch_size > 1

    def answer(self, request):
        """The answer to one request. What goes wrong is raised: Refused, or whatever the user's code raises."""
        body, content_type, accept = self._told(request)
        if self._transform_fn is None and not self._wants_context:  # nearly always
            data = self._input_fn.call(body, content_type)
            return self._answer(self._output_fn, self._predict_fn.call(data, self._model), accept, None)
        context = Context(self._properties, request.headers)
        if self._transform_fn is None:
            data = _call(self._input_fn, (body, content_type), context)
            prediction = _call(self._predict_fn, (data, self._model), context)
            return self._answer(self._output_fn, prediction, accept, context)
        return self._packed(_call(self._transform_fn, (self._model, body, content_type, accept), context), accept, context)

    def decode(self, request):
        """For a batch: (what input_fn makes of a request, its context)."""
        body, content_type, _ = self._told(request)
        context = Context(self._properties, request.headers)
        return _call(self._input_fn, (body, content_type), context), context

    def predict(self, inputs, contexts):
        """For a batch: one prediction for each input. predict_fn is given the list, and the list of contexts."""
        predictions = _call(self._predict_fn, (inputs, self._model), contexts)
        if not hasattr(predictions, "__len__") or len(predictions) != len(inputs):
            raise TypeError("predict_fn was given a batch of %d and has to return as many predictions" % len(inputs))
        return predictions

    def encode(self, request, prediction, context):
        """For a batch: the answer to one of its requests."""
        return self._answer(self._output_fn, prediction, self._told(request)[2], context)

    def execution_parameters(self):
        """What a batch transform asks before it starts, as JSON."""
        settings = self._settings
        if self._execution_parameters:
            said = self._execution_parameters()
        else:
            said = {
                "MaxConcurrentTransforms": settings.workers * settings.threads * max(1, self.batch_size),
                "BatchStrategy": "MULTI_RECORD",
                "MaxPayloadInMB": min(settings.max_body // (1024 * 1024), 100) or 100,
            }
        return said if isinstance(said, (bytes, str)) else codecs.encode(said, codecs.JSON, codecs.JSON)[0]

    def _told(self, request):
        """(body, content type, accept) as the functions are given them."""
        headers, body = request.headers, request.body
        content_type = headers.get("content-type") or self._framework.default_content_type
        if content_type in codecs.TEXTS or codecs.media_type(content_type) in codecs.TEXTS:
            body = codecs.as_text(body)
        accept = headers.get("accept")
        if not accept or accept == codecs.ANY:
            accept = self._settings.default_accept or self._framework.default_accept
        return body, content_type, accept

    def _answer(self, function, prediction, accept, context):
        if hasattr(prediction, "__next__") and function.call == self._framework.encode:
            return self._packed(prediction, accept, context)  # a stream has no encoding but its own
        return self._packed(_call(function, (prediction, accept), context), accept, context)

    def _packed(self, result, accept, context):
        """What a function returned, as an answer: a body, or a body and its content type."""
        content_type = accept
        if isinstance(result, tuple) and len(result) == 2:
            result, content_type = result
        if isinstance(result, str):
            result = result.encode("utf-8")
        elif isinstance(result, (bytearray, memoryview)):
            result = bytes(result)
        elif not isinstance(result, bytes) and not hasattr(result, "__next__"):
            what = "transform_fn" if self._transform_fn else "output_fn"
            raise TypeError("%s returned a %s; it has to return bytes, text, or an iterator of them" % (what, type(result).__name__))
        if context is None or isinstance(context, list):
            return Answer(200, content_type, result, None)
        return Answer(context.status, context.content_type or content_type, result, context.response_headers)


def _call(function, arguments, context):
    return function.call(*arguments, context) if function.with_context else function.call(*arguments)


def refusal(error):
    """(status, message) of an exception that a request's answer raised; the traceback is for the log.

    An exception may name its status itself: an attribute status_code (or status) from 400
    to 599. The public toolkits' exception for a format is known by its name.
    """
    if isinstance(error, Refused):
        return error.status, str(error)
    status = getattr(error, "status_code", getattr(error, "status", None))
    if not isinstance(status, int) or not 400 <= status <= 599:
        status = 415 if type(error).__name__ == "UnsupportedFormatError" else 500
    return status, str(error) or type(error).__name__


def describe(error):
    """An exception on one line, then where it was raised, innermost first: for a failure's reason."""
    import traceback

    kind = type(error)
    name = kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else kind.__module__ + "." + kind.__qualname__
    lines = ["%s: %s" % (name, error) if str(error) else name]
    # The user's own code says more than the library that it called last.
    others = ("<", os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.__file__))
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(others) and "/site-packages/" not in f.filename]
    for frame in reversed((own or frames)[-3:]):
        lines.append('  File "%s", line %s, in %s' % (frame.filename, frame.lineno, frame.name))
    return "\n".join(lines)[:LONGEST_REASON]


def _import(code_dir, program):
    """The user's program as a module. Its folder and the code directory are on the path."""
    if not os.path.isfile(program):
        held = ", ".join(sorted(os.listdir(code_dir))) if os.path.isdir(code_dir) else "nothing"
        raise LoadError("the program %s does not exist; %s holds %s" % (program, code_dir, held or "nothing"))
    toolkit.offer()
    for folder in (code_dir, os.path.dirname(program)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    name = os.path.splitext(os.path.basename(program))[0]
    spec = importlib.util.spec_from_file_location(name, program)
    if spec is None or spec.loader is None:
        raise LoadError("%s is not a Python program" % program)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, as an import does: a pickle may name it
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise LoadError("%s cannot be imported: %s" % (os.path.basename(program), describe(error))) from error
    return module
