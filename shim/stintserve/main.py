"""What the server does before it serves."""

import os
import sys

from .frameworks import NAMES
from .master import Master, report, say
from .settings import DEFAULT_ROOT, Settings, SettingsError

USAGE = "usage: serve.py [--framework %s] [--root DIR]" % "|".join(NAMES)

REQUIRED = "STINT_REQUIREMENTS_INSTALLED"  # in the environment of the interpreter that sees them

# The shim's own modules that a program of the user may be called like.
SHIM_MODULES = ("fastjson", "jobenv", "launch", "prepare")


def main(arguments):
    """Run the model server and return its exit code: 0 asked to end, 1 failed, 2 started wrongly."""
    options = {"--framework": "", "--root": DEFAULT_ROOT}
    words = list(arguments)
    while words:
        if len(words) < 2 or words[0] not in options:
            say(USAGE)
            return 2
        options[words[0]] = words[1]
        del words[:2]
    framework, root = options["--framework"], os.path.abspath(options["--root"])
    if framework not in NAMES + ("",):
        say("%r is not a framework; %s" % (framework, USAGE))
        return 2
    try:
        settings = Settings(dict(os.environ), root, framework)
    except SettingsError as error:
        report(root, str(error))
        return 1
    os.environ.setdefault("SM_MODEL_DIR", settings.model_dir)
    code = _require(settings, arguments)
    if code:
        return code
    # From here on the user's code may be imported: it must not find these programs.
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]
    return Master(settings).run()


def _require(settings, arguments):
    """Install what the only model's program requires; go on in the interpreter that sees it."""
    if os.environ.pop(REQUIRED, "") or settings.multi_model:
        return 0
    code_dir = settings.code_dir(settings.model_dir)
    if not os.path.isfile(os.path.join(code_dir, "requirements.txt")):
        return 0
    import launch
    import prepare
    from jobenv import JobError

    wanted = prepare.wanted(code_dir, launch.PYTHON)
    own_dir = os.path.join(settings.root, ".stint")  # not in the model, which may be read-only
    here = os.getcwd()
    try:
        processes = launch.Processes()
        if wanted:
            os.makedirs(own_dir, exist_ok=True)
            os.chdir(code_dir)
            python = prepare.install(processes, wanted, {os.fsencode(k): os.fsencode(v) for k, v in os.environ.items()}, own_dir)
            os.chdir(here)
            if processes.stop_signal:
                return 128 + processes.stop_signal
            if python != sys.executable:
                program = os.path.abspath(sys.argv[0])
                os.execve(python, [python, program] + list(arguments), dict(os.environ, **{REQUIRED: "1"}))
    except (JobError, OSError) as error:
        report(settings.root, str(error))
        return 1
    for name in SHIM_MODULES:
        sys.modules.pop(name, None)
    return 0
