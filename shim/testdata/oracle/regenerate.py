"""Rewrites the "expected" half of the cases beside it from the public toolkit.

    python3 -m venv V && V/bin/pip install sagemaker-training==5.1.4
    V/bin/python shim/testdata/oracle/regenerate.py

Each case is one job's configuration files and environment ("given") and what the
toolkit makes of them: the script's arguments and variables. The job's root folder is
written ROOT; the machine is said to have 4 processors and no accelerator.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile

PROGRAM = """
import json, os
before = dict(os.environ)
from sagemaker_training import environment
environment.num_cpus = lambda: 4
environment.num_gpus = lambda: 0
environment.num_neurons = lambda instance_type: 0
job = environment.Environment()
variables = {n: v for n, v in os.environ.items() if before.get(n) != v}
variables.update(job.to_env_vars())
print(json.dumps({"arguments": job.to_cmd_args(), "variables": variables}))
"""


def expected(given):
    with tempfile.TemporaryDirectory() as root:
        config = os.path.join(root, "input", "config")
        os.makedirs(config)
        for name in ("hyperparameters", "resourceconfig", "inputdataconfig"):
            with open(os.path.join(config, name + ".json"), "w") as file:
                json.dump(given[name], file)
        environ = dict(given["environment"], SAGEMAKER_BASE_DIR=root, PATH="/usr/bin:/bin", HOME=root)
        output = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, stdout=subprocess.PIPE, check=True)
        return json.loads(output.stdout.decode().strip().split("\n")[-1].replace(root, "ROOT"))


for path in sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "*.json"))):
    with open(path) as file:
        case = json.load(file)
    case["expected"] = expected(case["given"])
    with open(path, "w") as file:
        json.dump(case, file, indent=1, sort_keys=True)
        file.write("\n")
    print(os.path.basename(path))
