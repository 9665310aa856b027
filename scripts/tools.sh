#!/usr/bin/env bash
# Builds the pinned developer tools from source into .tools/bin (ignored by git). Nothing happens when the pinned version
# is already there; the first build takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

golangci_lint=v2.15.0

stamp=.tools/golangci-lint.version
want="$golangci_lint $(go env GOVERSION)" # A linter built by an older Go refuses to read a newer one's code.
if [ -x .tools/bin/golangci-lint ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
  echo "==> golangci-lint $golangci_lint: there"
  exit 0
fi
echo "==> golangci-lint $golangci_lint: building from source (some minutes, once)"
mkdir -p .tools/bin
# Low priority: it must not slow down what the developer does meanwhile.
GOBIN=$PWD/.tools/bin GOFLAGS= nice -n 19 go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$golangci_lint"
printf '%s\n' "$want" >"$stamp"
