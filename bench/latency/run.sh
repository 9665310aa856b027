#!/usr/bin/env bash
# How long a job waits for nothing: from the answer to CreateTrainingJob (or sbatch) to the first line of the user's process.
# Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
go build -o bin/bench-latency ./bench/latency
exec bin/bench-latency "$@"
