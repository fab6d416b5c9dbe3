#!/usr/bin/env bash
# Waits for $JOB, and writes the outputs of the action. RELAY_URL, RELAY_API_KEY, REGISTER, TIMEOUT and PACKAGE are its inputs.
set -euo pipefail
if ! command -v relay > /dev/null; then
  python3 -m venv "$RUNNER_TEMP/exec-relay"
  "$RUNNER_TEMP/exec-relay/bin/python" -m pip install --quiet --disable-pip-version-check "$PACKAGE"
  PATH="$RUNNER_TEMP/exec-relay/bin:$PATH"
fi
options=(--timeout "$TIMEOUT" --json)
if [ "$REGISTER" = true ]; then options+=(--register); fi
code=0
answer=$(relay wait "${options[@]}" -- "$JOB") || code=$?
if [ -n "$answer" ]; then
  printf '%s' "$answer" | python3 -c '
import json, sys

job = json.load(sys.stdin)
at_exec = job["job"] or {}
url = (at_exec.get("scenario") or {}).get("url")
outputs = {"status": at_exec.get("status"), "ended": json.dumps(job["ended"]), "scenario-url": url, "job": json.dumps(job)}
for name, value in outputs.items():
    print(f"{name}={str(value or str()).splitlines()[0] if value else str()}")
' >> "$GITHUB_OUTPUT"
fi
exit "$code"
