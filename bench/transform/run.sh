#!/usr/bin/env bash
# How many records a second a batch transform brings through a model, beside a bare client that posts the same payloads to the
# same model server. Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/runtimes.sh python
go build -o bin/bench-transform ./bench/transform
exec bin/bench-transform "$@"
