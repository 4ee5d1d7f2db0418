"""Examples for `openapi.json`, one story throughout: Blanca left her umbrella in a ride. A test holds each against its
schema."""

from __future__ import annotations

from typing import Any

APP_ID = "0198c5a2-6c3e-7b1a-9d40-3f1f5f0c7a11"
USER_ID = "5b0f5c6e-3f0a-5c59-8f0e-6f4f6a2d9f10"
AGENT_ID = "0198c5a2-7d10-7e4c-8a51-0c2f5d1e9b22"
CONVERSATION_ID = "0198c5b0-11aa-7f00-8c11-5a6b7c8d9e01"
MESSAGE_ID = "0198c5b0-22bb-7f00-8c11-5a6b7c8d9e02"
AT = "2026-03-01T08:45:12.120Z"
LATER = "2026-03-01T08:46:40.318Z"

AGENT: dict[str, Any] = {"type": "agent", "id": AGENT_ID, "name": "Noor"}
TEXT = {"kind": "text", "text": "We found it. Black, with a duck handle?"}
RIDE_FACTS: dict[str, Any] = {
    "version": 3,
    "kind": "ride",
    "status": "completed",
    "title": "Ride to the harbour",
    "amount": {"value": "12.50", "currency": "EUR"},
    "occurred_at": "2026-03-01T08:30:00Z",
    "attributes": {"driver": "Ada", "plate": "KS-100"},
}
RIDE: dict[str, Any] = {"id": "ride-17"} | RIDE_FACTS | {"occurred_at": "2026-03-01T08:30:00.000Z"}
EVENT: dict[str, Any] = {
    "conversation": CONVERSATION_ID,
    "seq": 3,
    "kind": "message",
    "at": LATER,
    "author": AGENT,
    "id": MESSAGE_ID,
    "body": TEXT,
}
SUMMARY: dict[str, Any] = {
    "id": CONVERSATION_ID,
    "topic": "lost_item",
    "status": "open",
    "seq": 3,
    "rev": 3,
    "user_read_seq": 0,
    "agent_read_seq": 2,
    "unread": 0,
    "assignee": {"id": AGENT_ID, "name": "Noor"},
    "last_message": {"seq": 3, "author": {"type": "agent"}, "at": LATER, "kind": "text", "text": TEXT["text"]},
    "opened_at": AT,
    "app": APP_ID,
    "user": {"id": USER_ID, "external_id": "blanca", "name": "Blanca Box"},
    "tags": ["umbrella"],
    "headline": "Ride to the harbour · completed",
}
USER: dict[str, Any] = {
    "id": USER_ID,
    "external_id": "blanca",
    "name": "Blanca Box",
    "email": "blanca@example.org",
    "phone": None,
    "locale": "en",
    "properties": {"tier": "gold"},
    "created_at": AT,
    "updated_at": AT,
}
EXPORT: dict[str, Any] = {
    "user": USER,
    "transactions": [RIDE],
    "events": [EVENT | {"usn": 3}],
    "exported_at": LATER,
}
TOKEN: dict[str, Any] = {"token": "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0.e30.c2ln", "expires_at": LATER}
DETAIL: dict[str, Any] = {
    "conversation": SUMMARY,
    "user": USER,
    "context": {"transaction": RIDE, "recent": [RIDE], "frozen_at": AT},
    "transactions": [RIDE],
    "others": [],
}
ME: dict[str, Any] = {
    "agent": {"id": AGENT_ID, "name": "Noor", "email": "noor@example.org"},
    "apps": [{"id": APP_ID, "name": "Kestrel", "role": "agent"}],
    "csrf_token": "6f0d1c…",
    "expires_at": "2026-03-01T20:45:12.120Z",
}
MEMBER: dict[str, Any] = {"id": AGENT_ID, "name": "Noor", "role": "agent"}
DELIVERY: dict[str, Any] = {
    "device": "0198c5b0-33cc-7f00-8c11-5a6b7c8d9e03",
    "platform": "android",
    "state": "accepted",
    "want_seq": 3,
    "sent_seq": 3,
    "due_at": LATER,
    "attempts": 0,
    "ambiguous": False,
    "outcome": "accepted",
    "outcome_at": LATER,
}

WEBHOOK_ID = "0198c5b0-44dd-7f00-8c11-5a6b7c8d9e04"
WEBHOOK: dict[str, Any] = {
    "id": WEBHOOK_ID,
    "url": "https://api.kestrel.example/deskbell",
    "events": ["conversation.opened", "message.created"],
    "description": "Kestrel's backend",
    "enabled": True,
    "state": "active",
    "reason": None,
    "failing_since": None,
    "created_at": AT,
    "updated_at": AT,
}
WEBHOOK_DELIVERY: dict[str, Any] = {
    "id": "0198c5b0-55ee-7f00-8c11-5a6b7c8d9e05",
    "type": "message.created",
    "conversation": CONVERSATION_ID,
    "seq": 3,
    "state": "pending",
    "attempts": 2,
    "status": 500,
    "error": "it answered 500",
    "last_attempt_at": LATER,
    "next_attempt_at": LATER,
    "created_at": LATER,
}

ACTION_OFFER: dict[str, Any] = {
    "id": "0198c5b0-66ff-7f00-8c11-5a6b7c8d9e06",
    "name": "refund",
    "title": "Refund",
    "kinds": ["ride"],
    "parameters": {
        "type": "object",
        "properties": {"amount": {"type": "string"}, "reason": {"type": "string", "enum": ["late", "rude", "other"]}},
        "required": ["amount"],
        "additionalProperties": False,
    },
    "amount_limit": {"value": "20.00", "currency": "EUR"},
    "over_limit": "approve",
    "approval": "none",
    "allow_parallel": False,
    "enabled": True,
}
ACTION_DEFINITION: dict[str, Any] = ACTION_OFFER | {
    "url": "https://api.kestrel.example/deskbell/refund",
    "created_at": AT,
    "updated_at": AT,
}
ACTION: dict[str, Any] = {
    "id": "0198c5b0-7700-7f00-8c11-5a6b7c8d9e07",
    "action": "refund",
    "title": "Refund",
    "app": APP_ID,
    "conversation": CONVERSATION_ID,
    "transaction": RIDE,
    "parameters": {"amount": "5.00", "reason": "late"},
    "state": "pending",
    "approver": None,
    "requested_by": {"id": AGENT_ID, "name": "Noor"},
    "requested_at": LATER,
    "decided_by": None,
    "decided_at": None,
    "attempts": 0,
    "next_attempt_at": LATER,
    "status": None,
    "error": None,
    "message": None,
    "updated_at": LATER,
}


def page(*items: dict[str, Any]) -> dict[str, Any]:
    """A list's only page."""
    return {"items": list(items), "next_cursor": None}
