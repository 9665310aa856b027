#!/usr/bin/env bash
# Resolves scripts/requirements/*.in anew and writes the lock files *.txt beside them, which scripts/setup.sh installs
# without resolving. Run it to take newer versions, then `make test`, and commit both.
#
# Locks are for Linux and Python 3.11, the oldest that is supported; every package in them also has wheels for newer
# ones. They name no registry and no local folder, whatever this machine's pip settings say.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/python.sh
. scripts/python.sh

find_uv
cd scripts/requirements
for wanted in *.in; do
  lock=${wanted%.in}.txt
  echo "==> $lock"
  "../../$uv" pip compile --quiet --upgrade --no-header --no-emit-index-url --no-emit-find-links \
    --python-version 3.11 --python-platform x86_64-unknown-linux-gnu "$wanted" -o "$lock"
done
