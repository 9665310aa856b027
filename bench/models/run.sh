#!/usr/bin/env bash
# What it costs to have many models behind one endpoint: a request for a loaded model, beside one at an endpoint of that model alone, and
# the first request for a model that is not loaded. Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/setup.sh debian
scripts/runtimes.sh sklearn
go build -o bin/bench-models ./bench/models
exec bin/bench-models "$@"
