"""What the environment of the container says, read once and checked.

The SAGEMAKER_* variables are those of the public inference toolkits; the STINT_* ones
are for what those leave open. README of the platform lists them; so does main.USAGE.
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
        if self.multi_model or not submitted:
            return own
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
