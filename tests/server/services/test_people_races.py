"""Who owns a device and a push token when several ask at once: one, and nobody else is ever pushed to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.server.services.test_people import devices, token_owners

if TYPE_CHECKING:
    from tests.support.services import World

ROUNDS = 5


async def test_a_device_that_many_say_hello_with_at_once_has_one_owner(world: World) -> None:
    app = await world.app()
    users = [await world.user(app, f"user {number}") for number in range(6)]
    for _ in range(ROUNDS):
        device = world.id()
        holds = await asyncio.gather(*(world.device(user, device_id=device) for user in users))
        owners = [each["user_id"] for each in await devices(world) if each["device_id"] == device]
        async with world.database.session() as session:
            directory = await session.connection.fetchval(
                "select user_id from device_directory where device_id = $1", device
            )
        assert owners == [directory]
        assert len({hold for _, hold in holds}) == len(users), "no two of them hold it alike"


async def test_a_token_that_many_register_at_once_has_one_owner(world: World) -> None:
    app = await world.app()
    users = [await world.user(app, f"user {number}") for number in range(6)]
    held = [(user, (await world.device(user))[0]) for user in users]
    for number in range(ROUNDS):
        await asyncio.gather(
            *(
                world.people.register_push_token(user.app_id, user.user_id, device, "fcm", f"token {number}")
                for user, device in held
            )
        )
        assert len(await token_owners(world, f"token {number}")) == 1


async def test_two_devices_that_exchange_their_tokens_at_once_do_not_stop_each_other(world: World) -> None:
    app = await world.app()
    ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
    (of_ada, _), (of_ben, _) = await world.device(ada, "a"), await world.device(ben, "b")
    for first, second in (("b", "a"), ("a", "b")) * ROUNDS:
        await asyncio.gather(
            world.people.register_push_token(ada.app_id, ada.user_id, of_ada, "fcm", first),
            world.people.register_push_token(ben.app_id, ben.user_id, of_ben, "fcm", second),
        )
        for token in ("a", "b"):
            assert len(await token_owners(world, token)) <= 1
