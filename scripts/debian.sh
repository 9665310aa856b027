#!/usr/bin/env bash
# Installs the Debian packages that Stint's jobs, tests or benchmarks use, by name, in the version that the release carries.
#
#   scripts/debian.sh          what the demo and the tests need: PyTorch for the PyTorch runtime, and Python's venv
#   scripts/debian.sh bench    what the benchmarks compare with
#
# Nothing is touched when all are there. Without root (or off Debian) it prints what is missing and how to get it, and
# exits 0: whoever needs the package says so by name when its turn comes, the rest goes on.
set -euo pipefail

case "${1:-base}" in
  # python3-torch is PyTorch for the CPU (the Python registry's is several GB of CUDA) and lives in /usr/bin/python3, so
  # that the user's script finds boto3 there too.
  base) packages=(python3-venv python3-pip python3-torch python3-boto3) ;;
  bench) packages=(slurm-wlm munge nginx-light) ;;
  *) echo "usage: scripts/debian.sh [base|bench]" >&2; exit 2 ;;
esac

missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || true
    [ "$state" = installed ] || missing+=("$package")
  done
else
  missing=("${packages[@]}")
fi
if [ ${#missing[@]} -eq 0 ]; then
  echo "==> Debian packages: all there (${packages[*]})"
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "==> Debian packages: this system has no apt-get; install its own equivalents of: ${missing[*]}"
  exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "==> Debian packages: ${missing[*]} not installed and this user is not root; going on without. To get them:"
  echo "      sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
  exit 0
fi

echo "==> Debian packages: installing ${missing[*]} (PyTorch is 160 MB, about two minutes)"
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -qq -o DPkg::Lock::Timeout=600)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# apt is wordy and a failure explains itself only in that wording: keep it, show it when it matters.
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } </dev/null >"$log" 2>&1; then
  cat "$log" >&2
  echo "scripts/debian.sh: apt-get could not install ${missing[*]}" >&2
  exit 1
fi
