"""The user's source directory and what it requires, made ready to run.

Loaded only by jobs that need it: most find their source in place and require nothing.
"""

import os
import sys

import fastjson
from jobenv import JobError, to_bytes
from launch import PACKAGE, PYTHON, CommandError, say

# Asked of the runtime's interpreter, which unlike the shim's own runs with its site module.
ASK_SITES = """
import importlib.util, json, site
user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
has = lambda name: importlib.util.find_spec(name) is not None
builds = has("setuptools") and (has("wheel") or has("setuptools.command.bdist_wheel"))
print(json.dumps({"sites": user + site.getsitepackages(), "pip": has("pip"), "builds": builds}))
"""


def extract(source, code_dir):
    """Unpack a local source archive into code_dir, refusing members that leave it."""
    import tarfile
    import zlib

    try:
        with tarfile.open(source, "r:*") as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(code_dir, filter="data")
            else:
                for member in archive:  # one by one: a check must see the links before it
                    _check_member(member, os.path.realpath(code_dir))
                    archive.extract(member, code_dir)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise JobError("cannot unpack the source %s: %s" % (source, error))


def _check_member(member, code_dir):
    """What tarfile's data filter refuses, for interpreters older than it."""
    target = os.path.realpath(os.path.join(code_dir, member.name))
    if member.issym():
        links = [os.path.join(os.path.dirname(target), member.linkname)]
    else:
        links = [os.path.join(code_dir, member.linkname)] if member.islnk() else []
    for path in [target] + [os.path.realpath(link) for link in links]:
        if os.path.commonpath([code_dir, path]) != code_dir:
            raise JobError("the source archive's member %r leads outside the source directory" % member.name)
    if member.isdev():
        raise JobError("the source archive's member %r is a device" % member.name)
    member.mode = member.mode & 0o755 | (0o700 if member.isdir() else 0o600)


def copy(source, code_dir):
    """Copy a local source directory into code_dir."""
    import shutil

    try:
        shutil.copytree(source, code_dir, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise JobError("cannot copy the source %s: %s" % (source, error))


def wanted(code_dir, kind):
    """pip's arguments for what the source needs installed; empty when nothing is."""
    arguments = ["."] if kind == PACKAGE else []
    path = os.path.join(code_dir, "requirements.txt")
    if kind in (PACKAGE, PYTHON) and os.path.isfile(path):
        with open(path, "rb") as file:
            if any(line.strip() and not line.strip().startswith(b"#") for line in file):
                arguments += ["-r", "requirements.txt"]
    return arguments


def install(processes, arguments, environment, own_dir):
    """Run pip install and return the interpreter that sees the result.

    Where to: the runtime may be a read-only environment shared by many jobs, and the
    job an unprivileged user. --user does not work in a virtual environment, --target
    fetches again what is already there, --prefix tries to remove an older version
    from the runtime. So the job gets a virtual environment of its own, laid over the
    runtime by a .pth file: pip sees the runtime's packages, counts those that satisfy
    a requirement (no network), and never changes one outside its own environment; a
    newer version in it simply comes first. When all was satisfied, the runtime's own
    interpreter goes on unchanged.
    """
    runtime = _ask(environment)
    if not runtime["pip"]:
        raise JobError("the source has packages to install, but this runtime's Python (%s) has no pip" % sys.executable)
    overlay = os.path.join(own_dir, "venv")
    _quietly([sys.executable, "-m", "venv", "--without-pip", overlay], environment)
    python = os.path.join(overlay, "bin", "python")
    site_dir = _site_of(overlay)
    with open(os.path.join(site_dir, "_runtime.pth"), "w") as file:
        file.writelines("import site; site.addsitedir(%r)\n" % directory for directory in runtime["sites"])

    log = os.path.join(own_dir, "pip.log")
    command = [python, "-m", "pip", "install"] + arguments
    if "." in arguments and runtime["builds"] and not os.path.exists("pyproject.toml"):
        # The runtime can build it: do not fetch setuptools for the build alone.
        command.insert(4, "--no-build-isolation")
    say("Installing what the source requires: %s\n" % " ".join(command[2:]))
    child, code = processes.run(command, _pip_environment(environment, log))
    if code and not processes.stop_signal:
        kind = "InstallModuleError" if "." in arguments else "InstallRequirementsError"
        raise CommandError(kind, code, _errors_in(log), command)
    changed = [name for name in os.listdir(site_dir) if name not in ("_runtime.pth", "__pycache__")]
    return python if changed else sys.executable


def _ask(environment):
    """The runtime's package directories and tools."""
    try:
        return fastjson.loads(_quietly([sys.executable, "-c", ASK_SITES], environment))
    except ValueError as error:
        raise JobError("this runtime's Python (%s) does not describe itself: %s" % (sys.executable, error))


def _quietly(command, environment):
    """Run a short command of our own and return its output, or say why it failed."""
    import subprocess

    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise JobError("%s failed: %s" % (" ".join(command[:4]), last))
    return done.stdout.decode("utf-8", "replace")


def _site_of(overlay):
    """The package directory of a fresh virtual environment."""
    version = "python%d.%d" % sys.version_info[:2]
    return os.path.join(overlay, "lib", version, "site-packages")


def _pip_environment(environment, log):
    """Settings that keep pip to its work; the owner's own win, but for where to install."""
    defaults = {
        b"PIP_DISABLE_PIP_VERSION_CHECK": b"1",
        b"PIP_NO_INPUT": b"1",
        b"PIP_PROGRESS_BAR": b"off",
        b"PIP_ROOT_USER_ACTION": b"ignore",
    }
    return {**defaults, **environment, b"PIP_USER": b"0", b"PIP_LOG": to_bytes(log)}


def _errors_in(log):
    """pip's own error lines, from its log file."""
    try:
        with open(log, "rb") as file:
            lines = [line.decode("utf-8", "replace").strip() for line in file if b"ERROR: " in line]
    except OSError:
        return ""
    return "\n".join(line[line.index("ERROR: ") :] for line in lines[-5:])
