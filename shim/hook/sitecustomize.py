"""Keeps the reason why a user's Python process died, for the job's failure file.

Python imports this at its start, since the directory is on PYTHONPATH. It installs
an excepthook that writes an uncaught exception to $STINT_ERROR_DIR/<process id> and
then does what Python would have done. So the reason is known though stderr goes
straight to the log, whichever way the interpreter was started (a script, -m, a shell
script, torchrun's workers), and costs a program that does not fail nothing.
"""

import os
import sys

LONGEST = 2000


def _run_hidden_sitecustomize():
    """Import the sitecustomize this one hides (Debian has one, a source may)."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path != here]
    this = sys.modules.pop(__name__)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as missing:
        if missing.name != __name__:
            raise
    finally:
        sys.modules.setdefault(__name__, this)


def _describe(kind, value, trace):
    """The exception on one line, then where it was raised, innermost first."""
    import traceback

    name = kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else kind.__module__ + "." + kind.__qualname__
    lines = ["%s: %s" % (name, value) if str(value) else name]
    for frame in reversed(traceback.extract_tb(trace)[-3:]):
        lines.append('  File "%s", line %s, in %s' % (frame.filename, frame.lineno, frame.name))
    return "\n".join(lines)[:LONGEST]


def _install():
    directory = os.environ.get("STINT_ERROR_DIR")
    if not directory:
        return
    usual = sys.excepthook

    def keep_and_report(kind, value, trace):
        try:
            with open(os.path.join(directory, str(os.getpid())), "wb") as file:
                file.write(_describe(kind, value, trace).encode("utf-8", "replace"))
        except Exception:
            pass  # the user's own error must be shown whatever happens here
        usual(kind, value, trace)

    sys.excepthook = keep_and_report


_install()
_run_hidden_sitecustomize()
