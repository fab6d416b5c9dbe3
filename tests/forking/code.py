"""`python -c`, in a forked process: runs the text that is its first argument."""

import sys

if __name__ == "__main__":
    text = sys.argv.pop(1)
    exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 (a test's own)
