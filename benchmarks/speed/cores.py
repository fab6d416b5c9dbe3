"""Who runs where: what is measured has one core to itself, all else has the other."""

import os
from pathlib import Path

OURS, THEIRS = 0, min(1, (os.cpu_count() or 1) - 1)
"""The core of what is measured, and that of everything else: the receiver, who asks, the database's server."""

ROOT = Path(__file__).parents[2]
