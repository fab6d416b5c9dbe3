#!/bin/sh
# Prints where a program is that judges or tries what is deployed: on this machine; or installed by Debian's packages; or
# built into .venv/bin from its Go module, whose hash Go's checksum database answers for. usage: tool.sh NAME
set -eu
cd "$(dirname "$0")/.."
bin=$(pwd)/.venv/bin
PATH=$bin:$PATH:/usr/sbin
command -v "$1" && exit 0

case "$1" in
  actionlint) module=github.com/rhysd/actionlint@v1.7.12 command=cmd/actionlint ;;
  helm) module=helm.sh/helm/v3@v3.22.0 command=cmd/helm ;;
  caddy) module=github.com/caddyserver/caddy/v2@v2.11.9 command=cmd/caddy ;;
  crane) module=github.com/google/go-containerregistry@v0.22.1 command=cmd/crane ;;
  nginx)
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
      { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light; } > /dev/null 2>&1 || true
    fi
    command -v nginx || { echo "nginx is missing; on Debian: apt install nginx-light" >&2; exit 1; }
    exit 0 ;;
  *) echo "tool.sh does not know $1" >&2; exit 2 ;;
esac

if ! command -v go > /dev/null; then
  echo "$1 is missing, and so is Go, of which it could be built: install one of the two" >&2
  exit 1
fi
echo "Building $1 (once) ..." >&2
mkdir -p "$bin"
export CGO_ENABLED=0
GOBIN=$bin go install "${module%@*}/$command@${module#*@}" >&2
echo "$bin/$1"
