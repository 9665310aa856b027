#!/usr/bin/env bash
# Installs the runtimes that the end-to-end suites train in, into .venv/stint/runtimes, with the binary under test. Quick
# when they are there; an interrupted installation is made anew by the next.
#
#   scripts/runtimes.sh               all that the suites need
#   scripts/runtimes.sh sklearn …     just these
#
# A runtime that an older checkout installed from other pins does not count and is made anew.
set -euo pipefail
cd "$(dirname "$0")/.."
stint=${STINT_BIN:-$PWD/bin/stint}
if [ ! -x "$stint" ]; then
  echo "scripts/runtimes.sh: $stint is not there; run: make build" >&2
  exit 2
fi
if [ $# -eq 0 ]; then set -- python sklearn xgboost pytorch; fi
mkdir -p .venv/stint
started=$SECONDS
for name in "$@"; do
  if [ ! -e ".venv/stint/runtimes/$name/installed" ]; then
    echo "==> runtime $name: installing (a minute or two)"
  fi
done
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# pip is wordy and a failure explains itself only in that wording: keep it, show it when it matters.
if ! "$stint" runtime install --home .venv/stint "$@" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
echo "==> runtimes in .venv/stint/runtimes: $* ($((SECONDS - started)) s)"
