"""What the environment of the container says, read once and checked.

Of the public inference toolkits:

    SAGEMAKER_PROGRAM                    the program, relative to the code directory (inference.py)
    SAGEMAKER_SUBMIT_DIRECTORY           the code directory (model/code); of an archive elsewhere: code, unpacked
    SAGEMAKER_BIND_TO_PORT               8080; 0 is any that is free, which the log tells
    SAGEMAKER_MODEL_SERVER_WORKERS       worker processes (the GPUs, else the CPUs; 1 for many models and for batches)
    SAGEMAKER_MODEL_SERVER_TIMEOUT       seconds that a handler may take before its worker is ended (60)
    SAGEMAKER_MULTI_MODEL                models come and go through /models (false)
    SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT the format of answers to clients that ask for none (JSON)
    SAGEMAKER_MAX_PAYLOAD_IN_MB          largest body (100; 0 is without limit)
    SAGEMAKER_BATCH                      set by a batch transform
    SAGEMAKER_CONTAINER_LOG_LEVEL        of Python's logging (20)

Of this server:

    STINT_BIND_ADDRESS      where it listens (127.0.0.1)
    STINT_NUM_CPUS          processors that it may use (the machine's)
    STINT_WORKER_THREADS    threads of a worker that answer requests, sharing its model (1)
    STINT_PRELOAD_MODEL     load the model once and fork the workers then (false). It saves memory, and breaks
                            libraries whose threads do not survive a fork: OpenMP, CUDA; so it is for the asking
    STINT_BATCH_SIZE        inputs that predict_fn takes at once (0: one, not in a list)
    STINT_BATCH_DELAY_MS    how long a batch that is not full waits for more (5)
    STINT_BATCH_QUEUE       requests that may wait for a batch (8 batches)
    STINT_MAX_CONNECTIONS   open connections, above which new ones are told 503 (1000)
    STINT_MAX_WAITING       connections that wait for a worker, likewise (100)
    STINT_DRAIN_SECONDS     how long what runs may take to finish after SIGTERM (25)
"""

import os

DEFAULT_ROOT = "/opt/ml"
DEFAULT_PROGRAM = "inference.py"
MEBIBYTE = 1024 * 1024

INFO = 20


class SettingsError(Exception):
    """A variable that cannot be used; the message names it."""


class Settings:
    """The settings of one model server."""

    def __init__(self, environ, root=DEFAULT_ROOT, framework=""):
        self.environ = environ
        self.root = root
        self.framework = framework
        self.model_dir = os.path.join(root, "model")
        self.multi_model = _flag(environ, "SAGEMAKER_MULTI_MODEL")
        self.preload = _flag(environ, "STINT_PRELOAD_MODEL")
        self.batch_transform = _flag(environ, "SAGEMAKER_BATCH")

        self.host = environ.get("STINT_BIND_ADDRESS") or "127.0.0.1"
        self.port = _number(environ, "SAGEMAKER_BIND_TO_PORT", 8080, 0, 65535)
        self.timeout = _number(environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT", 60, 1, 86400)
        self.drain = _number(environ, "STINT_DRAIN_SECONDS", 25, 0, 3600)
        self.max_connections = _number(environ, "STINT_MAX_CONNECTIONS", 1000, 1, 100000)
        self.max_waiting = _number(environ, "STINT_MAX_WAITING", 100, 0, 100000)
        self.max_body = _number(environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 100, 0, 100000) * MEBIBYTE
        self.default_accept = environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "")
        self.log_level = _number(environ, "SAGEMAKER_CONTAINER_LOG_LEVEL", INFO, 0, 100)

        self.batch_size = _number(environ, "STINT_BATCH_SIZE", 0, 0, 100000)
        self.batch_delay_ms = _number(environ, "STINT_BATCH_DELAY_MS", -1, -1, 60000)
        self.batch_queue = _number(environ, "STINT_BATCH_QUEUE", 0, 0, 1000000)

        self.cpus = _number(environ, "STINT_NUM_CPUS", os.cpu_count() or 1, 1, 100000)
        self.gpus = count_gpus()
        self.threads = _number(environ, "STINT_WORKER_THREADS", 1, 1, 1000)
        self.workers = _number(environ, "SAGEMAKER_MODEL_SERVER_WORKERS", self._usual_workers(), 1, 1000)

    def _usual_workers(self):
        """One for each GPU, else for each CPU; one in all where more would be a waste.

        A model of many is loaded beside others and may never be asked. One that takes
        batches takes larger ones when a single worker sees every request.
        """
        if self.multi_model or self.batch_size > 1:
            return 1
        return self.gpus or self.cpus

    def code_dir(self, model_dir):
        """Where the user's program of a model is."""
        submitted = self.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
        own = os.path.join(model_dir, "code")
        if not submitted or (self.multi_model and os.path.isdir(own)):
            return own  # of many models, each may have code of its own; the others share what is submitted
        if "://" in submitted and not submitted.startswith("file://"):
            # An archive somewhere else: whoever started the server has unpacked it beside
            # the model, as before a training, or into it.
            unpacked = os.path.join(self.root, "code")
            return unpacked if os.path.isdir(unpacked) else own
        if submitted.startswith("file://"):
            submitted = submitted[len("file://") :]
        if submitted == DEFAULT_ROOT or submitted.startswith(DEFAULT_ROOT + "/"):
            submitted = self.root + submitted[len(DEFAULT_ROOT) :]
        return submitted

    def program(self, model_dir):
        """The path of a model's program, or "" when it has none and need not have one."""
        name = self.environ.get("SAGEMAKER_PROGRAM", "")
        path = os.path.join(self.code_dir(model_dir), name or DEFAULT_PROGRAM)
        return path if name or os.path.isfile(path) else ""


def _flag(environ, name):
    text = environ.get(name, "").strip().lower()
    if text in ("", "0", "false", "no", "off"):
        return False
    if text in ("1", "true", "yes", "on"):
        return True
    raise SettingsError("%s is %r; it has to be true or false" % (name, environ[name]))


def _number(environ, name, default, least, most):
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise SettingsError("%s is %r; it has to be a whole number from %d to %d" % (name, environ[name], least, most))
    return value


def count_gpus():
    """The NVIDIA devices that this process can see; asking nvidia-smi takes a second."""
    try:
        names = os.listdir("/dev")
    except OSError:
        return 0
    return sum(1 for name in names if name.startswith("nvidia") and name[6:].isdigit())
