#!/usr/bin/env bash
# What Stint adds to a call of a model's container, beside nginx before the same container. Arguments go to the program; -h lists
# them.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=bench/serve/peers.sh
. bench/serve/peers.sh
scripts/runtimes.sh python
go build -o bin/bench-router ./bench/router
exec bin/bench-router -python "$PWD/.venv/serve/bin/python" "$@"
