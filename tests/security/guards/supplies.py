"""What it is made of."""

from tests.security.guard import Guard

_PINS = "tests/test_requirements.py"

SUPPLIES = (
    Guard(
        "Every dependency is pinned with the hashes of its files, and comes from no index that a file names",
        f"{_PINS}::test_file_holds_hashed_pins_and_nothing_else",
        "requirements/build.txt",
        "\nsetuptools==",
        "\n--extra-index-url https://example.com/simple\nsetuptools==",
    ),
    Guard(
        "The image gets wheels that are pinned, by their hashes, and the relay; nothing else",
        f"{_PINS}::test_nothing_else_is_installed",
        "Dockerfile",
        "/opt/build/bin/pip install --only-binary :all: --require-hashes -r",
        "/opt/build/bin/pip install --only-binary :all: -r",
    ),
)
