"""The model server: answers for a model under the contract of /opt/ml and port 8080.

    python serve.py [--framework sklearn|xgboost|pytorch|onnx] [--root DIR]

A stub, since Python compiles the program it is given anew at every start but keeps
the compiled form of what that imports.
"""

import sys

from stintserve import main

if __name__ == "__main__":
    sys.exit(main.main(sys.argv[1:]))
