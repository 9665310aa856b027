#!/usr/bin/env bash
# How fast checkpoints are synced and restored beside `aws s3 cp` and plain transfers with the same object store, how much of a
# changed folder is shipped, and what a training notices. Needs five times the folder of disk; -gib 10 is the size of the target.
# Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/setup.sh awscli
go build -o bin/bench-checkpoint ./bench/checkpoint
exec bin/bench-checkpoint -aws "$PWD/.venv/awscli/bin/aws" "$@"
