"""The matrix of frames a tenant could try on another: one line a frame type, from protocol.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.end_to_end.rawsocket import Frame, fresh_id
from tests.end_to_end.tenancy import text_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.tenancy import Ids


@dataclass(frozen=True)
class FrameTrial:
    """``build(ids)`` would work for the owner of ``ids``. ``answered``: by ``ok``, ``error`` or ``page``, with a ref.

    ``codes`` are the errors another tenant's id may get; the same must come for an id that exists nowhere.
    No codes: it may also be accepted, as long as both are.
    """

    t: str
    build: Callable[[Ids], Frame]
    answered: bool = True
    codes: tuple[str, ...] = ("not_found",)


def _about(t: str, answered: bool = True, **fields: Any) -> FrameTrial:
    return FrameTrial(t, lambda ids: {"t": t, "conversation": ids.conversation, **fields}, answered)


def _message(t: str) -> FrameTrial:
    def build(ids: Ids) -> Frame:
        return {"t": t, "conversation": ids.conversation, "id": fresh_id(), "body": text_body("from the wrong side")}

    return FrameTrial(t, build)


CHAT_TRIALS = (
    # An app may push its transactions late, so an unknown one need not stop a customer from asking for help.
    FrameTrial("open", lambda ids: {"t": "open", "conversation": fresh_id(), "transaction": ids.transaction}, codes=()),
    _message("send"),
    _about("read", answered=False, seq=1),
    _about("typing", answered=False, on=True),
    _about("history", limit=10),
    _about("rate", score=1, comment="not mine"),
    _about("press", seq=1, button="yes"),
)
# Frames that name nothing another tenant could own, and the two that carry a token, which have a test of their own.
CHAT_WITHOUT_IDS = {"hello", "refresh", "ack", "foreground", "push_token", "logout", "ping"}

DESK_TRIALS = (
    _about("watch", seq=0),
    _about("unwatch", answered=False),
    FrameTrial("watch_inbox", lambda ids: {"t": "watch_inbox", "app": ids.app, "filter": {"status": "open"}}),
    _message("send"),
    _message("note"),
    _about("typing", answered=False, on=True),
    _about("read", answered=False, seq=1),
    _about("status", status="resolved"),
    FrameTrial("assign", lambda ids: {"t": "assign", "conversation": ids.conversation, "agent": ids.agent}),
)
DESK_WITHOUT_IDS = {"hello", "presence", "ping"}


def client_frames(asyncapi: Frame, path: str) -> set[str]:
    """The `t` of every frame the server receives on a channel, read from an AsyncAPI 3 document."""
    channels = {name: channel for name, channel in asyncapi["channels"].items() if channel.get("address", name) == path}
    if not channels:
        raise AssertionError(f"/asyncapi.json describes no channel {path}")
    found: set[str] = set()
    for operation in asyncapi["operations"].values():
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        if operation["action"] != "receive" or channel not in channels:
            continue
        messages = operation.get("messages") or [
            {"$ref": f"#/channels/{channel}/messages/{name}"} for name in channels[channel]["messages"]
        ]
        for message in messages:
            found |= _tags(asyncapi, _resolved(asyncapi, message).get("payload", {}))
    return found


def _resolved(document: Frame, node: Frame) -> Frame:
    while "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def _tags(document: Frame, schema: Frame) -> set[str]:
    schema = _resolved(document, schema)
    if isinstance(schema.get("schema"), dict):
        return _tags(document, schema["schema"])
    for union in ("oneOf", "anyOf"):
        if union in schema:
            return {tag for branch in schema[union] for tag in _tags(document, branch)}
    tag = schema["properties"]["t"]
    return {tag["const"]} if "const" in tag else set(tag["enum"])
