#!/usr/bin/env bash
# What an asynchronous invocation takes beside its model, and how fast a queue is worked off. Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
CGO_ENABLED=0 go build -o bin/bench-async ./bench/async
exec bin/bench-async "$@"
