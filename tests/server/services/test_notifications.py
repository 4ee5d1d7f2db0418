"""Pushes (docs/push.md): what is suppressed, and what every answer of a provider leads to."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from push.sender import ConfigFault, Rejected, Retry, TokenGone
from server.domain.message import Choices, Option
from server.services.notifications import CIRCUIT_S, MOST_ATTEMPTS, OLDEST
from tests.server.services.phone import phone_on

if TYPE_CHECKING:
    from tests.server.services.phone import Phone


async def test_an_answer_is_pushed_at_once_to_a_phone_that_does_not_look(phone: Phone) -> None:
    await phone.hear("your driver is there")
    assert await phone.work() == 1
    (asked,) = phone.sender.asked
    assert (asked.address.provider, asked.address.value, asked.address.platform) == ("fcm", "t1", "android")
    assert (asked.notification.title, asked.notification.body) == ("Robin", "your driver is there")
    assert asked.notification.tag == str(phone.place.conversation_id)
    assert (asked.notification.badge, asked.quiet) == (1, False)
    assert asked.notification.data == {"seq": "3"}
    state = await phone.state()
    assert (state.sent_seq, state.want_seq, state.outcome, state.dead) == (3, 3, "accepted", False)
    assert await phone.work() == 0


async def test_ones_own_words_notes_and_statuses_are_not_pushed(phone: Phone) -> None:
    await phone.world.say(phone.place, phone.user.author, "hello?")
    await phone.world.messaging.note(phone.place, phone.world.message(phone.world.agent_author, "a note"))
    await phone.world.messaging.mark_read(phone.place, "agent", phone.world.agent_author, 2)
    assert await phone.states() == []
    assert await phone.work() == 0


async def test_each_device_with_a_token_is_pushed_to(phone: Phone) -> None:
    world = phone.world
    await world.device(phone.user, "t2", platform="ios")
    await world.device(phone.user, None)
    await world.device(
        phone.user,
        msgspec.json.encode({"endpoint": "https://push.example/1"}).decode(),
        platform="web",
        provider="webpush",
    )
    await phone.hear()
    assert await phone.work() == 3
    asked = {(each.address.provider, each.address.kind, each.address.platform) for each in phone.sender.asked}
    assert asked == {("fcm", "token", "android"), ("fcm", "token", "ios"), ("webpush", "subscription", "web")}
    assert {"endpoint": "https://push.example/1"} in [each.address.value for each in phone.sender.asked]


async def test_a_phone_that_looks_has_a_grace_to_acknowledge(database_url: str) -> None:
    async with phone_on(database_url) as phone:
        await phone.world.device(phone.user, device_id=phone.device, foreground=timedelta(minutes=1))
        await phone.hear()
        assert await phone.work() == 0
        phone.world.clock.move(3.9)
        assert await phone.work() == 0
        phone.world.clock.move(0.1)
        assert await phone.work() == 1, "presence alone suppresses nothing"


async def test_what_was_acknowledged_by_this_device_is_not_pushed_to_it(phone: Phone) -> None:
    tablet, _ = await phone.world.device(phone.user, "t2")
    await phone.hear()
    usn = (await phone.world.people.find_by_id(phone.user.app_id, phone.user.user_id)).usn
    await phone.world.people.take_acks([(phone.user.app_id, phone.user.user_id, phone.device, usn)])
    assert await phone.work() == 1
    assert [each.token for each in phone.sender.asked] == ["t2"], "an ack of one device says nothing of another"
    outcomes = {state.device_id: state.outcome for state in await phone.states()}
    assert outcomes == {phone.device: "on the device", tablet: "accepted"}


async def test_an_ack_of_what_came_before_suppresses_nothing(phone: Phone) -> None:
    usn = (await phone.world.people.find_by_id(phone.user.app_id, phone.user.user_id)).usn
    await phone.hear()
    await phone.world.people.take_acks([(phone.user.app_id, phone.user.user_id, phone.device, usn)])
    assert await phone.work() == 1


async def test_what_was_read_on_any_device_is_not_pushed_at_all(phone: Phone) -> None:
    await phone.world.device(phone.user, "t2")
    seq = await phone.hear()
    await phone.world.messaging.mark_read(phone.place, "user", phone.user.author, seq)
    assert await phone.work() == 0
    assert [state.outcome for state in await phone.states()] == ["read", "read"]
    await phone.hear("one more thing")
    assert await phone.work() == 2


async def test_several_messages_are_one_push(phone: Phone) -> None:
    for number in range(3):
        await phone.hear(f"line {number}")
    assert await phone.work() == 1
    assert phone.sender.asked[0].notification.body == "3 new messages"
    await phone.hear("the fourth")
    assert await phone.work() == 1
    assert phone.sender.asked[1].notification.body == "the fourth"
    assert [each.notification.tag for each in phone.sender.asked] == [str(phone.place.conversation_id)] * 2


async def test_the_badge_is_what_is_unread_everywhere(phone: Phone) -> None:
    world = phone.world
    other = await world.opened(phone.user)
    for _ in range(3):
        await world.say(other, world.agent_author, "there")
    await phone.work()
    seq = await phone.hear()
    await phone.hear()
    await phone.work()
    assert phone.sender.asked[-1].notification.badge == 5
    await world.messaging.mark_read(phone.place, "user", phone.user.author, seq)
    await phone.hear()
    await phone.work()
    assert phone.sender.asked[-1].notification.badge == 5


async def test_a_private_app_shows_no_words(database_url: str) -> None:
    async with phone_on(database_url, preview=False) as phone:
        await phone.hear("your blood test")
        await phone.work()
        assert "blood" not in repr(phone.sender.asked[0].notification)
        assert phone.sender.asked[0].notification.body == "New message"


async def test_a_body_without_words_is_announced_all_the_same(phone: Phone) -> None:
    await phone.world.say(phone.place, phone.world.agent_author, Choices(text="Which?", options=[Option("a", "A")]))
    await phone.work()
    assert phone.sender.asked[0].notification.body == "Which?"


async def test_whatever_a_device_says_its_language_is_it_hears_of_an_answer(phone: Phone) -> None:
    """A locale no provider takes must not be what keeps an answer from a phone."""
    for locale, told in (("de-DE", "de-DE"), ("x" * 50, None), ("日本", None), ("\n", None), ("", None), (None, None)):
        await phone.world.device(phone.user, device_id=phone.device, locale=locale)
        await phone.hear()
        assert await phone.work() == 1, locale
        assert phone.sender.asked[-1].notification.locale == told
        assert (await phone.state()).outcome == "accepted"


# -- every answer of a provider ----------------------------------------------------------------------------------------


async def test_an_unknown_token_is_removed_and_the_push_is_over(phone: Phone) -> None:
    await phone.hear()
    assert await phone.work(TokenGone("UNREGISTERED")) == 1
    assert await phone.token() is None
    state = await phone.state()
    assert (state.dead, state.outcome) == (True, "token gone: UNREGISTERED")
    await phone.hear("again")
    assert await phone.work() == 0, "nothing is wanted of a device without a token"


async def test_a_late_no_does_not_touch_a_token_that_is_new(phone: Phone) -> None:
    """push.md, test 7; and the answer still reaches the phone, over the new token."""
    await phone.hear()
    phone.sender.meanwhile = lambda: phone.register("t2")
    assert await phone.work(TokenGone("UNREGISTERED")) == 1
    phone.sender.meanwhile = None
    assert await phone.token() == "t2"
    phone.world.clock.move(2)
    assert await phone.work() == 1
    assert [each.token for each in phone.sender.asked] == ["t1", "t2"]
    assert (await phone.state()).outcome == "accepted"


async def test_a_no_from_before_the_registration_is_not_about_it(phone: Phone) -> None:
    """APNs says since when a token is void; one that was registered later is a new one although it looks the same."""
    long_ago = phone.world.clock.now() - timedelta(days=1)
    await phone.hear()
    assert await phone.work(TokenGone("410", long_ago)) == 1
    assert await phone.token() == "t1"
    assert not (await phone.state()).dead
    phone.world.clock.move(2)
    assert await phone.work() == 1
    await phone.hear()
    assert await phone.work(TokenGone("410", phone.world.clock.now())) == 1
    assert await phone.token() is None


async def test_what_is_rejected_is_a_dead_letter_until_something_new_is_wanted(phone: Phone) -> None:
    await phone.hear()
    assert await phone.work(Rejected("payload")) == 1
    state = await phone.state()
    assert (state.dead, state.outcome, state.sent_seq) == (True, "rejected: payload", 0)
    phone.world.clock.move(3600)
    assert await phone.work() == 0
    assert await phone.token() == "t1"
    await phone.hear("something else")
    assert await phone.work() == 1
    assert phone.sender.asked[-1].notification.body == "2 new messages"


async def test_what_fails_for_now_comes_again_later_and_later(phone: Phone) -> None:
    await phone.hear()
    pauses = []
    for _ in range(12):
        assert await phone.work(Retry("503")) == 1
        state = await phone.state()
        pause = (state.due_at - phone.world.clock.now()).total_seconds()
        pauses.append(pause)
        phone.world.clock.move(pause - 0.001)
        assert await phone.work() == 0
        phone.world.clock.move(0.001)
    for attempt, pause in enumerate(pauses):
        longest = min(300.0, 2.0**attempt)
        assert longest / 2 <= pause <= longest
    assert await phone.work() == 1
    state = await phone.state()
    assert (state.outcome, state.attempts, state.sent_seq) == ("accepted", 0, 3)


async def test_what_may_have_arrived_is_repeated_without_a_sound(phone: Phone) -> None:
    await phone.hear()
    await phone.work(Retry("connection dropped", ambiguous=True))
    phone.world.clock.move(5)
    await phone.work(Retry("503"))
    phone.world.clock.move(5)
    await phone.work()
    assert [each.quiet for each in phone.sender.asked] == [False, True, True]
    assert len({each.notification.tag for each in phone.sender.asked}) == 1
    await phone.hear("something new")
    await phone.work()
    assert not phone.sender.asked[-1].quiet, "what is new rings"


async def test_who_asks_us_to_slow_down_is_not_asked_for_anybody(phone: Phone) -> None:
    ben = await phone.world.user(await phone.world.app("Heron"), "ben")
    await phone.world.device(ben, "t-ben")
    await phone.hear()
    assert await phone.work(Retry("429", retry_after=90.0, throttled=True)) == 1
    await phone.world.say(await phone.world.opened(ben), phone.world.agent_author, "hello Ben")
    assert await phone.work() == 0
    phone.world.clock.move(89.9)
    assert await phone.work() == 0
    phone.world.clock.move(0.1)
    assert await phone.work() == 2
    assert phone.world.notifications.faults == {}


async def test_another_provider_is_not_slowed_down(phone: Phone) -> None:
    await phone.world.device(phone.user, "apple", platform="ios", provider="apns")
    await phone.hear()
    assert await phone.work(*[Retry("429", retry_after=90.0, throttled=True)] * 2) == 2
    phone.world.clock.move(90)
    await phone.work(Retry("429", retry_after=90.0, throttled=True))
    held = {each.address.provider for each in phone.sender.asked[2:]}
    assert held == {"fcm", "apns"}


async def test_a_wait_the_provider_names_is_kept(phone: Phone) -> None:
    await phone.hear()
    await phone.work(Retry("503", retry_after=17.0))
    assert (await phone.state()).due_at - phone.world.clock.now() == timedelta(seconds=17)


async def test_refused_credentials_open_the_circuit_and_turn_health_red(phone: Phone) -> None:
    await phone.hear()
    assert await phone.work(ConfigFault("THIRD_PARTY_AUTH_ERROR")) == 1
    assert phone.world.notifications.faults == {"fcm": "THIRD_PARTY_AUTH_ERROR"}
    assert (await phone.world.health.reasons())["push.fcm"] == "THIRD_PARTY_AUTH_ERROR"
    other = await phone.world.opened(phone.user)
    await phone.world.say(other, phone.world.agent_author, "there")
    assert await phone.work() == 0
    phone.world.clock.move(CIRCUIT_S)
    assert await phone.work() == 2
    assert phone.world.notifications.faults == {}
    assert await phone.world.health.reasons() == {}


async def test_a_day_is_the_longest(phone: Phone) -> None:
    await phone.hear()
    await phone.work(Retry("503"))
    phone.world.clock.move(OLDEST.total_seconds())
    assert await phone.work(Retry("503", retry_after=1.0)) == 1
    assert not (await phone.state()).dead
    phone.world.clock.move(1)
    assert await phone.work() == 0
    state = await phone.state()
    assert (state.dead, state.outcome) == (True, "given up: older than a day")


async def test_credentials_repaired_after_days_do_not_release_a_flood_of_old_news(phone: Phone) -> None:
    """push.md: 24 h old is a dead letter, whatever kept it waiting."""
    await phone.hear()
    await phone.work(ConfigFault("expired"))
    phone.world.clock.move(3 * 24 * 3600)
    assert await phone.work() == 0
    state = await phone.state()
    assert state.dead
    assert "given up" in (state.outcome or "")


async def test_attempts_are_used_up_in_the_end(phone: Phone) -> None:
    await phone.hear()
    for _ in range(MOST_ATTEMPTS):
        assert not (await phone.state()).dead
        await phone.work(Retry("503"))
        phone.world.clock.move(300)
    state = await phone.state()
    assert (state.dead, state.outcome, state.attempts) == (True, "given up: 503", MOST_ATTEMPTS)
    await phone.hear("something new")
    assert (await phone.state()).attempts == 0
    assert await phone.work() == 1


async def test_a_body_that_cannot_be_read_is_announced_all_the_same(phone: Phone) -> None:
    await phone.hear()
    async with phone.world.database.session() as session:
        await session.connection.execute('update event set body = \'{"kind": "poem"}\' where seq = 3')
    assert await phone.work() == 1
    assert phone.sender.asked[0].notification.body == "New message"


async def test_what_was_wanted_under_another_owner_epoch_is_void(phone: Phone) -> None:
    await phone.hear()
    async with phone.world.database.session() as session:
        await session.connection.execute("update push_state set epoch = epoch - 1")
    assert await phone.work() == 0
    assert (await phone.state()).outcome == "the device has changed hands"
