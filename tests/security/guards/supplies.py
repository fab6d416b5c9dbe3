"""What it is made of."""

from tests.security.guard import Guard, swap

_PINS = "tests/test_requirements.py"

SUPPLIES = (
    Guard(
        "pins",
        "Every dependency is pinned with the hashes of its files, and comes from no index that a file names",
        f"{_PINS}::test_pins_are_made_with_hashes_and_without_addresses",
        swap("--no-emit-index-url ", ""),
    ),
    Guard(
        "image-hashes",
        "The image gets wheels that are pinned, by their hashes, and the relay; nothing else",
        f"{_PINS}::test_nothing_else_is_installed",
        swap(" --require-hashes", ""),
    ),
)
