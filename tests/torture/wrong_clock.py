"""`python -m tests.torture.wrong_clock FILE serve ...`: a relay whose machine's clock is as wrong as FILE says.

FILE holds milliseconds, which are read again all the time: whatever in the process asks Python for the time of day gets
it with these added. Clocks that only run, and can't be set, run on.
"""

import sys
import threading
import time
from pathlib import Path

import time_machine

_GLANCE = 0.01


def set_clock(file: Path, wrong_by: int) -> None:
    """From now on the clock of processes that read `file` is wrong by so many milliseconds."""
    ready = file.with_suffix(".new")
    ready.write_text(str(wrong_by))
    ready.replace(file)  # read whole, or as it was


def _follow(file: Path, traveller: time_machine.Traveller, known: str) -> None:
    while True:
        time.sleep(_GLANCE)
        if (wished := file.read_text()) != known:
            traveller.move_to(time_machine.escape_hatch.time.time() + int(wished) / 1_000)
            known = wished


def main(file: Path, arguments: list[str]) -> None:
    """Runs the relay's command with this clock."""
    wished = file.read_text()
    traveller = time_machine.travel(time.time() + int(wished) / 1_000, tick=True).start()
    threading.Thread(target=_follow, args=(file, traveller, wished), daemon=True).start()
    from relay.cli import main as relay

    sys.argv = ["relay", *arguments]
    relay()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
