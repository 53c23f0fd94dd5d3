"""The page under `/ui`: a fixed set of files, with headers that forbid everything else."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from app.api.admin_auth import AdminAuth, Serve

_FOLDER = Path(__file__).parent / "static"
_PAGE = "index.html"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

_DESCRIPTION: dict[str, Any] = {
    "summary": "A page of this replica, with a playground",
    "tags": ["admin"],
    "response_class": HTMLResponse,
    "responses": {401: {"description": "No admin key, or another one"}, 403: {"description": "Not from there"}},
}


def ui_router(admin_auth: AdminAuth) -> APIRouter:
    """The routes of the page and its files, which are read now, behind `AdminAuth`."""
    router = APIRouter()
    files = {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    for name, content in files.items():
        part = admin_auth.protected(_part(name, content))
        router.add_api_route(f"/ui/{name}", part, methods=["GET"], include_in_schema=False)
    page = admin_auth.protected(_page(files[_PAGE]))
    router.add_api_route("/ui", page, methods=["GET"], **_DESCRIPTION)
    return router


def _page(content: bytes) -> Serve:
    """The endpoint of the page, at `/ui` and at `/ui/`.

    Its links are relative, so that they work under any prefix that an ingress adds. Relative to `/ui/` its files are in
    the same folder, relative to `/ui` one folder down.
    """
    beside = _part(_PAGE, content)
    below = _part(_PAGE, content.replace(b'="./', b'="ui/'))

    async def serve(request: Request) -> Response:
        # `AsgiApp` takes the slash off the path, but not off the path as it was sent.
        has_slash = request.scope["raw_path"].endswith(b"/")
        return await (beside if has_slash else below)(request)

    return serve


def _part(name: str, content: bytes) -> Serve:
    async def serve(request: Request) -> Response:  # noqa: ARG001 - FastAPI hands it over by this name
        return Response(content, media_type=_TYPES[Path(name).suffix], headers=_HEADERS)

    return serve
