"""Supply chain."""

from tests.security.guard import Guard, swap

_PINS = "tests/test_requirements.py"

SUPPLIES = (
    Guard(
        "pins",
        "Every dependency is pinned with the hashes of its files, and no file names another index",
        f"{_PINS}::test_pins_are_made_with_hashes_and_without_addresses",
        swap("--no-emit-index-url ", ""),
    ),
    Guard(
        "image-hashes",
        "The image contains the relay and wheels that are pinned by hash; nothing else",
        f"{_PINS}::test_the_image_installs_nothing_else",
        swap(" --require-hashes", ""),
    ),
)
