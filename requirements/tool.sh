#!/bin/sh
# Prints where a program is that judges or tries what is deployed: on this machine, or built into .venv/bin from its Go
# module, whose hash Go's checksum database answers for. usage: tool.sh NAME
set -eu
cd "$(dirname "$0")/.."
case "$1" in
  actionlint) module=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 ;;
  helm) module=helm.sh/helm/v3/cmd/helm@v3.22.0 ;;
  caddy) module=github.com/caddyserver/caddy/v2/cmd/caddy@v2.11.2 ;;
  crane) module=github.com/google/go-containerregistry/cmd/crane@v0.20.6 ;;
  *) echo "tool.sh does not know $1" >&2; exit 2 ;;
esac
bin=$(pwd)/.venv/bin
if [ -x "$bin/$1" ]; then
  echo "$bin/$1"
elif command -v "$1"; then
  :
elif command -v go > /dev/null; then
  echo "Building $1 (once) ..." >&2
  GOBIN=$bin CGO_ENABLED=0 go install "$module" >&2
  echo "$bin/$1"
else
  echo "$1 is missing, and so is Go, of which it could be built: install one of the two" >&2
  exit 1
fi
