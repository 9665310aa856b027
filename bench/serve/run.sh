#!/usr/bin/env bash
# What the model server adds to a model, beside other Python servers that run the same handler. Arguments go to the program; -h
# lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=bench/serve/peers.sh
. bench/serve/peers.sh
go build -o bin/bench-serve ./bench/serve
exec bin/bench-serve -python "$PWD/.venv/serve/bin/python" "$@"
