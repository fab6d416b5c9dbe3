#!/bin/sh
# Asks PyPI's advisories about every pin that ships or builds. Run by `make audit`; it needs the network.
# Exit code 1 for a known vulnerability; where the advisories can't be asked it says NOT AUDITED, and that is no pass.
set -u
cd "$(dirname "$0")/.."
mkdir -p build
failed=0
for pins in build runtime image; do
  if "${RELAY_PIP_AUDIT:-pip-audit}" --strict --disable-pip --require-hashes -r "requirements/$pins.txt" >build/audit.txt 2>&1; then
    echo "requirements/$pins.txt: no known vulnerability"
  elif grep -q "known vulnerabilit" build/audit.txt; then
    cat build/audit.txt
    failed=1
  else
    echo "requirements/$pins.txt: NOT AUDITED, the advisories could not be asked: $(tail -n 1 build/audit.txt | cut -c 1-200)"
  fi
done
exit "$failed"
