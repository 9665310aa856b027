#!/usr/bin/env bash
# Renews cmd/stint/default.pgo, the profile by which the Go compiler optimises the binary: of a server that answers invocations,
# which is what there are most of. Worth it when the way of a request has changed much; the figures are in docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/debian.sh bench
scripts/runtimes.sh python
make build
go build -o bin/bench-router ./bench/router
for part in load loadcaptured; do
  bin/bench-router -only "$part" -rounds 1 -each 20s -profile "bin/$part.prof"
done
# Capture is for some: its share is that of one in three. Folders of this machine are made unreadable, at their length.
go tool pprof -proto -output bin/all.prof bin/load.prof bin/load.prof bin/loadcaptured.prof
gzip -cd bin/all.prof | LC_ALL=C sed -e "s|$PWD|${PWD//?/_}|g" -e "s|$HOME|${HOME//?/_}|g" | gzip -9n >cmd/stint/default.pgo
