"""Script mode: runs a user's training script under the contract of /opt/ml.

    python -S -E train.py [--root DIR]

A stub, since Python compiles the program it is given anew at every start but keeps
the compiled form of what that imports.
"""

import sys

import scriptmode

if __name__ == "__main__":
    sys.exit(scriptmode.main(sys.argv[1:]))
