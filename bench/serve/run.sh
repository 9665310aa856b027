#!/usr/bin/env bash
# What the model server adds to a model, beside other Python servers that run the same handler. Arguments go to the program; -h
# lists them.
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
go build -o bin/bench-serve ./bench/serve
exec bin/bench-serve -python "$PWD/.venv/serve/bin/python" "$@"
