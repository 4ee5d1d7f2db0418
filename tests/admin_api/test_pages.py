"""The static pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from admin_api.pages import FOLDER, Files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.admin_api.conftest import Site

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; "
    "connect-src 'self' ws: wss:; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/phone", "text/html; charset=utf-8"),
        ("/desk", "text/html; charset=utf-8"),
        ("/assets/vendor.js", "text/javascript; charset=utf-8"),
        ("/assets/desk/desk.css", "text/css; charset=utf-8"),
        ("/assets/desk/icon.svg", "image/svg+xml"),
    ],
)
async def test_pages_and_assets(site: Site, path: str, kind: str) -> None:
    client = site.client()
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    etag = answer.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        same = await client.get(path, headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets/nothing.js",
        "/assets/desk",
        "/assets/../phone.html",
        "/assets/..%2Fphone.html",
        "/assets/%2e%2e/%2e%2e/app.py",
        "/assets/..%5Cphone.html",
        "/assets//etc/passwd",
        "/assets/%2Fetc%2Fhostname.txt",
        "/assets/vendor.js%00.css",
        "/assets/vendor.d.ts",
        "/assets/" + "x" * 5000 + ".js",
        "/phone.html",
        "/demo",
        "/demo/session.json",
    ],
)
async def test_nothing_else_is_served(site: Site, path: str) -> None:
    assert await raw_get(site, path) == 404


async def raw_get(site: Site, path: str) -> int:
    """The status of a GET whose path is sent exactly like this; httpx would tidy it up."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await site.app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (tmp_path / "secret.js").write_text("secret")
    (folder / "link.js").symlink_to(tmp_path / "secret.js")
    (folder / "own.js").write_text("one")
    files = Files(folder)
    for name in ("link.js", "../secret.js", f"{tmp_path}/secret.js", "own.js\x00", "own.exe", "", "."):
        with pytest.raises(FileNotFoundError):
            files.read(name)
    content, kind, etag = files.read("own.js")
    assert (content, kind) == (b"one", "text/javascript; charset=utf-8")
    assert files.read("own.js")[2] == etag
    (folder / "own.js").write_text("changed")
    assert files.read("own.js")[0] == b"changed"
    assert files.read("own.js")[2] != etag


def test_the_pages_are_there() -> None:
    assert (FOLDER / "phone.html").is_file()
    assert (FOLDER / "desk.html").is_file()


async def test_the_demo(site: Site) -> None:
    session = {"app": "1", "users": [], "agent": {"email": "a", "password": "b"}}

    async def demo_session() -> dict[str, Any]:
        return session

    client = site.client(app=site.application(demo_session=demo_session))
    landing = await client.get("/")
    assert (landing.status_code, landing.headers["location"]) == (307, "/demo")
    page = await client.get("/demo")
    assert (page.status_code, page.headers["content-security-policy"]) == (200, POLICY)
    assert 'href="/phone"' in page.text
    answer = await client.get("/demo/session.json")
    assert (answer.json(), answer.headers["cache-control"]) == (session, "no-store")
    plain = await site.client().get("/")
    assert (plain.status_code, plain.headers["location"]) == (307, "/desk")
