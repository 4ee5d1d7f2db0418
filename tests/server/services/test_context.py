"""Transactions, as the app's server states them."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from server.domain.errors import BadRequest, DomainError, TooLarge
from server.domain.events import Kind
from server.domain.numbering import Numbered
from server.domain.transaction import Amount, Transaction
from server.services.context import MAX_BATCH
from tests.support.services import ride

if TYPE_CHECKING:
    from uuid import UUID

    from tests.support.services import World


async def listed(world: World, app_id: UUID, external_id: str = "ada", limit: int = 200) -> list[Transaction]:
    return [known for _, known in await world.context.list_transactions(app_id, external_id, limit)]


async def test_a_transaction_comes_back_as_it_was_stated(world: World) -> None:
    app = (await world.app()).app.app_id
    stated = Transaction(
        id="ride-1",
        version=7,
        kind="ride",
        status="completed",
        title="Harbour → Airport",
        amount=Amount("12.50", "EUR"),
        occurred_at=datetime(2029, 12, 31, 23, 59, tzinfo=UTC),
        url="https://example.com/rides/1",
        image_url="https://example.com/map.png",
        attributes={"driver": "Milan", "stops": [1, 2.5, None, True], "ünïcode": "🚕"},
    )
    assert await world.context.put_transaction(app, "ada", stated)
    assert await listed(world, app) == [stated]


async def test_a_user_nobody_has_seen_is_made(world: World) -> None:
    app = (await world.app()).app.app_id
    await world.context.put_transaction(app, "new one", ride())
    assert (await world.people.find(app, "new one")).usn == 0


async def test_older_and_equal_versions_change_nothing(world: World) -> None:
    app = (await world.app()).app.app_id
    assert await world.context.put_transaction(app, "ada", ride(version=3, status="cancelled"))
    for version in (3, 2, 0):
        assert not await world.context.put_transaction(app, "ada", ride(version=version, status="lies"))
    assert [known.status for known in await listed(world, app)] == ["cancelled"]


async def test_versions_that_race_only_go_up(world: World) -> None:
    app = await world.app()
    ada = await world.user(app)
    place = await world.opened(ada, transaction="ride-1")
    versions = list(range(1, 31))
    random.Random(3).shuffle(versions)
    queue = iter(versions)
    applied: list[int] = []

    async def state() -> None:
        for version in queue:
            took = await world.context.put_transaction(ada.app_id, "ada", ride(version=version, status=f"v{version}"))
            applied.extend([version] if took else [])

    await asyncio.gather(*(state() for _ in range(10)))
    agent = await world.agent(app)
    events = await world.conversations.events(agent, place.conversation_id, 0, 200)
    told = [
        msgspec.json.decode(event.body)["transaction"]["version"] for event in events if event.kind == Kind.TRANSACTION
    ]
    assert told == sorted(set(told))
    assert told[-1] == 30
    assert sorted(applied) == told, "who was told `applied` is in the thread, and nobody else"
    assert [known.version for known in await listed(world, ada.app_id)] == [30]
    assert (await world.conversations.find(agent, place.conversation_id)).conversation.headline == "Ride ride-1 · v30"


async def test_each_of_a_batch_is_answered_by_itself(world: World) -> None:
    app = (await world.app()).app.app_id
    await world.context.put_transaction(app, "ada", ride("known", 5))
    given = [
        ("ada", ride("a")),
        ("", ride("b")),
        ("ben", ride("c\x00")),
        ("ada", ride("known", 5)),
        ("ben", msgspec.structs.replace(ride("d"), attributes={"x": float("inf")})),
        ("ben", ride("e")),
        ("ada", ride("a", 2)),
        ("ada", ride("a", 1)),
    ]
    outcomes = await world.context.put_transactions(app, given)
    assert [outcome.code if isinstance(outcome, DomainError) else outcome.applied for outcome in outcomes] == [
        True,
        "bad_request",
        "bad_request",
        False,
        "bad_request",
        True,
        True,
        False,
    ]
    assert {known.id: known.version for known in await listed(world, app)} == {"a": 2, "known": 5}
    assert [known.id for known in await listed(world, app, "ben")] == ["e"]


async def test_a_thousand_at_once_and_no_more(world: World) -> None:
    app = (await world.app()).app.app_id
    given = [(f"user {number % 50}", ride(f"ride-{number}")) for number in range(MAX_BATCH)]
    outcomes = await world.context.put_transactions(app, given)
    assert len(outcomes) == MAX_BATCH
    assert all(isinstance(outcome, Numbered) and outcome.applied for outcome in outcomes)
    assert len(await listed(world, app, "user 7")) == MAX_BATCH / 50
    with pytest.raises(TooLarge) as refused:
        await world.context.put_transactions(app, [*given, ("ada", ride())])
    assert refused.value.field == "transactions"
    assert await world.context.put_transactions(app, []) == []


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"title": "a\x00"}, "title"),
    ({"kind": "\x00"}, "kind"),
    ({"status": "\x00"}, "status"),
    ({"url": "https://\x00"}, "url"),
    ({"image_url": "https://\x00"}, "image_url"),
    ({"attributes": {"a": "\x00"}}, "attributes"),
    ({"attributes": {"a\x00": 1}}, "attributes"),
    ({"attributes": {"a": "x" * 33_000}}, "attributes"),
    ({"occurred_at": datetime(9999, 12, 31, tzinfo=UTC)}, "occurred_at"),
]


async def test_what_cannot_be_kept_is_refused_and_named(world: World) -> None:
    app = (await world.app()).app.app_id
    for fields, field in UNFIT:
        with pytest.raises(BadRequest) as refused:
            await world.context.put_transaction(app, "ada", msgspec.structs.replace(ride(), **fields))
        assert refused.value.field == field
    assert await listed(world, app) == []


async def test_newest_first_page_by_page(world: World) -> None:
    app = (await world.app()).app.app_id
    now = world.clock.now()
    for number in range(7):
        # Two at a time happen at the same moment; the last ones do not say when.
        occurred = now - timedelta(days=number // 2) if number < 5 else None
        stated = msgspec.structs.replace(ride(f"r{number}"), occurred_at=occurred)
        await world.context.put_transaction(app, "ada", stated)
    seen: list[tuple[datetime, str]] = []
    while page := await world.context.list_transactions(app, "ada", 2, seen[-1] if seen else None):
        assert len(page) <= 2
        seen += [(at, known.id) for at, known in page]
    assert seen == sorted(seen, reverse=True)
    assert sorted(name for _, name in seen) == [f"r{number}" for number in range(7)]


async def test_nobody_sees_anothers(world: World) -> None:
    kestrel, heron = (await world.app()).app.app_id, (await world.app()).app.app_id
    await world.context.put_transaction(kestrel, "ada", ride())
    assert await listed(world, heron) == []
    assert await listed(world, kestrel, "ben") == []
    with pytest.raises(BadRequest):
        await world.context.list_transactions(kestrel, "", 10)
