"""Users and devices: facts, a device that changes hands, push tokens with one owner."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

from server.bus.interface import LoggedOut, Replaced, user_channel
from server.domain.errors import BadRequest, NotFound, Unauthorized
from server.domain.people import DeviceInfo
from server.services.action_definitions import Wanted
from server.services.people import Facts
from tests.support.services import ride

if TYPE_CHECKING:
    from server.domain.people import EndUser
    from server.services.apps import NewApp
    from tests.support.services import World


async def devices(world: World) -> list[dict[str, Any]]:
    async with world.database.session() as session:
        rows = await session.connection.fetch("select * from device order by user_id, device_id")
    return [dict(row) for row in rows]


async def push_states(world: World) -> int:
    async with world.database.session() as session:
        return int(await session.connection.fetchval("select count(*) from push_state"))


async def token_owners(world: World, token: str) -> list[tuple[UUID, UUID]]:
    return [(each["user_id"], each["device_id"]) for each in await devices(world) if each["push_token"] == token]


async def test_facts_are_merged_and_null_removes(world: World) -> None:
    app = (await world.app()).app.app_id
    made = await world.people.put(
        app, "ada", Facts(name="Ada", email="ada@example.com", properties={"plan": "gold", "rides": 3})
    )
    assert (made.name, made.email, made.phone, made.usn) == ("Ada", "ada@example.com", None, 0)
    world.clock.move(60)
    changed = await world.people.put(
        app, "ada", Facts(email=None, phone="+49", properties={"rides": 4, "plan": None, "vip": {"since": [2020]}})
    )
    assert (changed.name, changed.email, changed.phone) == ("Ada", None, "+49")
    assert changed.properties == {"rides": 4, "vip": {"since": [2020]}}
    assert changed.updated_at - changed.created_at == timedelta(seconds=60)
    assert await world.people.put(app, "ada", Facts()) == msgspec.structs.replace(changed)
    assert await world.people.find(app, "ada") == changed
    assert await world.people.find_by_id(app, changed.user_id) == changed


async def test_facts_given_at_once_by_many_are_all_kept(world: World) -> None:
    app = (await world.app()).app.app_id
    await asyncio.gather(
        *(world.people.put(app, "ada", Facts(properties={f"p{number}": number})) for number in range(10))
    )
    assert (await world.people.find(app, "ada")).properties == {f"p{number}": number for number in range(10)}


async def test_the_same_name_in_another_app_is_somebody_else(world: World) -> None:
    kestrel, heron = await world.app("Kestrel"), await world.app("Heron")
    await world.user(kestrel, "ada", "Ada")
    with pytest.raises(NotFound):
        await world.people.find(heron.app.app_id, "ada")
    with pytest.raises(NotFound):
        await world.people.find_by_id(heron.app.app_id, (await world.people.find(kestrel.app.app_id, "ada")).user_id)


@pytest.mark.parametrize("external_id", ["", "x" * 256, "a\x00b"])
async def test_an_id_that_cannot_be_one(world: World, external_id: str) -> None:
    app = (await world.app()).app.app_id
    for call in (world.people.put(app, external_id, Facts()), world.people.find(app, external_id)):
        with pytest.raises(BadRequest):
            await call


async def test_hello_makes_the_user_and_takes_over_what_the_token_says(world: World) -> None:
    app = (await world.app()).app.app_id
    claims = world.claims(await world.user(await world.app(), "ada"))
    claims = msgspec.structs.replace(claims, app_id=app, name="Ada", locale="de")
    device = DeviceInfo(device_id=world.id(), platform="ios", app_version="3.1", locale="de-DE")
    user, hold, history = await world.people.say_hello(claims, device, timedelta(seconds=60))
    assert history == await world.reading.history()
    assert (user.external_id, user.name, user.locale, user.usn) == ("ada", "Ada", "de", 0)
    assert hold == (1, 1)
    again, hold, _ = await world.people.say_hello(msgspec.structs.replace(claims, name=None), device, None)
    assert (again.name, hold) == ("Ada", (1, 2))
    (kept,) = await devices(world)
    assert (kept["platform"], kept["app_version"], kept["foreground_until"]) == ("ios", "3.1", None)


async def test_a_second_socket_of_a_device_is_newer_and_the_older_hears_of_it(world: World) -> None:
    ada = await world.user(await world.app())
    device, first = await world.device(ada)
    _, second = await world.device(ada, device_id=device)
    assert second > first
    assert world.bus.published[-1] == (
        user_channel(ada.app_id, ada.user_id),
        Replaced(ada.app_id, device, second.epoch, second.generation),
    )


async def test_a_device_that_changes_hands_keeps_nothing_of_the_last_owner(world: World) -> None:
    app = await world.app()
    ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
    device, of_ada = await world.device(ada, "token of the phone", foreground=timedelta(hours=1))
    other_device, _ = await world.device(ada, "token of the tablet")
    place = await world.opened(ada)
    await world.say(place, world.agent_author, "only for Ada")
    assert await push_states(world) == 2
    world.bus.published.clear()
    _, of_ben = await world.device(ben, device_id=device)
    assert of_ben.epoch == of_ada.epoch + 1
    assert of_ben > of_ada
    assert await token_owners(world, "token of the phone") == []
    assert await token_owners(world, "token of the tablet") == [(ada.user_id, other_device)]
    assert await push_states(world) == 1
    assert [(each["user_id"], each["acked_usn"]) for each in await devices(world) if each["device_id"] == device] == [
        (ben.user_id, 0)
    ]
    replaced = Replaced(app.app.app_id, device, of_ben.epoch, of_ben.generation)
    assert dict(world.bus.published) == {
        user_channel(ada.app_id, ada.user_id): replaced,
        user_channel(ben.app_id, ben.user_id): replaced,
    }
    _, back = await world.device(ada, device_id=device)
    assert back.epoch == of_ben.epoch + 1
    assert await token_owners(world, "token of the phone") == []


async def test_the_same_device_id_in_two_apps_is_two_devices(world: World) -> None:
    ada, eve = await world.user(await world.app("Kestrel")), await world.user(await world.app("Heron"))
    device, _ = await world.device(ada, "t")
    _, hold = await world.device(eve, "t", device_id=device)
    assert hold == (1, 1)
    assert len(await token_owners(world, "t")) == 2


async def test_the_last_owner_cannot_register_a_token_any_more(world: World) -> None:
    app = await world.app()
    ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
    device, _ = await world.device(ada)
    await world.device(ben, device_id=device)
    with pytest.raises(BadRequest, match="another user now") as refused:
        await world.people.register_push_token(ada.app_id, ada.user_id, device, "fcm", "late")
    assert refused.value.field == "token"
    assert await token_owners(world, "late") == []


async def test_a_token_has_one_owner(world: World) -> None:
    app = await world.app()
    ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
    await world.device(ada, "moving")
    _, _ = await world.device(ada, "staying")
    bens, _ = await world.device(ben, "moving")
    assert await token_owners(world, "moving") == [(ben.user_id, bens)]
    assert len(await token_owners(world, "staying")) == 1
    await world.people.register_push_token(ben.app_id, ben.user_id, bens, "fcm", "moving")
    assert await token_owners(world, "moving") == [(ben.user_id, bens)]


async def test_a_refused_registration_takes_nothing_away(world: World) -> None:
    app = await world.app()
    ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
    adas, _ = await world.device(ada, "hers")
    with pytest.raises(BadRequest):
        await world.people.register_push_token(ben.app_id, ben.user_id, world.id(), "fcm", "hers")
    assert await token_owners(world, "hers") == [(ada.user_id, adas)]


async def test_null_removes_a_token_and_what_was_to_be_pushed(world: World) -> None:
    ada = await world.user(await world.app())
    device, _ = await world.device(ada, "t")
    await world.say(await world.opened(ada), world.agent_author, "hello")
    await world.people.register_push_token(ada.app_id, ada.user_id, device, "fcm", None)
    assert await token_owners(world, "t") == []
    assert await push_states(world) == 0


async def test_logging_out_takes_the_token_along(world: World) -> None:
    ada = await world.user(await world.app())
    device, hold = await world.device(ada, "t", foreground=timedelta(hours=1))
    other, _ = await world.device(ada, "u")
    await world.say(await world.opened(ada), world.agent_author, "hello")
    await world.people.log_out(ada.app_id, ada.user_id, device)
    assert await token_owners(world, "t") == []
    assert await token_owners(world, "u") == [(ada.user_id, other)]
    assert await push_states(world) == 1
    (kept,) = [each for each in await devices(world) if each["device_id"] == device]
    assert (kept["foreground_until"], kept["generation"]) == (None, hold.generation)


async def test_acks_only_grow_and_belong_to_one_device(world: World) -> None:
    ada = await world.user(await world.app())
    phone, _ = await world.device(ada)
    tablet, _ = await world.device(ada)
    await world.people.take_acks([(ada.app_id, ada.user_id, phone, 5)])
    await world.people.take_acks(
        [(ada.app_id, ada.user_id, phone, 3), (ada.app_id, ada.user_id, tablet, 1), (ada.app_id, UUID(int=1), phone, 9)]
    )
    assert {each["device_id"]: each["acked_usn"] for each in await devices(world)} == {phone: 5, tablet: 1}


async def test_only_the_newest_socket_says_whether_anybody_looks(world: World) -> None:
    ada = await world.user(await world.app())
    device, old = await world.device(ada, foreground=timedelta(seconds=60))
    _, new = await world.device(ada, device_id=device, foreground=timedelta(seconds=60))
    user = (ada.app_id, ada.user_id)
    await world.people.set_foreground(*user, device, old, None)
    assert (await devices(world))[0]["foreground_until"] == world.clock.now() + timedelta(seconds=60)
    await world.people.set_foreground(*user, device, new, None)
    assert (await devices(world))[0]["foreground_until"] is None
    await world.people.set_foreground(*user, device, new, timedelta(seconds=5))
    world.clock.move(4)
    await world.people.keep_foreground([(*user, device)], timedelta(seconds=5))
    assert (await devices(world))[0]["foreground_until"] == world.clock.now() + timedelta(seconds=5)


async def sharded_tables(world: World) -> list[str]:
    """Every table that holds something of one user: also one that is made tomorrow."""
    async with world.database.session() as session:
        rows = await session.connection.fetch(
            "select table_name from information_schema.columns"
            " where table_schema = 'public' and column_name = 'user_id' order by table_name"
        )
    return [row["table_name"] for row in rows]


async def rows_of(world: World, user: EndUser) -> dict[str, int]:
    async with world.database.session() as session:
        return {
            table: await session.connection.fetchval(
                f"select count(*) from {table} where app_id = $1 and user_id = $2",
                user.app_id,
                user.user_id,
            )
            for table in await sharded_tables(world)
        }


async def an_app(world: World) -> NewApp:
    """Its agents may refund."""
    app = await world.app()
    refund = Wanted(name="refund", title="Refund", url="https://hooks.example.com/refund")
    await world.action_definitions.create(app.app.app_id, refund)
    return app


async def a_full_life(world: World, app: NewApp, user: EndUser, token: str) -> None:
    """Something in every table."""
    await world.webhooks.create(user.app_id, "https://hooks.example.com/", ["message.created"], None)
    await world.context.put_transaction(user.app_id, user.external_id, ride())
    await world.device(user, token)
    place = await world.opened(user, "Where is my ride?", transaction="ride-1")
    await world.messaging.note(place, world.message(world.agent_author, "a regular"))
    await world.say(place, world.agent_author, "On its way.")
    await world.messaging.rate(place, user.author, 4, "fine")
    await world.messaging.mark_read(place, "user", user.author, 2)
    agent = await world.agent(app)
    await world.actions.press(agent, place.conversation_id, "refund", parameters={}, transaction="ride-1")


async def test_erasing_leaves_not_a_single_row(world: World) -> None:
    app = await an_app(world)
    ada, ben = await world.user(app, "ada", "Ada"), await world.user(app, "ben", "Ben")
    for user, token in ((ada, "t"), (ben, "u")):
        await a_full_life(world, app, user, token)
    of_ada, of_ben = await rows_of(world, ada), await rows_of(world, ben)
    assert all(of_ada.values()), f"this test must fill every table: {of_ada}"
    world.bus.published.clear()
    await world.people.erase(ada.app_id, "ada")
    assert not any((await rows_of(world, ada)).values())
    assert await rows_of(world, ben) == of_ben
    assert world.bus.published == [
        (user_channel(ada.app_id, ada.user_id), LoggedOut(ada.app_id, ada.user_id, ada.auth_gen + 1))
    ]
    for call in (
        world.people.erase(ada.app_id, "ada"),
        world.people.find(ada.app_id, "ada"),
        world.people.export(ada.app_id, "ada"),
    ):
        with pytest.raises(NotFound):
            await call


async def test_no_words_of_an_erased_user_stay_anywhere(world: World) -> None:
    """Not in a table without user_id either."""
    app = await an_app(world)
    ada = await world.user(app, "ada-the-user", "Ada Lindqvist")
    await a_full_life(world, app, ada, "the token of Ada")
    await world.people.erase(ada.app_id, "ada-the-user")
    async with world.database.session() as session:
        tables = await session.connection.fetch(
            "select table_name from information_schema.tables where table_schema = 'public'"
        )
        for table in tables:
            dump = repr(
                [row["t"] for row in await session.connection.fetch(f"select t::text from {table['table_name']} t")]
            )
            for trace in ("ada-the-user", "Lindqvist", "Where is my ride", "token of Ada", str(ada.user_id)):
                assert trace not in dump, table["table_name"]


async def test_who_comes_back_after_being_erased_begins_anew(world: World) -> None:
    app = await an_app(world)
    ada = await world.user(app)
    await a_full_life(world, app, ada, "t")
    await world.people.erase(ada.app_id, "ada")
    again = await world.user(app)
    assert again.user_id == ada.user_id
    assert (again.usn, again.name, again.properties) == (0, None, {})
    assert again.incarnation != ada.incarnation


async def test_what_is_under_way_while_a_user_is_erased_is_refused_and_not_half_written(world: World) -> None:
    ada = await world.user(await world.app())
    place = await world.opened(ada)
    outcomes = await asyncio.gather(
        *(world.say(place, ada.author, f"line {number}") for number in range(20)),
        world.people.erase(ada.app_id, "ada"),
        return_exceptions=True,
    )
    assert outcomes[-1] is None
    assert all(not isinstance(outcome, Exception) or isinstance(outcome, NotFound) for outcome in outcomes), outcomes
    assert not any((await rows_of(world, ada)).values())


async def test_an_export_has_everything_the_user_may_see(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.services import people

    monkeypatch.setattr(people, "EXPORT_PAGE", 3)
    app = await an_app(world)
    ada = await world.user(app, "ada", "Ada")
    for number in range(7):
        await world.context.put_transaction(ada.app_id, "ada", ride(f"ride-{number}"))
    await a_full_life(world, app, ada, "t")
    await a_full_life(world, app, await world.user(app, "ben"), "u")
    exported = await world.people.export(ada.app_id, "ada")
    assert (exported.user.external_id, exported.user.name) == ("ada", "Ada")
    assert exported.exported_at == world.clock.now()
    assert [event.usn for event in exported.events] == list(range(1, exported.user.usn + 1))
    assert {event.kind for event in exported.events} == {
        "conversation.opened",
        "message",
        "rating.given",
        "receipt",
        "action.updated",
    }
    assert b"a regular" not in b"".join(event.body for event in exported.events)
    assert sorted(known.id for known in exported.transactions) == [f"ride-{number}" for number in range(7)]


async def test_revoked_tokens_open_nothing_and_new_ones_do(world: World) -> None:
    app = await world.app()
    ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
    old, of_ben = world.claims(ada), world.claims(ben)
    device, _ = await world.device(ada)
    world.clock.move(10)
    world.bus.published.clear()
    await world.people.revoke_tokens(ada.app_id, "ada")
    assert world.bus.published == [
        (user_channel(ada.app_id, ada.user_id), LoggedOut(ada.app_id, ada.user_id, ada.auth_gen + 1))
    ]
    with pytest.raises(Unauthorized, match="revoked") as refused:
        await world.people.check_token(old)
    assert refused.value.field == "token"
    before = await devices(world)
    with pytest.raises(Unauthorized):
        await world.people.say_hello(old, DeviceInfo(device_id=device, platform="ios"), None)
    assert await devices(world) == before, "a refused hello takes no device"
    await world.people.check_token(of_ben)
    world.clock.move(1)
    await world.people.check_token(world.claims(ada))
    await world.device(ada, device_id=device)
    with pytest.raises(NotFound):
        await world.people.revoke_tokens(ada.app_id, "nobody")
