"""The configuration, as YAML."""

import tempfile
from pathlib import Path

from relay import config
from relay.errors import ConfigError
from tests.fuzz.target import Target

SECRET = "exec_live_" + "5ecret" * 5


def parse(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        try:
            config.load(Path(file.name), {"EXEC_API_KEY": SECRET})
        except ConfigError as error:
            assert SECRET not in str(error)
            raise


TARGET = Target(
    "configuration",
    parse,
    (ConfigError,),
    (
        b"exec: {api_key: '${EXEC_API_KEY}'}\n",
        b"exec:\n  api_key: ${EXEC_API_KEY:-exec_live_x}\n  budget: {per_minute: 60, share: 0.8}\npolling: {tick: 1s}",
        b"workspaces: [{name: a, api_key: exec_live_a}, &b {name: b, api_key: *x}]\n",
        b"delivery: {schedule: [0s, 5s, 1h30m]}\nsecurity: {allow_networks: [10.0.0.0/8, ::1]}\n",
        b"endpoints:\n- {name: a, url: 'https://example.com', events: [job.failed], headers: {x: y}}\n",
        b"<<: {a: b}\n? [1]\n: !!binary x\n",
    ),
    longest=8 * 1024,  # the operator's own file; the YAML library needs seconds for a very long one
)
