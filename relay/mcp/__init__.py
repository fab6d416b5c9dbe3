"""The MCP server: tools with which agents create jobs, wait for them, and see what became of notifications.

The official SDK `mcp` is an extra. It is imported when a server is made, so that a relay without it starts as well.
"""

from relay.mcp.stdio import serve_stdio
from relay.mcp.streamable_http import McpEndpoint, is_installed

__all__ = ["McpEndpoint", "is_installed", "serve_stdio"]
