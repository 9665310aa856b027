"""The life of one training job in script mode, from its configuration to its exit code.

The platform has written the configuration and the inputs, and usually unpacked the
source into /opt/ml/code. This makes the environment and the arguments that scripts
expect of a SageMaker container, installs what the source requires, runs the entry
point, passes signals on to it, and says in /opt/ml/output/failure why it failed. The
exit code is the script's.

Only the standard library; Python 3.8 and later. Imports are few and late, since every
millisecond here delays every job. It knows no S3: fetching belongs to the agent.
"""

import os
import sys

import jobenv
import launch
from jobenv import Job, JobError

DEFAULT_ROOT = "/opt/ml"

# FailureReason is the failure file's first 1,024 characters with the platform's words
# around them.
LONGEST_FAILURE = 960

KILLED = 137  # 128 + SIGKILL


class Run:
    """One execution of a job's entry point."""

    def __init__(self, root, environ):
        self.processes = launch.Processes()
        self.job = Job(root, environ)
        self.own_dir = os.path.join(self.job.code_dir, ".stint")
        self.error_dir = os.path.join(self.own_dir, "errors")

    def execute(self):
        """Run the job and return its exit code, having reported a failure."""
        job = self.job
        # 1. The source, where the entry point must be.
        self._place_source()
        kind = launch.check_entry_point(job.code_dir, job.program)
        os.chdir(job.code_dir)

        # 2. What the user's process will see.
        variables = job.variables()
        variables.update(self._python_variables())
        environment, left_out = jobenv.process_environment(job.environ, variables)
        for name in left_out:
            launch.error("the variable %s is left out: no process can be given it; read %s instead" % (name, job.config_dir))

        # 3. What the source requires.
        python = self._install(kind, environment)
        if self.processes.stop_signal:
            return 128 + self.processes.stop_signal

        # 4. The script itself.
        if kind == launch.COMMAND:
            self._make_executable(os.path.join(job.code_dir, job.program))
        command = launch.command(job, kind, python)
        if not job.quiet:
            self._announce(command)
        child, code = self.processes.run(command, environment)
        stopped = self.processes.stop_signal and code == 128 + self.processes.stop_signal
        if code and not stopped:  # a script that ended because it was asked to has not failed
            self._report_script(kind, child, code, command)
        return code

    def _place_source(self):
        job = self.job
        os.makedirs(job.code_dir, exist_ok=True)
        source = job.submit_dir
        if os.listdir(job.code_dir) or source == job.code_dir:
            return
        if source.startswith("s3://"):
            raise JobError("the source %s was not fetched into %s before the script's start" % (source, job.code_dir))
        import prepare

        if os.path.isdir(source):
            prepare.copy(source, job.code_dir)
        else:
            prepare.extract(source, job.code_dir)

    def _python_variables(self):
        """PYTHONPATH with the source, and the hook that keeps the reason of a failure."""
        environ = self.job.environ
        paths = [self.job.code_dir] + [path for path in environ.get("PYTHONPATH", "").split(":") if path]
        hook = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hook")
        result = {}
        try:
            os.makedirs(self.error_dir, exist_ok=True)
            result["STINT_ERROR_DIR"] = self.error_dir
            paths.insert(0, hook)
        except OSError:
            pass  # a read-only source: the failure file will lack the exception
        result["PYTHONPATH"] = ":".join(paths)
        result["PATH"] = ":".join(self._executable_dirs(environ.get("PATH", os.defpath)))
        return result

    def _executable_dirs(self, path):
        """PATH in which this interpreter's tools are found, and something named python."""
        dirs = path.split(":")
        home = os.path.dirname(sys.executable)
        if home not in dirs:
            dirs.insert(0, home)
        if not any(os.path.exists(os.path.join(d, "python")) for d in dirs):
            links = os.path.join(self.own_dir, "bin")
            try:
                os.makedirs(links, exist_ok=True)
                os.symlink(sys.executable, os.path.join(links, "python"))
                dirs.append(links)
            except OSError:
                pass  # scripts that say python3 still run
        return dirs

    def _install(self, kind, environment):
        if kind != launch.PACKAGE and not os.path.exists("requirements.txt"):
            return sys.executable
        import prepare

        arguments = prepare.wanted(self.job.code_dir, kind)
        if not arguments:
            return sys.executable
        python = prepare.install(self.processes, arguments, environment, self.own_dir)
        if python != sys.executable:
            environment[b"PATH"] = os.fsencode(os.path.dirname(python)) + b":" + environment[b"PATH"]
        return python

    def _make_executable(self, path):
        try:
            os.chmod(path, 0o777)
        except OSError as error:
            if not os.access(path, os.X_OK):
                raise JobError("cannot make the entry point executable: %s" % error)

    def _announce(self, command):
        job = self.job
        channels = ", ".join(sorted(job.inputs)) or "none"
        facts = [
            ("job", job.name or "(unnamed)"),
            ("host", "%s of %s, %s" % (job.host, ", ".join(job.hosts), job.instance_type)),
            ("processors", "%d CPUs, %d GPUs" % (jobenv.count_cpus(job.environ), jobenv.count_gpus())),
            ("channels", channels),
            ("hyperparameters", jobenv.encode(job.hyperparameters)),
        ]
        lines = ["Training environment:"] + ["  %-16s %s" % fact for fact in facts]
        lines += ["", "Invoking script with the following command:", "", " ".join(command), "", ""]
        launch.say("\n".join(lines))

    def _report_script(self, kind, child, code, command):
        extra = ""
        if code == KILLED:
            extra = "OutOfMemory: Process killed by SIGKILL (signal 9)"
        elif code > 128:
            extra = "Process ended by signal %d" % (code - 128)
        message = self._reason(kind, child)
        report(self.job.root, str(launch.CommandError("ExecuteUserScriptError", code, message, command, extra)))

    def _reason(self, kind, child):
        """The exception that ended the script, as the hook in its interpreter kept it.

        A Python script's reason is its own: a process that it started and that failed
        may be one it got over. Of a shell script's processes the last failure counts,
        of a distributed launcher's the first: the others fail because of it, and the
        launcher itself only says that a worker failed.
        """
        own = os.path.join(self.error_dir, str(child))
        paths = [own]
        if launch.launcher(self.job, kind):
            try:
                others = [os.path.join(self.error_dir, name) for name in os.listdir(self.error_dir)]
                others = sorted((p for p in others if p != own), key=lambda p: os.stat(p).st_mtime_ns)
            except OSError:
                others = []
            paths = (others[::-1] if kind == launch.COMMAND else others) + paths
        try:
            with open(paths[0], "rb") as file:
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""


def report(root, text):
    """Write the failure file, unless the script has written its own, and the log."""
    launch.error(text)
    output = os.path.join(root, "output")
    path = os.path.join(output, "failure")
    try:
        if os.path.exists(path) and os.path.getsize(path):
            return
        os.makedirs(output, exist_ok=True)
        with open(path, "wb") as file:
            file.write(text[:LONGEST_FAILURE].encode("utf-8", "backslashreplace"))
    except OSError as error:
        launch.error("cannot write %s: %s" % (path, error))


def main(arguments):
    """Run script mode and return its exit code."""
    root = DEFAULT_ROOT
    if arguments[:1] == ["--root"] and len(arguments) == 2:
        root = os.path.abspath(arguments[1])
    elif arguments:
        launch.error("usage: train.py [--root DIR]")
        return 2
    try:
        return Run(root, dict(os.environ)).execute()
    except JobError as error:
        report(root, str(error))
    except Exception as error:
        import traceback

        report(root, "Framework Error: %r\n%s" % (error, traceback.format_exc()))
    return 1
