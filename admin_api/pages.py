"""The pages in the wheel: the phone, the desk and what they load. Static, with a strict content security policy."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from admin_api.doors import ApiDoors

FOLDER = Path(__file__).parent / "console"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; "
    "connect-src 'self' ws: wss:; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Names carry no version: ask each time, which costs a 304.
    "Cache-Control": "no-cache",
}
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
"""What is served at all: whatever else lies in the folder is nobody's business."""

_DEMO = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Deskbell demo</title>
<h1>Deskbell demo</h1>
<p>Two windows side by side show it best.</p>
<ul>
<li><a href="/phone">The phone: a customer of Kestrel</a></li>
<li><a href="/desk">The desk: an agent who answers</a></li>
</ul>
</html>
"""


class Files:
    """Reads files below one folder; each is kept until it changes on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._kept: dict[Path, tuple[tuple[int, int], bytes, str]] = {}

    def read(self, name: str) -> tuple[bytes, str, str]:
        """(content, media type, ETag). Raises FileNotFoundError for whatever is not a servable file in the folder."""
        media_type = MEDIA_TYPES.get(os.path.splitext(name)[1].lower())
        if media_type is None or "\x00" in name or "\\" in name:
            raise FileNotFoundError(name)
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise FileNotFoundError(name)
        state = path.stat()
        stamp = (state.st_mtime_ns, state.st_size)
        kept = self._kept.get(path)
        if kept is None or kept[0] != stamp:
            content = path.read_bytes()
            # Of the content: files of a wheel may all have the same date.
            kept = self._kept[path] = (stamp, content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        return kept[1], media_type, kept[2]


def page_routes(doors: ApiDoors) -> list[Route]:
    """`/`, `/phone`, `/desk`, `/assets/…`, and with a demo `/demo` and `/demo/session.json`."""
    pages, assets = Files(FOLDER), Files(FOLDER / "assets")
    demo_session = doors.demo_session

    def file(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await _file(pages, name, request)

        return answer

    async def asset(request: Request) -> Response:
        return await _file(assets, request.path_params["name"], request)

    async def landing(request: Request) -> Response:
        return RedirectResponse("/demo" if demo_session is not None else "/desk", headers={"Cache-Control": "no-store"})

    routes = [
        Route("/", landing),
        Route("/phone", file("phone.html")),
        Route("/desk", file("desk.html")),
        Route("/assets/{name:path}", asset),
    ]
    if demo_session is not None:
        routes += _demo_routes(demo_session)
    return routes


def _demo_routes(session: Callable[[], Awaitable[dict[str, Any]]]) -> list[Route]:
    async def landing(request: Request) -> Response:
        return Response(_DEMO, headers=HEADERS, media_type="text/html")

    async def credentials(request: Request) -> Response:
        return JSONResponse(await session(), headers={"Cache-Control": "no-store"})

    return [Route("/demo", landing), Route("/demo/session.json", credentials)]


async def _file(files: Files, name: str, request: Request) -> Response:
    try:
        content, media_type, etag = await run_in_threadpool(files.read, name)
    except (FileNotFoundError, NotADirectoryError, OSError):
        raise HTTPException(404) from None
    headers = HEADERS | {"ETag": etag}
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)
