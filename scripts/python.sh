# Sourced by the scripts that make Python environments; not a program. Defines:
#   find_python          prints the interpreter for new environments: 3.11 or newer
#   find_uv              sets $uv, after installing the pinned installer into .tools/uv when it is not there
#   install_exactly DIR REQUIREMENT…   makes the environment DIR and installs just these, resolving nothing
#
# Why uv and not pip: it installs the 135 packages of SDK 3.x in 20 s, where pip took 112 s for 114 of them (2 cores,
# both compiling to bytecode), from the same registry and the same wheels. The caller has changed to the repository's
# top folder.

uv_version=0.13.9

find_python() {
  local candidate
  for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "no Python 3.11 or newer found (looked for python3 in /usr/bin and on PATH)" >&2
  return 1
}

find_uv() {
  uv=.tools/uv/bin/uv
  # A site's own mirror and certificates are configured for pip; uv reads neither, so hand them over.
  local mirror
  mirror=${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}
  if [ -n "$mirror" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$mirror}"; fi
  export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
  if [ "$("$uv" --version 2>/dev/null | cut -d' ' -f2)" = "$uv_version" ]; then return; fi
  echo "==> uv $uv_version: installing"
  rm -rf .tools/uv
  local python
  python=$(find_python)
  if ! "$python" -m venv .tools/uv >/dev/null; then
    echo "$python cannot make virtual environments; on Debian: sudo apt-get install python3-venv" >&2
    return 1
  fi
  .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "uv==$uv_version"
}

install_exactly() {
  local folder=$1 python
  shift
  python=$(find_python)
  rm -rf "$folder"
  "$uv" venv --quiet --no-project --python "$python" "$folder"
  "$uv" pip install --quiet --python "$folder/bin/python" --no-deps --compile-bytecode "$@"
}
