"""Roles (http.md, "Roles") and e-mail addresses."""

from __future__ import annotations

from uuid import UUID

import pytest

from server.domain.agents import Agent, Membership, Role, check_email
from server.domain.errors import BadRequest, Forbidden, NotFound

APP, OTHER_APP, ROBIN = UUID(int=1), UUID(int=2), UUID(int=3)


def robin(role: Role) -> Agent:
    return Agent(
        agent_id=ROBIN,
        email="robin@example.com",
        name="Robin",
        avatar_url="https://example.com/robin.png",
        memberships={APP: Membership(APP, "Kestrel", role)},
    )


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("needed", Role)
def test_a_role_includes_the_ones_below(role: Role, needed: Role) -> None:
    order = [Role.AGENT, Role.SUPERVISOR, Role.ADMIN]
    if order.index(role) >= order.index(needed):
        assert robin(role).require(APP, needed).role is role
    else:
        with pytest.raises(Forbidden, match=f"needs the role {needed}; yours is {role}"):
            robin(role).require(APP, needed)


def test_an_app_one_does_not_work_for_does_not_exist() -> None:
    with pytest.raises(NotFound) as refused:
        robin(Role.ADMIN).require(OTHER_APP)
    assert refused.value.field == "app"


def test_what_an_agent_writes_is_signed_with_name_and_picture() -> None:
    author = robin(Role.AGENT).author
    assert (author.type, author.id, author.name) == ("agent", str(ROBIN), "Robin")
    assert author.avatar_url == "https://example.com/robin.png"
    assert author.key == ("agent", str(ROBIN))


@pytest.mark.parametrize(
    ("given", "stored"), [("robin@example.com", "robin@example.com"), ("  Robin@Example.COM ", "robin@example.com")]
)
def test_an_address_is_stored_in_one_spelling(given: str, stored: str) -> None:
    assert check_email(given) == stored


@pytest.mark.parametrize(
    "given", ["", "robin", "@example.com", "robin@", "a@b@c", "a b@c", "a@b\x00", "a\n@b.c", f"{'x' * 251}@b.c"]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_email(given)
    assert refused.value.field == "email"
