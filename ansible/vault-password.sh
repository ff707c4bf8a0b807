#!/bin/sh
# Prints the password of the site's vaulted files, and makes it on first use: one random line in a file that
# only you can read. Keep a copy elsewhere; without it the secrets cannot be read again.
set -eu

file=${HEARTH_VAULT_PASSWORD_FILE:-${XDG_CONFIG_HOME:-$HOME/.config}/hearth/vault-password}

if [ ! -e "$file" ]; then
  umask 077
  mkdir -p "$(dirname "$file")"
  new=$(mktemp "$file.XXXXXX")
  head -c 32 /dev/urandom | base64 >"$new"
  # Two runs may come here at once: the first link wins, and both go on with that file.
  ln "$new" "$file" 2>/dev/null || true
  rm -f "$new"
fi
if [ ! -s "$file" ]; then
  echo "vault-password.sh: $file is empty; put your password back into it" >&2
  exit 1
fi
cat "$file"
