#!/usr/bin/env bash
# The demo: starts a server of its own on free ports, trains and serves on it with the unchanged SageMaker Python SDK, and stops it.
# What it needs is set up by `make demo` (scripts/setup.sh debian sdk2; make build). All it keeps is in .demo/ beside this
# file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
export STINT_BIN=${STINT_BIN:-$top/bin/stint}
venv=${STINT_VENV_SDK2:-$top/.venv/sdk2}
for needed in "$STINT_BIN" "$venv/bin/python"; do
  if [ ! -x "$needed" ]; then
    echo "$needed is not there; run: make demo" >&2
    exit 2
  fi
done
export STINT_HOME=$here/.demo
unset SAGEMAKER_USER_CONFIG_OVERRIDE AWS_CA_BUNDLE AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE
mkdir -p "$STINT_HOME"
chmod 711 "$STINT_HOME"

# 1. The runtime that the job's image stands for. Without PyTorch the demo goes on with scikit-learn.
framework=pytorch
if ! "$STINT_BIN" runtime install pytorch; then
  echo "==> PyTorch is not to be had here: the demo uses scikit-learn instead"
  framework=sklearn
  "$STINT_BIN" runtime install sklearn
fi

# 2. A server of its own.
rm -f "$STINT_HOME/endpoint.json" # an earlier server's: the new one writes it when it is up
"$STINT_BIN" up --quiet --listen 127.0.0.1:0 --s3-listen 127.0.0.1:0 &
server=$!
stop() {
  kill -TERM "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
}
trap stop EXIT
for _ in $(seq 150); do
  if "$STINT_BIN" jobs --limit 1 >/dev/null 2>&1; then break; fi
  if ! kill -0 "$server" 2>/dev/null; then
    echo "the server did not start" >&2
    exit 1
  fi
  sleep 0.2
done

# 3. The user's program.
eval "$("$STINT_BIN" env --shell sh)"
echo "==> a Stint server of the demo's own is up at $AWS_ENDPOINT_URL"
export SAGEMAKER_SUPPRESS_V2_WARNING=1
started=$SECONDS
"$venv/bin/python" "$here/demo.py" "$framework"
echo "Upload, training, scoring, endpoint and bill took $((SECONDS - started)) s."

# 4. How to go on. The server stops as this ends.
stint=$(realpath --relative-base="$PWD" "$STINT_BIN")
data=$(realpath --relative-base="$PWD" "$STINT_HOME")
cat <<END

Go on from here:
  $stint up --home $data             # the demo's server again, in one terminal
  eval "\$($stint env --home $data)"   # in another: boto3, the AWS CLI and the SageMaker SDK use it
  $stint jobs --home $data
  $stint run SCRIPT --home $data     # train without any SDK
  $stint deploy MODEL --home $data   # serve without any SDK
END
