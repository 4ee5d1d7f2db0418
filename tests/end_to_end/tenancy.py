"""Apps with people in them, made through the public doors of a server; every string of theirs is a secret."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.end_to_end.deskbell_process import run_command
from tests.end_to_end.device import Device
from tests.end_to_end.rawsocket import Frame, Rest, fresh_id, sign

if TYPE_CHECKING:
    from pathlib import Path


class RunningServer(Protocol):
    """What these checks need to know of a running server (the session's ``demo_server``)."""

    @property
    def url(self) -> str: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def log_path(self) -> Path: ...


@dataclass
class Ids:
    """The ids that name one tenant's things, or, made up, nobody's."""

    app: str
    agent: str
    agent_email: str
    user: str
    transaction: str
    conversation: str
    message: str
    device: str
    webhook: str
    delivery: str
    definition: str
    action: str

    def values(self) -> list[str]:
        return list(vars(self).values())


@dataclass
class Tenant:
    """One app: its keys, one agent, and once :func:`settle` ran, one customer in a conversation with that agent.

    ``secrets`` are strings nobody outside may ever be told: names, texts, ids, tokens.
    """

    url: str
    app: str
    server_key: str
    identity: dict[str, str]
    agent: dict[str, str]
    secrets: set[str] = field(default_factory=set)

    def secret(self, label: str) -> str:
        """A fresh string of this tenant that has to stay with it."""
        text = f"{label}-{secrets.token_hex(6)}"
        self.secrets.add(text)
        return text

    def user_token(self, external_id: str, **claims: Any) -> str:
        return sign(self.identity, self.app, external_id, **claims)


def create_tenant(server: RunningServer, label: str) -> Tenant:
    """An app and an agent by the command line, against the running server's own database."""
    environment = {"DESKBELL_DATA_DIR": str(server.data_dir)}
    name = f"{label} {secrets.token_hex(6)}"
    app = run_command("app", "create", name, "--json", **environment)
    email = f"agent-{secrets.token_hex(6)}@example.org"
    agent = run_command("agent", "create", email, "--app", app["app"], "--json", **environment)
    tenant = Tenant(
        server.url.rstrip("/"),
        app["app"],
        app["server_key"],
        app["identity"],
        {"id": agent["agent"], "email": email, "token": agent["token"], "password": agent["password"]},
    )
    tenant.secrets |= {name, email, app["app"], app["server_key"], app["identity"]["secret"]}
    tenant.secrets |= {str(agent[key]) for key in ("agent", "token", "password")}
    return tenant


_shared: dict[str, Tenant] = {}


async def shared_tenant(server: RunningServer) -> Tenant:
    """One app for all checks that only need some: a command a check would cost more than the checks."""
    if server.url not in _shared:
        _shared[server.url] = await asyncio.to_thread(create_tenant, server, "Shared")
    return _shared[server.url]


async def create_tenants(server: RunningServer, *labels: str) -> list[Tenant]:
    return [await asyncio.to_thread(create_tenant, server, label) for label in labels]


def text_body(text: str) -> Frame:
    return {"kind": "text", "text": text}


async def settle(tenant: Tenant) -> Ids:
    """Give the tenant a customer with a ride, a conversation about it, an agent's reply and a private note."""
    ids = Ids(
        app=tenant.app,
        agent=tenant.agent["id"],
        agent_email=tenant.agent["email"],
        user=tenant.secret("user"),
        transaction=tenant.secret("ride"),
        conversation=fresh_id(),
        message=fresh_id(),
        device=fresh_id(),
        webhook="",
        delivery="",
        definition="",
        action="",
    )
    app_server, desk = Rest(tenant.url, tenant.server_key), Rest(tenant.url, tenant.agent["token"])
    profile = {"name": tenant.secret("name"), "email": f"{tenant.secret('mail')}@example.org"}
    (await app_server("PUT", f"/v1/users/{ids.user}", profile)).raise_for_status()
    ride = {
        "version": 1,
        "kind": "ride",
        "status": "completed",
        "title": tenant.secret("title"),
        "amount": {"value": "12.50", "currency": "EUR"},
        "occurred_at": "2026-03-01T08:30:00Z",
        "attributes": {"driver": tenant.secret("driver")},
    }
    (await app_server("PUT", f"/v1/users/{ids.user}/transactions/{ids.transaction}", ride)).raise_for_status()
    # A name that leads to this machine, which is never called: deliveries to it wait.
    hook = {"url": f"https://localhost/{tenant.secret('hook')}", "events": ["message.created", "rating.given"]}
    made = (await app_server("POST", "/v1/webhooks", hook)).raise_for_status().json()
    ids.webhook = made["id"]
    tenant.secrets.add(made["secret"])
    device = Device(tenant.url, tenant.user_token(ids.user), device=ids.device)
    welcome = await device.connect()
    opening = {
        "t": "open",
        "conversation": ids.conversation,
        "topic": tenant.secret("topic"),
        "transaction": ids.transaction,
        "message": {"id": ids.message, "body": text_body(tenant.secret("text"))},
    }
    answer = await device.socket.call(opening)
    if answer["t"] != "ok":
        raise AssertionError(f"a conversation of {tenant.app} could not be opened: {answer}")
    await device.close()
    thread = f"/admin/v1/conversations/{ids.conversation}"
    for path, label in (("messages", "reply"), ("notes", "note")):
        body = {"id": fresh_id(), "body": text_body(tenant.secret(label))}
        tenant.secrets.add(str(body["id"]))
        (await desk("POST", f"{thread}/{path}", body)).raise_for_status()
    deliveries = (await app_server("GET", f"/v1/webhooks/{ids.webhook}/deliveries?limit=1")).raise_for_status().json()
    ids.delivery = deliveries["items"][0]["id"]
    offer = {
        "name": tenant.secret("action"),
        "title": tenant.secret("title"),
        "url": f"https://localhost/{tenant.secret('endpoint')}",
        "parameters": {"type": "object", "properties": {"why": {"type": "string"}}},
        "approval": "second_agent",  # so that it waits, whatever the workers do
    }
    defined = (await app_server("POST", "/v1/actions", offer)).raise_for_status().json()
    ids.definition = defined["id"]
    tenant.secrets.add(defined["secret"])
    press = {"action": offer["name"], "transaction": ids.transaction, "parameters": {"why": tenant.secret("why")}}
    ids.action = (await desk("POST", f"{thread}/actions", press)).raise_for_status().json()["id"]
    tenant.secrets |= {*ids.values(), welcome["user"]["id"]}
    return ids


def nobody(like: Ids) -> Ids:
    """Ids of the same form that exist nowhere."""
    return Ids(
        app=_similar(like.app),
        agent=_similar(like.agent),
        agent_email=f"agent-{secrets.token_hex(6)}@example.org",
        user=f"user-{secrets.token_hex(6)}",
        transaction=f"ride-{secrets.token_hex(6)}",
        conversation=fresh_id(),
        message=fresh_id(),
        device=fresh_id(),
        webhook=fresh_id(),
        delivery=fresh_id(),
        definition=fresh_id(),
        action=fresh_id(),
    )


def _similar(name: str) -> str:
    """A name of the same length and alphabet: only existence may tell the two apart. UUIDs stay UUIDs."""
    if len(name) == 36 and name.count("-") == 4:
        return fresh_id()
    head, separator, tail = name.rpartition("_")
    return head + separator + secrets.token_hex(len(tail))[: len(tail)]


async def the_story_of(tenant: Tenant, ids: Ids) -> dict[str, Any]:
    """What the tenant itself can read of its customer; two readings differ only when somebody changed something."""
    app_server, desk = Rest(tenant.url, tenant.server_key), Rest(tenant.url, tenant.agent["token"])
    thread = f"/admin/v1/conversations/{ids.conversation}"
    webhook = (await app_server("GET", f"/v1/webhooks/{ids.webhook}")).raise_for_status().json()
    defined = (await app_server("GET", f"/v1/actions/{ids.definition}")).raise_for_status().json()
    story = {
        "definition": defined,
        "action": (await desk("GET", f"/admin/v1/actions/{ids.action}")).raise_for_status().json(),
        "webhook": {name: webhook[name] for name in ("url", "events", "enabled", "updated_at")},
        "user": (await app_server("GET", f"/v1/users/{ids.user}")).json(),
        "transactions": (await app_server("GET", f"/v1/users/{ids.user}/transactions")).json(),
        "conversation": (await desk("GET", thread)).json(),
        "events": (await desk("GET", f"{thread}/events?after=0&limit=200")).json(),
        "me": (await desk("GET", "/admin/v1/me")).json(),
    }
    for name in ("user", "transactions", "conversation", "events"):
        if "status" in story[name] and "code" in story[name]:
            raise AssertionError(f"{tenant.app} cannot read its own {name}: {story[name]}")
    return story
