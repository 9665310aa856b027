# Sourced by the benchmarks that run other Python servers as peers: installs them into .venv/serve as they are pinned.
# shellcheck shell=bash
# shellcheck source=scripts/python.sh
. scripts/python.sh
want=$(sha256sum <bench/serve/requirements.txt)
if [ "$(cat .venv/serve/.lock 2>/dev/null)" != "$want" ]; then
  find_uv
  echo "==> .venv/serve: installing the peers"
  install_exactly .venv/serve -r bench/serve/requirements.txt
  printf '%s\n' "$want" >.venv/serve/.lock
fi
