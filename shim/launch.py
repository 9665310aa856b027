"""The user's process: which command runs the entry point, and its life.

The child inherits the shim's own descriptors, so not one byte of its output passes
through Python, and stdout and stderr stay in the order the child wrote them.
"""

# The C half of the signal module: the other half imports enum, 5 to 10 ms.
import _signal as signal
import os

from jobenv import JobError, to_bytes

# FailureReason is the failure file's first 1,024 characters, and the error message
# comes before the command: it gets a part of them only.
LONGEST_MESSAGE = 640

PYTHON, PACKAGE, COMMAND = "python", "package", "command"

# Ways of sharing a job that need libraries only the vendor's images have.
UNSUPPORTED = (
    "sagemaker_distributed_dataparallel_enabled",
    "sagemaker_pytorch_ddp_enabled",
    "sagemaker_pytorch_xla_multi_worker_enabled",
)

# Signals a stop or an owner may send. SIGTERM and SIGINT ask the job to end.
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ENDING = (signal.SIGTERM, signal.SIGINT)

# Python ignores these; a child expects them as the system has them.
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


class CommandError(JobError):
    """A command failed. As text it has the toolkit's form of a failure file."""

    def __init__(self, kind, code, message, command, extra=""):
        lines = [kind + ":", "ExitCode %d" % code, 'ErrorMessage "%s"' % message[:LONGEST_MESSAGE]]
        if extra:
            lines.append('ExtraInfo "%s"' % extra)
        JobError.__init__(self, "\n".join(lines + ['Command "%s"' % " ".join(command)]))


def entry_kind(code_dir, program):
    """How an entry point runs, by the toolkit's rules."""
    if program.endswith(".sh"):
        return COMMAND
    if os.path.exists(os.path.join(code_dir, "setup.py")):
        return PACKAGE
    return PYTHON if program.endswith(".py") else COMMAND


def check_entry_point(code_dir, program):
    """Raise JobError unless program names something to run inside code_dir."""
    if not isinstance(program, str) or not program:
        raise JobError(
            'no entry point: set the hyperparameter "sagemaker_program" (entry_point in the SDK) '
            "to the script to run, relative to the source directory"
        )
    parts = program.split("/")
    if program[0] in "/-" or ".." in parts or not program.isprintable():
        raise JobError(
            "the entry point %r is not usable: name a file inside the source directory, "
            'for example "train.py" or "bin/train.sh"' % program
        )
    kind = entry_kind(code_dir, program)
    path = os.path.join(code_dir, program)
    if kind != PACKAGE and not os.path.isfile(path):
        raise JobError(
            "the entry point %r is not in the source directory %s, which holds: %s"
            % (program, code_dir, list_files(code_dir))
        )
    inside = os.path.realpath(code_dir)
    if kind != PACKAGE and os.path.commonpath([inside, os.path.realpath(path)]) != inside:
        raise JobError("the entry point %r leads outside the source directory" % program)
    return kind


def list_files(directory, most=20):
    """The visible names in directory, as text short enough for an error message."""
    try:
        names = sorted(n + "/" * os.path.isdir(os.path.join(directory, n)) for n in os.listdir(directory) if n[0] != ".")
    except OSError as error:
        return "(%s)" % error.strerror
    if len(names) > most:
        names[most:] = ["… and %d more" % (len(names) - most)]
    return ", ".join(names) or "nothing"


def command(job, kind, python):
    """The arguments to start the entry point with; python is the interpreter to use."""
    program, arguments = job.program, job.arguments()
    settings = job.framework
    for name in UNSUPPORTED:
        if settings.get(name):
            raise JobError('%s is not supported here: use distribution={"torch_distributed": {"enabled": True}}' % name)
    if settings.get("sagemaker_mpi_enabled"):
        return _mpi(job, kind, python) + arguments
    if settings.get("sagemaker_torch_distributed_enabled"):
        return _torchrun(job, kind, python) + arguments
    if kind == PACKAGE:
        module = program[:-3] if program.endswith(".py") else program
        return [python, "-m", module.replace("/", ".")] + arguments
    if kind == PYTHON:
        return [python, program] + arguments
    # exec: signals must reach the program, and not a shell that only waits for it.
    return ["/bin/sh", "-c", " ".join(["exec ./" + quote(program)] + [quote(a) for a in arguments])]


def launcher(job, kind):
    """Whether the command is not the user's Python itself but something that starts it."""
    names = ("sagemaker_mpi_enabled", "sagemaker_torch_distributed_enabled")
    return kind == COMMAND or any(job.framework.get(name) for name in names)


def _torchrun(job, kind, python):
    if kind != PYTHON:
        raise JobError("torch_distributed needs a Python script as its entry point, not %r" % job.program)
    # torchrun is this module's script; as a module it surely runs in this interpreter.
    result = [python, "-m", "torch.distributed.run", "--nnodes", str(len(job.distribution_hosts))]
    result += ["--nproc_per_node", str(_processes(job)), "--master_port", str(job.master_port())]
    if len(job.distribution_hosts) > 1:
        result += ["--master_addr", job.master, "--node_rank", str(job.distribution_hosts.index(job.host))]
    return result + [job.program]


def _mpi(job, kind, python):
    if len(job.distribution_hosts) > 1:
        raise JobError("MPI over several hosts is not supported here: use one instance or torch_distributed")
    if kind != PYTHON:
        raise JobError("MPI needs a Python script as its entry point, not %r" % job.program)
    import shlex
    import shutil

    mpirun = shutil.which("mpirun", path=job.environ.get("PATH"))
    if mpirun is None:
        raise JobError("the job asks for MPI, but mpirun is not in the PATH of this runtime: install Open MPI")
    count = _processes(job)
    custom = shlex.split(str(job.framework.get("sagemaker_mpi_custom_mpi_options") or ""))
    result = [mpirun, "--host", "localhost:%d" % count, "-np", str(count), "--allow-run-as-root", "--tag-output"]
    # mpi4py makes one failing process end the others instead of leaving them waiting.
    return result + custom + [python, "-m", "mpi4py", job.program]


def _processes(job):
    """Processes a host runs: what the owner says, else one for each GPU, else one."""
    from jobenv import count_gpus

    asked = job.framework.get("sagemaker_mpi_num_of_processes_per_host")
    return int(asked) if asked else count_gpus() or 1


def quote(text):
    """text as one word of a shell command (shlex.quote without its 15 ms import)."""
    plain = text and all(c.isalnum() and c.isascii() or c in "@%+=:,./-_" for c in text)
    return text if plain else "'" + text.replace("'", "'\"'\"'") + "'"


class Processes:
    """Starts children, one at a time, and passes signals on to the one that runs.

    Only the child itself gets them, as in a container: a signal to its whole group
    would kill the workers of a program that wants to save its state first.
    """

    def __init__(self):
        self.stop_signal = 0  # the first signal that asked the job to end
        self._child = 0
        self._early = []  # signals that came while no child ran
        for number in FORWARDED:
            signal.signal(number, self._forward)

    def _forward(self, number, _frame):
        if number in ENDING and not self.stop_signal:
            self.stop_signal = number
        if self._child:
            self._send(number)
        else:
            self._early.append(number)

    def _send(self, number):
        try:
            os.kill(self._child, number)
        except ProcessLookupError:
            pass  # it ended just now

    def run(self, arguments, environment):
        """Run a command in the current directory to its end.

        Returns its process id and its exit code, 128 + n when signal n ended it. After
        a request to end nothing is started any more: the id is then 0.
        """
        if self.stop_signal:
            return 0, 128 + self.stop_signal
        words = [to_bytes(word) for word in arguments]
        try:
            self._child = os.posix_spawn(words[0], words, environment, setsigdef=RESTORED)
        except (OSError, ValueError) as error:
            raise JobError("cannot start %s: %s" % (arguments[0], error))
        child = self._child
        while self._early:
            self._send(self._early.pop(0))
        _, status = os.waitpid(child, 0)
        self._child = 0
        if os.WIFSIGNALED(status):
            return child, 128 + os.WTERMSIG(status)
        return child, os.WEXITSTATUS(status)


def say(text, descriptor=1):
    """Write text to a descriptor at once: nothing may overtake the child's output."""
    data = text.encode("utf-8", "backslashreplace")
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except OSError:
            return  # nobody reads the log: the job goes on


def error(text):
    """Say what went wrong, in the log."""
    say("stint: %s\n" % text, 2)
