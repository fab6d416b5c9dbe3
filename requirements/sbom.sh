#!/bin/sh
# Lists what the container image runs, as CycloneDX JSON (build/sbom.cdx.json). Run by `make sbom`.
# The environment is made as the Dockerfile makes the image's: the same pins by hash, and the relay's own wheel.
set -eu
cd "$(dirname "$0")/.."
run=${RELAY_RUN:-.venv/bin}
env=build/sbom-environment
rm -rf "$env" build/sbom-wheels
"$run/python" -m venv --without-pip "$env"
"$run/python" -m pip --python "$env/bin/python" install --quiet --no-compile --only-binary :all: --require-hashes \
  -r requirements/image.txt
"$run/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/sbom-wheels .
"$run/python" -m pip --python "$env/bin/python" install --quiet --no-compile --no-deps build/sbom-wheels/*.whl
"$run/python" -m cyclonedx_py environment --output-reproducible --output-format JSON --pyproject pyproject.toml \
  --output-file build/sbom.cdx.json "$env/bin/python"
"$run/python" - <<'CHECK'
import json
import re

pins = set(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==(\S+)", open("requirements/image.txt").read(), re.MULTILINE))
listed = {(part["name"].lower().replace("_", "-").replace(".", "-"), part["version"])
          for part in json.load(open("build/sbom.cdx.json"))["components"]}
assert pins <= listed, f"pinned, and not in the list: {pins - listed}"
assert len(listed - pins) <= 1, f"in the list, and not pinned: {listed - pins}"
print(f"build/sbom.cdx.json lists what is pinned, {len(pins)} packages, and the relay")
CHECK
