#!/usr/bin/env bash
# How many calls a second the API takes, and how long a filtered list of many jobs takes, beside moto's server mode.
# Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/setup.sh moto
go build -o bin/bench-api ./bench/api
exec bin/bench-api -moto "$PWD/.venv/moto" "$@"
