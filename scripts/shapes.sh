#!/usr/bin/env bash
# Regenerates shapes/*/…_gen.go from the public service model, in the version of botocore that shapes/operations.txt pins.
# The model is installed beside the checkout's other environments and never committed.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/python.sh
. scripts/python.sh

version=$(awk '$1 == "botocore" { print $2; exit }' shapes/operations.txt)
if [ -z "$version" ]; then
  echo "shapes/operations.txt pins no botocore version" >&2
  exit 1
fi
package=.venv/botocore/package
if [ "$(cat .venv/botocore/.lock 2>/dev/null)" != "$version" ]; then
  find_uv
  echo "==> botocore $version: installing"
  install_exactly .venv/botocore "botocore==$version"
  # A link whose name does not depend on the interpreter's version.
  ln -sfn "$(.venv/botocore/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/botocore" "$package"
  printf '%s\n' "$version" >.venv/botocore/.lock
fi
echo "==> generating shapes from botocore $version"
go run ./shapes/generate -botocore "$package/data"
