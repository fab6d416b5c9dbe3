"""The MCP server on standard input and output, for one client that started it."""

import sys
from io import TextIOWrapper
from typing import Any, cast

from relay.client import AsyncRelay
from relay.errors import RelayError

_MISSING = "the MCP server needs the SDK, which is not installed: pip install 'exec-relay[mcp]'"


async def serve_stdio(relay: AsyncRelay) -> None:
    """Serves until standard input ends, also in the middle of a call: then its client has gone. Nothing but messages
    goes to standard output. Raises RelayError without the extra."""
    try:
        import anyio
        from mcp.server.stdio import stdio_server

        from relay.mcp.tasks import options_with_tasks
        from relay.mcp.tools import make_server
    except ImportError:
        raise RelayError(_MISSING) from None
    server = make_server(lambda: relay)._mcp_server
    ended = anyio.Event()
    source = anyio.wrap_file(TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace"))

    class Input:
        """Standard input that says when it has ended."""

        def __aiter__(self) -> "Input":
            return self

        async def __anext__(self) -> str:
            if line := await source.readline():
                return line
            ended.set()
            raise StopAsyncIteration

    async with anyio.create_task_group() as tasks, stdio_server(stdin=cast(Any, Input())) as (read, write):
        tasks.start_soon(server.run, read, write, options_with_tasks(server))
        await ended.wait()
        tasks.cancel_scope.cancel()
