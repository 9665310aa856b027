#!/usr/bin/env bash
# How fast a job gets its input and gives its model, beside `aws s3 cp` with the same object store. Needs 15 GB of disk.
# Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/setup.sh awscli
go build -o bin/bench-transfer ./bench/transfer
exec bin/bench-transfer -aws "$PWD/.venv/awscli/bin/aws" "$@"
