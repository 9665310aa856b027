#!/usr/bin/env bash
# What a server takes: memory and processor time when idle, memory for queued jobs, and how fast one job's log arrives whole.
# Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
go build -o bin/bench-footprint ./bench/footprint
exec bin/bench-footprint "$@"
