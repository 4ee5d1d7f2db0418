"""How things are named: the same input the same id, a UUIDv7 that sorts by time, secrets with a prefix."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from server.domain.ids import client_id_of, new_id, new_secret, secret_hash, user_id_of

APP, OTHER_APP = UUID(int=1), UUID(int=2)
moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # naive bounds


@given(moments)
def test_a_new_id_is_a_uuid_v7_of_its_moment(now: datetime) -> None:
    made = new_id(now)
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == int(now.timestamp() * 1000)


@given(moments, st.integers(1, 10_000))
def test_a_later_id_sorts_later(now: datetime, milliseconds: int) -> None:
    assert new_id(now) < new_id(now + timedelta(milliseconds=milliseconds))


def test_ids_of_one_moment_differ() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert len({new_id(now) for _ in range(1000)}) == 1000


def test_the_same_user_of_the_same_app_has_the_same_id_for_ever() -> None:
    # The constant is what is in people's databases: it may never change.
    assert user_id_of(APP, "ada") == UUID("09ce525e-fe83-5b98-8008-f1c01b57f3df")
    assert user_id_of(APP, "ada") != user_id_of(OTHER_APP, "ada")
    assert user_id_of(APP, "ada") != user_id_of(APP, "Ada")


def test_an_idempotency_key_is_the_same_id_within_its_scope_only() -> None:
    assert client_id_of(APP, "retry-1") == client_id_of(APP, "retry-1")
    assert client_id_of(APP, "retry-1") != client_id_of(OTHER_APP, "retry-1")


def test_secrets_carry_their_prefix_and_enough_to_guess() -> None:
    made = {new_secret("dbs_") for _ in range(100)}
    assert len(made) == 100
    assert all(secret.startswith("dbs_") and len(secret) >= 4 + 43 for secret in made)


def test_only_the_hash_of_a_secret_is_comparable() -> None:
    assert secret_hash("dbs_x") == secret_hash("dbs_x")
    assert secret_hash("dbs_x") != secret_hash("dbs_y")
    assert len(secret_hash("dbs_x")) == 32
