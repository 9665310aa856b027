#!/usr/bin/env bash
# How long an endpoint takes to come up, and a serverless one to wake, over what its model server takes when it is started by hand.
# Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/setup.sh debian
scripts/runtimes.sh sklearn
go build -o bin/bench-cold ./bench/cold
exec bin/bench-cold "$@"
