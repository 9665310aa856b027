#!/usr/bin/env bash
# The Go benchmarks of single packages: the parts that a call, a commit and a log line go through. Arguments go to go test,
# such as -benchtime=3s or -count=5.
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=(./wire/sigv4 ./shapes ./decide/authorize ./api ./drivers/store/sqlite ./drivers/telemetry/sqlite ./agent)
file=bench/results/micro-$(date -u +%Y%m%dT%H%M%SZ).txt
mkdir -p bench/results
echo "==> micro: load average $(cut -d' ' -f1-3 /proc/loadavg)"
{
  echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
  go test -run '^$' -bench . -benchmem "$@" "${packages[@]}"
} | tee "$file"
echo "written to $file"
