"""`/admin/v1/session`, `/admin/v1/me`: logging in, the cookie, and the CSRF token."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import pytest_asyncio

from admin_api.auth import csrf_token_of

if TYPE_CHECKING:
    import httpx

    from server.wiring import Node
    from tests.admin_api.conftest import Site, Tenant

SESSION = "/admin/v1/session"
ME = "/admin/v1/me"
PASSWORD = "correct horse battery staple"


@pytest_asyncio.fixture(loop_scope="session")
async def credentials(node: Node) -> dict[str, str]:
    """An agent who can log in."""
    app = await node.services.apps.create("Sessions")
    email = f"noor-{uuid4().hex[:8]}@example.org"
    await node.services.agents.create(email, app.app.app_id, name="Noor", password=PASSWORD)
    return {"email": email, "password": PASSWORD}


class Console:
    """A browser that has logged in."""

    def __init__(self, client: httpx.AsyncClient, answer: httpx.Response) -> None:
        self.client = client
        self.answer = answer
        self.cookie = SimpleCookie(answer.headers["set-cookie"])["deskbell_session"]
        self.csrf = answer.json()["csrf_token"]

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Cookie": f"deskbell_session={self.cookie.value}"} | more.pop("headers", {})
        self.client.cookies.clear()
        return await self.client.request(method, path, headers=headers, **more)


@pytest_asyncio.fixture(loop_scope="session")
async def console(site: Site, credentials: dict[str, str]) -> Console:
    client = site.client()
    answer = await client.post(SESSION, json=credentials)
    assert answer.status_code == 200, answer.text
    return Console(client, answer)


async def test_logging_in(console: Console, credentials: dict[str, str]) -> None:
    me = console.answer.json()
    assert me["agent"]["email"] == credentials["email"]
    assert [app["name"] for app in me["apps"]] == ["Sessions"]
    cookie = console.cookie
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert (cookie["secure"], cookie["max-age"]) == (True, "43200")
    assert cookie.value not in console.answer.text
    again = await console.call("GET", ME)
    assert again.json() == me
    assert console.csrf == csrf_token_of(cookie.value)


@pytest.mark.parametrize(
    ("base", "secure"),
    [
        ("http://localhost:8080", ""),
        ("http://127.0.0.1:8080", ""),
        ("http://[::1]:8080", ""),
        ("https://localhost", True),
        ("http://desk.example.org", True),
        ("http://localhost.example.org", True),
    ],
)
async def test_only_this_very_machine_does_without_tls(
    site: Site, credentials: dict[str, str], base: str, secure: object
) -> None:
    answer = await site.client(base=base).post(SESSION, json=credentials)
    cookie = SimpleCookie(answer.headers["set-cookie"])["deskbell_session"]
    assert cookie["secure"] == secure


async def test_unsafe_requests_need_the_csrf_token(console: Console) -> None:
    path = f"/admin/v1/conversations/{uuid4()}/status"
    body = {"status": "open"}
    for headers in ({}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": "ü".encode()}):
        answer = await console.call("POST", path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (403, "X-CSRF-Token")
    own = {"X-CSRF-Token": console.csrf}
    assert (await console.call("POST", path, json=body, headers=own)).status_code == 404
    evil = await console.call("POST", path, json=body, headers=own | {"Origin": "https://evil.example"})
    assert (evil.status_code, evil.json()["field"]) == (403, "Origin")
    same = await console.call("POST", path, json=body, headers=own | {"Origin": "http://desk.test"})
    assert same.status_code == 404


async def test_logging_out(console: Console) -> None:
    refused = await console.call("DELETE", SESSION)
    assert refused.status_code == 403
    answer = await console.call("DELETE", SESSION, headers={"X-CSRF-Token": console.csrf})
    assert (answer.status_code, answer.content) == (204, b"")
    cookie = SimpleCookie(answer.headers["set-cookie"])["deskbell_session"]
    assert (cookie.value, cookie["max-age"]) == ("", "0")
    assert (await console.call("GET", ME)).status_code == 401


async def test_a_token_has_no_session(desk: httpx.AsyncClient, kestrel: Tenant) -> None:
    answer = await desk.get(ME)
    assert (answer.json()["csrf_token"], answer.json()["expires_at"]) == (None, None)
    assert answer.json()["apps"] == [{"id": str(kestrel.app), "name": "Kestrel", "role": "agent"}]
    ended = await desk.delete(SESSION)
    assert (ended.status_code, "set-cookie" in ended.headers) == (204, False)
    assert (await desk.get(ME)).status_code == 200


async def test_a_session_is_no_token_and_the_other_way_round(site: Site, console: Console, kestrel: Tenant) -> None:
    as_bearer = await site.client(console.cookie.value).get(ME)
    as_cookie = await site.client().get(ME, headers={"Cookie": f"deskbell_session={kestrel.token}"})
    both = await console.call("GET", ME, headers={"Authorization": "Bearer dba_unknown"})
    assert [answer.status_code for answer in (as_bearer, as_cookie, both)] == [401, 401, 401]


async def test_wrong_credentials_all_look_alike(site: Site, credentials: dict[str, str]) -> None:
    client = site.client()
    answers = [
        await client.post(SESSION, json=wrong)
        for wrong in (
            credentials | {"password": "wrong"},
            {"email": f"nobody-{uuid4()}@example.org", "password": PASSWORD},
            {"email": "not an address", "password": PASSWORD},
        )
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert all("set-cookie" not in answer.headers for answer in answers)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "a@example.org"}, "password"),
        ({"password": "x"}, "email"),
        ({"email": "a@example.org", "password": 1}, "password"),
        ({"email": "a@example.org", "password": "x" * 2000}, "password"),
        ({"email": "a@example.org\x00", "password": "x"}, "email"),
        ({"email": "a@example.org", "password": "x", "remember": True}, "remember"),
    ],
)
async def test_a_wrong_field_is_named(site: Site, body: Any, field: str) -> None:
    answer = await site.client().post(SESSION, json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_guessing_is_slowed_down(site: Site) -> None:
    client = site.client()
    email = f"target-{uuid4()}@example.org"
    statuses = [
        (await client.post(SESSION, json={"email": email, "password": f"guess {number}"})).status_code
        for number in range(11)
    ]
    assert statuses == [401] * 10 + [429]


async def test_a_page_elsewhere_cannot_log_its_visitor_in(site: Site, credentials: dict[str, str]) -> None:
    answer = await site.client().post(SESSION, json=credentials, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    form = await site.client().post(SESSION, data=credentials)
    assert form.status_code == 415
