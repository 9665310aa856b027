#!/usr/bin/env bash
# How cheaply a job ends in time on spot: the policies of decide/spot and the exact optimum on recorded availability.
# Needs $STINT_DATA/spot/windows-2022.txt.gz. Arguments go to the program; -h lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
go build -o bin/bench-spot ./bench/spot
exec bin/bench-spot "$@"
