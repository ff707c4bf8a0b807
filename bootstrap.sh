#!/usr/bin/env bash
# Sets Hearth up on this machine and starts it. Run it again after every `git pull`.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'TEXT'
Usage: ./bootstrap.sh [--run-local] [--small] [--install-only] [--cluster] [--dev] [--help]

Makes .venv from locks/, installs what the machine lacks, and starts Hearth.

  --run-local      run the services as processes of this user, without root (default)
  --small          stay with the small model: fetch no better one in the background, as HEARTH_GROW=off does
  --install-only   set everything up, start nothing
  --cluster        also install what `ansible-playbook playbook.yaml` needs; implies --install-only
  --dev            also install what `make check` and `make test` need
  --help           show this text
TEXT
}

start=yes lock=locks/runtime.txt
while [ $# -gt 0 ]; do
  case "$1" in
    --run-local) ;;
    --small) export HEARTH_GROW=off ;;
    --install-only) start=no ;;
    --cluster) start=no; [ "$lock" = locks/dev.txt ] || lock=locks/cluster.txt ;;
    --dev) lock=locks/dev.txt ;;
    --help|-h) usage; exit 0 ;;
    *) echo "bootstrap.sh: unknown argument: $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

python="${PYTHON:-python3}"
tools=.cache/tools

# Packages of Debian that are missing, one a line.
missing_packages() {
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || echo python3
  if ! command -v uv >/dev/null && [ ! -x "$tools/bin/uv" ]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  fi
  command -v setpriv >/dev/null || echo util-linux
  { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep -q 'libgomp\.so\.1' || echo libgomp1
  if [ "$lock" != locks/runtime.txt ]; then
    command -v ssh >/dev/null || echo openssh-client
  fi
  if [ "$lock" = locks/dev.txt ]; then
    command -v git >/dev/null || echo git
    command -v chromium >/dev/null || echo chromium
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
  fi
}

install_packages() {
  local packages
  mapfile -t packages < <(missing_packages)
  [ ${#packages[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "This machine lacks: ${packages[*]}. Install them, then run this again:" >&2
    echo "  sudo apt-get update && sudo apt-get install --yes --no-install-recommends ${packages[*]}" >&2
    exit 3
  fi
  echo "Installing ${packages[*]} with apt-get"
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "${packages[@]}" >/dev/null
}

find_uv() {
  if command -v uv >/dev/null; then
    command -v uv
    return
  fi
  if [ ! -x "$tools/bin/uv" ]; then
    "$python" -m venv "$tools"
    "$tools/bin/pip" install --quiet --require-hashes --requirement locks/tools.txt >&2
  fi
  echo "$tools/bin/uv"
}

install_packages
uv="$(find_uv)"
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$(command -v "$python")" .venv
export VIRTUAL_ENV="$PWD/.venv"

# What runs must not have its packages exchanged under it.
if [ "$start" = yes ] && [ -x .venv/bin/hearth ]; then .venv/bin/hearth down; fi

"$uv" pip sync --quiet --require-hashes "$lock"
"$uv" pip install --quiet --no-deps --no-build-isolation --offline --editable .

if [ "$start" = yes ]; then
  .venv/bin/hearth up --detach
  echo
  echo 'Try: .venv/bin/hearth ask "What is the capital of France?"'
fi
