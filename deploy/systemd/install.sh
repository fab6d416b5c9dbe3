#!/bin/sh
# Installs the relay of this checkout as a service of systemd, and upgrades it when it is run again: the program is
# /opt/relay/bin/relay, its settings are in /etc/relay, its store is in /var/lib/relay. Run it as root. It starts nothing.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
[ "$(id -u)" = 0 ] || { echo "Run this as root." >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "The relay needs Python 3.11 or newer; name one with: PYTHON=python3.12 sh $0" >&2; exit 1; }

[ -x /opt/relay/bin/pip ] || "$python" -m venv /opt/relay
install() { /opt/relay/bin/pip install --quiet --disable-pip-version-check "$@"; }
install --require-hashes -r requirements/build.txt -r requirements/image.txt
install --no-deps --no-build-isolation .

getent passwd relay > /dev/null ||
  useradd --system --user-group --home-dir /var/lib/relay --shell /usr/sbin/nologin relay
mkdir -p /etc/relay
# Settings that are there are kept.
[ -e /etc/relay/config.yaml ] || {
  cp config.example.yaml /etc/relay/config.yaml
  chown root:relay /etc/relay/config.yaml
  chmod 640 /etc/relay/config.yaml
}
[ -e /etc/relay/environment ] || (
  umask 077
  made=$(/opt/relay/bin/relay keygen)
  echo "$made" | head -n 1 > /etc/relay/api-key
  echo "$made" | grep '^RELAY_SECURITY__API_KEYS=' > /etc/relay/environment
  echo "RELAY_SECURITY__SECRET_KEY=$(/opt/relay/bin/relay keygen --secret)" >> /etc/relay/environment
  echo "Keep a copy of /etc/relay/environment with your passwords: without its keys no backup can be opened."
)
cp deploy/systemd/relay.service /etc/systemd/system/relay.service
systemctl daemon-reload
echo "Installed $(/opt/relay/bin/relay --version). Its API key is in /etc/relay/api-key."
