"""`relay.verify`, from its signature and its docstrings."""

import inspect
import sys

from docs.generating.tables import code, table
from relay.verify import Unverified, verify


def page() -> str:
    """The function, and each exception with what it means."""
    signature = str(inspect.signature(verify)).replace("collections.abc.", "").replace("typing.", "")
    rows = [[f"`{one.__name__}`", f"`{one.__base__.__name__}`", _first(one)] for one in _exceptions() if one.__base__]
    parts = [
        _HEAD,
        code(f"def verify{signature}: ...", "python"),
        inspect.getdoc(verify) or "",
        "\n## Exceptions\n",
        table(["raised", "is a", "means"], rows),
    ]
    return "\n".join(parts)


def _exceptions() -> list[type[Exception]]:
    found = vars(sys.modules[verify.__module__]).values()
    return [one for one in found if inspect.isclass(one) and issubclass(one, Unverified)]


def _first(one: type[Exception]) -> str:
    return (inspect.getdoc(one) or "").partition("\n")[0]


_HEAD = """\
# relay.verify

For receivers in Python that have the relay's package; [any other way](../how-to/python.md) is as good. It reads no
configuration, and keeps nothing.

```python
from relay import Unverified, verify

try:
    event = verify(request.headers, body, "whsec_...")
except Unverified as error:
    print(error)
```

What is more exact is in the module: `from relay.verify import BadSignature, TimestampTooOld`.
"""
