"""The one table of routes. The Starlette routes and `openapi.json` are both made from it, so they cannot drift."""

from __future__ import annotations

from admin_api import conversations, health, members, outreach, replies, sessions, transactions, users, webhooks

OPERATIONS = (
    *users.OPERATIONS,
    *transactions.OPERATIONS,
    *outreach.OPERATIONS,
    *webhooks.OPERATIONS,
    *sessions.OPERATIONS,
    *conversations.OPERATIONS,
    *replies.OPERATIONS,
    *members.OPERATIONS,
    *health.OPERATIONS,
)
