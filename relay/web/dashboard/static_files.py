"""Static files: style, scripts, the icon. Browsers cache them until the relay's version changes."""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay import __version__
from relay.errors import NotFound
from relay.web.core import errors

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FOLDER = files("relay.web.dashboard") / "static"
_CONTENT = {entry.name: entry.read_bytes() for entry in _FOLDER.iterdir() if entry.name.rpartition(".")[2] in _TYPES}
_CACHE_HEADERS = {"cache-control": "public, max-age=31536000, immutable"}


async def _file(request: Request) -> Response:
    name: str = request.path_params["name"]
    if request.path_params["version"] != __version__ or name not in _CONTENT:
        return errors.error_response(NotFound("unknown_path", "there is no such file"))
    return Response(_CONTENT[name], headers=_CACHE_HEADERS, media_type=_TYPES[name.rpartition(".")[2]])


ROUTE = Route("/static/{version}/{name}", _file)
