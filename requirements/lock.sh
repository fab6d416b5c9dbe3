#!/bin/sh
# Pins every requirement with the hashes of all its files, so that installs are the same everywhere. Run by `make lock`.
set -eu
cd "$(dirname "$0")/.."
pinned="--generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host"  # guard: pins
compile() {
  out=$1; shift
  CUSTOM_COMPILE_COMMAND="make lock" "${RELAY_PIP_COMPILE:-pip-compile}" --quiet --upgrade --no-strip-extras --allow-unsafe \
    $pinned --output-file "requirements/$out.txt" "$@"
}
compile build requirements/build.in
compile runtime pyproject.toml
compile image --extra postgres --extra otel pyproject.toml
compile dev --constraint requirements/oldest.in --extra postgres --extra otel --extra mcp --extra dev pyproject.toml
compile security requirements/security.in
compile bench requirements/bench.in
compile proxies requirements/proxies.in
out=requirements/clients.lock
CUSTOM_COMPILE_COMMAND="make lock" "${RELAY_PIP_COMPILE:-pip-compile}" --quiet --upgrade --no-strip-extras --allow-unsafe \
  $pinned --output-file "$out" requirements/clients.in
