"""Those who answer, the apps they work for, and what their role lets them do (http.md, "Roles")."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from server.domain.errors import BadRequest, Forbidden, NotFound
from server.domain.events import Author, AuthorType

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Role(StrEnum):
    AGENT = "agent"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"


_RANK = {Role.AGENT: 0, Role.SUPERVISOR: 1, Role.ADMIN: 2}


class Membership(msgspec.Struct, frozen=True):
    app_id: UUID
    app_name: str
    role: Role


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent who has proved who it is. `memberships` by app id."""

    agent_id: UUID
    email: str
    name: str
    avatar_url: str | None = None
    memberships: dict[UUID, Membership] = {}
    expires_at: datetime | None = None

    @property
    def author(self) -> Author:
        return Author(AuthorType.AGENT, str(self.agent_id), self.name, self.avatar_url)

    def require(self, app_id: UUID, role: Role = Role.AGENT) -> Membership:
        """The agent's membership of the app. An app one does not belong to does not exist (404, not 403)."""
        membership = self.memberships.get(app_id)
        if membership is None:
            raise NotFound("There is no such app.", field="app")
        if _RANK[membership.role] < _RANK[role]:
            raise Forbidden(f"This needs the role {role.value}; yours is {membership.role.value}.")
        return membership


def check_email(email: str) -> str:
    """An address as it is stored: lower case, with one @ between two parts."""
    cleaned = email.strip().lower()
    name, at, host = cleaned.partition("@")
    if not (name and at and host) or "@" in host or len(cleaned) > 254 or not cleaned.isprintable() or " " in cleaned:
        raise BadRequest("This is not an e-mail address.", field="email")
    return cleaned
