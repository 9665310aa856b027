#!/usr/bin/env bash
# Sets up what the demo and the tests need, in ignored folders of the checkout. Run it again at will: what is already
# there in the pinned version is left alone, and an interrupted run is made good by the next.
#
#   scripts/setup.sh                   everything but what only benchmarks use
#   scripts/setup.sh debian sdk2 …     just these parts:
#
#   debian   Debian packages (scripts/debian.sh)
#   sdk2     .venv/sdk2     SageMaker Python SDK 2.x, boto3, scikit-learn
#   sdk3     .venv/sdk3     SageMaker Python SDK 3.x (ModelTrainer), boto3
#   awscli   .venv/awscli   AWS CLI
#   tools    .tools/bin     golangci-lint
#   moto     .venv/moto     moto's server mode, a peer in the benchmarks; only when named
#
# The environments are exactly scripts/requirements/<part>.txt; scripts/lock.sh writes those files.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/python.sh
. scripts/python.sh

# environment PART: makes .venv/PART unless it is complete and from the present lock file.
environment() {
  local lock=scripts/requirements/$1.txt folder=.venv/$1 want count
  want=$(sha256sum <"$lock")
  count=$(grep -c '==' "$lock")
  if [ "$(cat "$folder/.lock" 2>/dev/null)" = "$want" ] && "$folder/bin/python" -c '' 2>/dev/null; then
    echo "==> $folder: there ($count packages)"
    return
  fi
  find_uv
  echo "==> $folder: installing $count packages"
  install_exactly "$folder" -r "$lock"
  printf '%s\n' "$want" >"$folder/.lock" # Last, so that a broken-off installation is begun again.
}

started=$SECONDS
for part in "${@:-debian sdk2 sdk3 awscli tools}"; do
  for name in $part; do
    case "$name" in
      debian) scripts/debian.sh ;;
      sdk2 | sdk3 | awscli | moto) environment "$name" ;;
      tools) scripts/tools.sh ;;
      *) echo "scripts/setup.sh: no part '$name' (debian, sdk2, sdk3, awscli, tools, moto)" >&2; exit 2 ;;
    esac
  done
done
echo "==> set up in $((SECONDS - started)) s"
