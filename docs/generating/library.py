"""Writes the page of `relay.verify`, from its signature and its docstrings."""

import inspect
import sys

from docs.generating.tables import code, table
from relay.verify import Unverified, verify


def page() -> str:
    """The page: the function, and each exception with its meaning."""
    signature = str(inspect.signature(verify)).replace("collections.abc.", "").replace("typing.", "")
    rows = [
        [f"`{kind.__name__}`", f"`{kind.__base__.__name__}`", _summary(kind)] for kind in _exceptions() if kind.__base__
    ]
    parts = [
        _HEAD,
        code(f"def verify{signature}: ...", "python"),
        inspect.getdoc(verify) or "",
        "\n## Exceptions\n",
        table(["exception", "base", "meaning"], rows),
    ]
    return "\n".join(parts)


def _exceptions() -> list[type[Exception]]:
    names = vars(sys.modules[verify.__module__]).values()
    return [value for value in names if inspect.isclass(value) and issubclass(value, Unverified)]


def _summary(exception: type[Exception]) -> str:
    return (inspect.getdoc(exception) or "").partition("\n")[0]


_HEAD = """\
# relay.verify

Verifies notifications in receivers that have the relay's package; [any other library](../how-to/receive.md) is as good.
It reads no configuration, and stores nothing.

```python
from relay import Unverified, verify

try:
    event = verify(request.headers, body, "whsec_...")
except Unverified as error:
    print(error)
```

The module has more exact exceptions: `from relay.verify import BadSignature, TimestampTooOld`.
"""
