#!/usr/bin/env bash
# What Stint adds to a call of a model's container, beside nginx before the same container. Arguments go to the program; -h lists
# them.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/python.sh
. scripts/python.sh
want=$(sha256sum <bench/serve/requirements.txt)
if [ "$(cat .venv/serve/.lock 2>/dev/null)" != "$want" ]; then
  find_uv
  echo "==> .venv/serve: installing the peers"
  install_exactly .venv/serve -r bench/serve/requirements.txt
  printf '%s\n' "$want" >.venv/serve/.lock
fi
scripts/runtimes.sh python
CGO_ENABLED=0 go build -o bin/bench-router ./bench/router
exec bin/bench-router -python "$PWD/.venv/serve/bin/python" "$@"
