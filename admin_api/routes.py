"""The one table of routes. The Starlette routes and `openapi.json` are both made from it, so they cannot drift."""

from __future__ import annotations

from admin_api import (
    action_definitions,
    actions,
    conversations,
    health,
    members,
    outreach,
    replies,
    sessions,
    transactions,
    users,
    webhooks,
)

OPERATIONS = (
    *users.OPERATIONS,
    *transactions.OPERATIONS,
    *outreach.OPERATIONS,
    *webhooks.OPERATIONS,
    *action_definitions.OPERATIONS,
    *sessions.OPERATIONS,
    *conversations.OPERATIONS,
    *replies.OPERATIONS,
    *actions.OPERATIONS,
    *members.OPERATIONS,
    *health.OPERATIONS,
)
