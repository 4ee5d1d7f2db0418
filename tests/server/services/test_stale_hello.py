"""A hello that comes late, from a socket its device has given up, changes nothing (protocol.md, `attempt`)."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from server.domain.errors import StaleHello, Unauthorized
from server.domain.people import DeviceInfo
from tests.server.services.test_people import token_owners

if TYPE_CHECKING:
    from uuid import UUID

    from server.domain.people import EndUser
    from server.storage.people import Hold
    from tests.support.services import World


async def everything(world: World) -> dict[str, list[str]]:
    """Every row a hello may touch."""
    async with world.database.session() as session:
        return {
            table: [row["t"] for row in await session.connection.fetch(f"select t::text from {table} t order by 1")]
            for table in ("end_user", "device", "device_directory", "push_state")
        }


async def newest(world: World, app_id: UUID, device: UUID) -> int:
    async with world.database.session() as session:
        return int(
            await session.connection.fetchval(
                "select attempt from device_directory where app_id = $1 and device_id = $2", app_id, device
            )
        )


async def outcome(world: World, user: EndUser, device: UUID, attempt: int | None) -> Hold | StaleHello:
    try:
        return (await world.device(user, device_id=device, attempt=attempt))[1]
    except StaleHello as stale:
        return stale


async def test_a_newer_hello_is_remembered(world: World) -> None:
    ada = await world.user(await world.app())
    device, first = await world.device(ada, attempt=1)
    assert await newest(world, ada.app_id, device) == 1
    _, second = await world.device(ada, device_id=device, attempt=40)
    assert second > first
    assert await newest(world, ada.app_id, device) == 40


@pytest.mark.parametrize("late", [1, 6, 7])
async def test_a_stale_hello_changes_nothing_and_nobody_hears_of_it(world: World, late: int) -> None:
    ada = await world.user(await world.app())
    device, _ = await world.device(ada, "t", attempt=7, foreground=timedelta(hours=1), locale="de")
    await world.say(await world.opened(ada), world.agent_author, "hello")
    before = await everything(world)
    world.bus.published.clear()
    world.clock.move(10)
    claims = msgspec.structs.replace(world.claims(ada), name="Ada the Late", locale="fr")
    info = DeviceInfo(device_id=device, platform="web", locale="fr", attempt=late)
    with pytest.raises(StaleHello) as refused:
        await world.people.say_hello(claims, info, None)
    assert (refused.value.newest, refused.value.field) == (7, "attempt")
    assert await everything(world) == before
    assert world.bus.published == []


async def test_a_hello_without_a_number_takes_over_and_leaves_what_is_kept(world: World) -> None:
    ada = await world.user(await world.app())
    device, numbered = await world.device(ada, attempt=7)
    _, plain = await world.device(ada, device_id=device)
    assert plain > numbered
    assert await newest(world, ada.app_id, device) == 7
    assert isinstance(await outcome(world, ada, device, 7), StaleHello)
    _, again = await world.device(ada, device_id=device, attempt=8)
    assert again > plain


async def test_a_device_that_never_counted_begins_with_any_number(world: World) -> None:
    ada = await world.user(await world.app())
    device, _ = await world.device(ada)
    assert await newest(world, ada.app_id, device) == 0
    await world.device(ada, device_id=device, attempt=1)
    assert await newest(world, ada.app_id, device) == 1


async def test_the_number_belongs_to_the_device_whoever_its_user_is(world: World) -> None:
    app = await world.app()
    ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
    device, _ = await world.device(ada, "of ada", attempt=3)
    await world.device(ben, "of ben", device_id=device, attempt=4)
    before = await everything(world)
    # Ada had the device first, and her last hello arrives after Ben's: it does not give it back to her.
    assert isinstance(await outcome(world, ada, device, 3), StaleHello)
    assert await everything(world) == before
    assert await token_owners(world, "of ben") == [(ben.user_id, device)]
    _, back = await world.device(ada, device_id=device, attempt=5)
    assert back.epoch == 3
    assert await token_owners(world, "of ben") == []


async def test_a_stale_hello_of_a_new_user_makes_no_user(world: World) -> None:
    app = await world.app()
    ada = await world.user(app, "ada")
    device, _ = await world.device(ada, attempt=3)
    claims = msgspec.structs.replace(world.claims(ada), external_id="nobody yet")
    before = await everything(world)
    with pytest.raises(StaleHello):
        await world.people.say_hello(claims, DeviceInfo(device_id=device, platform="ios", attempt=2), None)
    assert await everything(world) == before


async def test_the_same_device_id_in_another_app_counts_for_itself(world: World) -> None:
    ada, eve = await world.user(await world.app("Kestrel")), await world.user(await world.app("Heron"))
    device, _ = await world.device(ada, attempt=900)
    _, hold = await world.device(eve, device_id=device, attempt=1)
    assert hold == (1, 1)
    assert (await newest(world, ada.app_id, device), await newest(world, eve.app_id, device)) == (900, 1)
    stale = await outcome(world, eve, device, 1)
    assert isinstance(stale, StaleHello)
    assert stale.newest == 1, "what the other app knows is not told"


async def test_a_hello_that_is_refused_for_its_token_is_not_remembered(world: World) -> None:
    ada = await world.user(await world.app())
    device, _ = await world.device(ada, attempt=1)
    old = world.claims(ada)
    world.clock.move(10)
    await world.people.revoke_tokens(ada.app_id, "ada")
    with pytest.raises(Unauthorized):
        await world.people.say_hello(old, DeviceInfo(device_id=device, platform="ios", attempt=9), None)
    assert await newest(world, ada.app_id, device) == 1


async def test_an_erased_users_device_begins_anew(world: World) -> None:
    app = await world.app()
    ada = await world.user(app)
    device, _ = await world.device(ada, attempt=9)
    await world.people.erase(ada.app_id, "ada")
    await world.device(await world.user(app), device_id=device, attempt=1)
    assert await newest(world, ada.app_id, device) == 1


async def test_of_hellos_that_come_at_once_no_older_one_wins(world: World) -> None:
    app = await world.app()
    users = [await world.user(app, f"user {number}") for number in range(3)]
    for _ in range(5):
        device = world.id()
        hellos = [(users[attempt % 3], attempt) for attempt in (3, 1, 8, 2, 7, 5, 8)]
        outcomes = await asyncio.gather(*(outcome(world, user, device, attempt) for user, attempt in hellos))
        assert await newest(world, app.app.app_id, device) == 8
        told = zip(hellos, outcomes, strict=True)
        held = {attempt: hold for (_, attempt), hold in told if not isinstance(hold, StaleHello)}
        assert held[8] == max(held.values()), "the newest hello holds the device"
        assert [held[attempt] for attempt in sorted(held)] == sorted(held.values())
        assert sum(isinstance(each, StaleHello) for each in outcomes) >= 1, "of the two with number 8 one comes late"


async def test_any_order_is_as_a_model_says(world: World) -> None:
    app = await world.app()
    users = [await world.user(app, external_id) for external_id in ("ada", "ben")]
    dice = random.Random(7)
    for _ in range(10):
        device = world.id()
        known, last = 0, (0, 0)
        for _ in range(12):
            user, attempt = dice.choice(users), dice.choice([None, *range(1, 9)])
            told: Any = await outcome(world, user, device, attempt)
            if attempt is not None and attempt <= known:
                assert isinstance(told, StaleHello)
                assert told.newest == known
            else:
                assert tuple(told) > last
                known, last = max(known, attempt or 0), tuple(told)
            if last != (0, 0):
                assert await newest(world, app.app.app_id, device) == known
