"""Runs many command lines of `relay` in one process, and prints after each `END`, its exit code and `END` again. They
come as JSON, in the argument or on standard input: each with the folder that it runs in.
"""

import json
import os
import sys

from relay.cli import main

END = "\x1e"

if __name__ == "__main__":
    for folder, words in json.loads(sys.argv[1]) if len(sys.argv) > 1 else json.load(sys.stdin):
        os.chdir(folder)
        try:
            main(words, prog_name="relay")
        except SystemExit as left:
            sys.stdout.write(f"{END}{left.code or 0}{END}\n")
            sys.stdout.flush()
