#!/bin/sh
# Makes what a release uploads, dist/*.whl and dist/*.tar.gz, and tries it as somebody who installs it. Run by
# `make release`.
set -eu
cd "$(dirname "$0")/.."
run=${RELAY_RUN:-.venv/bin}
env=build/release-environment
version=$("$run/python" -c 'import relay; print(relay.__version__)')
# As files are named: 0.1.0-rc1 is 0.1.0rc1 there.
packaged=$("$run/python" -c 'import relay; from packaging.version import Version; print(Version(relay.__version__))')
source=build/release-source
rm -rf dist "$env" "$source"

# What the repository holds, with a README whose links work at PyPI too.
mkdir -p "$source"
git ls-files -z relay pyproject.toml README.md LICENSE | tar --null -T - -cf - | tar -xf - -C "$source"
"$run/python" -m requirements.readme > "$source/README.md"
# The wheel is made out of the source distribution: what that lacks, the wheel lacks, and the demo shows it.
"$run/python" -m build --no-isolation --outdir dist "$source" > /dev/null
wheel=$(ls dist/*.whl)
"$run/python" -m twine check --strict dist/*
case "$wheel" in
  "dist/exec_relay-$packaged-py3-none-any.whl") ;;
  *) echo "$wheel is not of version $version, which relay/__init__.py names"; exit 1 ;;
esac

echo "Installing it where nothing else is ..."
"$run/python" -m venv "$env"
"$env/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
"$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$wheel"
cd "$env"
bin/relay --version
bin/relay demo --json | tail -n 1
cd ../..

echo "dist/ holds exec-relay $version: $(ls -sh dist | tail -n +2 | awk '{print $2 " (" $1 ")"}' | paste -sd ' ' -)"
grep -q "^## \[$version\]" CHANGELOG.md ||
  echo "Before it goes out: CHANGELOG.md has no section [$version] yet; \`make tag\` makes it of what is under Unreleased."
