"""Health, numbers and documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdk_protocol.asyncapi import document as sockets
from server.domain.errors import Unavailable

if TYPE_CHECKING:
    from tests.admin_api.conftest import Site


async def test_alive(site: Site) -> None:
    answer = await site.client().get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive", "version": "1.2.3"})


async def test_ready_or_why_not(site: Site) -> None:
    ready = await site.client().get("/readyz")
    facts = {"version": "1.2.3", "database": {"version": "18"}}
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"} | facts)
    reasons = {"drain": "this node is going away", "bus": "silent for 3 s"}

    async def readiness() -> dict[str, str]:
        return reasons

    red = await site.client(app=site.application(readiness=readiness)).get("/readyz")
    assert (red.status_code, red.json()) == (503, {"status": "not_ready", "reasons": reasons} | facts)


async def test_numbers(site: Site) -> None:
    answer = await site.client().get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "deskbell_commits_total" in answer.text


async def test_numbers_of_several_processes(site: Site) -> None:
    async def page() -> bytes:
        return b"deskbell_workers 2.0\n"

    async def late() -> bytes:
        raise Unavailable("The numbers of all workers did not come in time.")

    answer = await site.client(app=site.application(metrics_page=page)).get("/metrics")
    assert (answer.status_code, answer.text) == (200, "deskbell_workers 2.0\n")
    answer = await site.client(app=site.application(metrics_page=late)).get("/metrics")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_the_sockets_document(site: Site) -> None:
    answer = await site.client().get("/asyncapi.json")
    assert answer.json() == sockets()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json"])
async def test_machines_send_no_parameters(site: Site, path: str) -> None:
    assert (await site.client().get(f"{path}?verbose=1")).status_code == 400


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/desk"])
async def test_a_socket_is_not_a_page(site: Site, path: str) -> None:
    answer = await site.client().get(path)
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/desk"])
async def test_handshakes_go_to_the_gateway(site: Site, path: str) -> None:
    called: list[str] = []

    async def handshake(scope: dict[str, object], _receive: object, _send: object) -> None:
        called.append(f"{scope['type']} {scope['path']}")

    app = site.application(sockets=handshake)
    scope = {"type": "websocket", "path": path, "query_string": b"", "headers": []}
    await app(scope, None, None)  # type: ignore[arg-type]  # a handshake that nobody answers needs neither
    assert called == [f"websocket {path}"]
