from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.firebase import encode
from push.payload import PAYLOAD_LIMIT, QUIET_CHANNEL, fcm_message, payload_bytes, summary_text
from push.sender import MAX_BADGE, MAX_DATA_BYTES, MAX_TTL_SECONDS, Address, Notification

NOW = 1_800_000_000.0
ADDRESS = Address("fcm", "fid", "fid-of-mia", "android")
HOSTILE = '👨‍👩‍👧‍👦🏳️‍🌈🇩🇪e\u0301שלוםمرحبا\u202e\u2067\x00"\\\n\ud83d가각'

texts = st.one_of(
    st.text(alphabet=st.characters(codec=None), max_size=200),
    st.text(alphabet=st.one_of(st.characters(codec=None), st.sampled_from(HOSTILE)), max_size=50).map(
        lambda t: t * 200
    ),
)
notifications = st.builds(
    Notification,
    title=texts,
    body=texts,
    tag=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64),
    badge=st.none() | st.integers(0, MAX_BADGE),
    data=st.dictionaries(st.sampled_from(["seq", "event", "app"]), st.text(max_size=60)),
    clear=st.booleans(),
    ttl=st.integers(0, MAX_TTL_SECONDS),
    locale=st.none() | st.sampled_from(["de", "ar-EG", "zh-Hant-TW"]),
)
platforms = st.sampled_from(["android", "ios", "web", "other"])


def message(notification: Notification, *, quiet: bool = False, address: Address = ADDRESS) -> dict[str, Any]:
    return fcm_message(address, notification, quiet=quiet, now=NOW)


@given(notifications, platforms, st.booleans())
def test_any_text_fits_and_firebase_admin_encodes_exactly_this(
    notification: Notification, platform: Any, quiet: bool
) -> None:
    built = message(notification, quiet=quiet, address=Address("fcm", "fid", "f" * 200, platform))
    assert payload_bytes(built) <= PAYLOAD_LIMIT
    assert encode(built) == built


@pytest.mark.parametrize("kind", ["token", "fid"])
def test_the_largest_notification_fits_with_its_address(kind: Any) -> None:
    room = MAX_DATA_BYTES - len('{"x":""}')
    largest = Notification(
        '"' * 5000, "👨‍👩‍👧‍👦" * 5000, '"' * 64, MAX_BADGE, {"x": "y" * room}, ttl=MAX_TTL_SECONDS, locale='"' * 35
    )
    for quiet in (False, True):
        built = message(largest, quiet=quiet, address=Address("fcm", kind, "t" * 170, "web"))
        assert payload_bytes({"message": built}) <= PAYLOAD_LIMIT
        assert built["notification"]["body"].endswith("👨‍👩‍👧‍👦…")
        assert encode(built) == built


def test_a_message_shows_text_carries_data_and_replaces_by_conversation() -> None:
    built = message(Notification("Anna", "Hello", "c-1", 3, {"seq": "7"}, locale="de"))
    assert built == {
        "fid": "fid-of-mia",
        "notification": {"title": "Anna", "body": "Hello"},
        "data": {"type": "message", "conversation": "c-1", "badge": "3", "locale": "de", "seq": "7"},
        "android": {
            "priority": "high",
            "ttl": "86400s",
            "notification": {"tag": "c-1", "sound": "default", "notification_count": 3},
        },
        "apns": {
            "headers": {
                "apns-collapse-id": "c-1",
                "apns-push-type": "alert",
                "apns-priority": "10",
                "apns-expiration": "1800086400",
            },
            "payload": {"aps": {"badge": 3, "sound": "default"}},
        },
    }


def test_a_quiet_repeat_differs_in_nothing_but_the_sound() -> None:
    notification = Notification("Anna", "Hello", "c-1", 3)
    loud, quiet = message(notification), message(notification, quiet=True)
    assert "sound" not in json.dumps(quiet)
    assert loud["android"]["notification"].pop("sound") == loud["apns"]["payload"]["aps"].pop("sound") == "default"
    assert quiet["android"]["notification"].pop("channel_id") == QUIET_CHANNEL
    assert quiet["android"]["notification"].pop("notification_priority") == "PRIORITY_LOW"
    assert quiet == loud


def test_a_clear_shows_nothing_and_costs_no_high_priority() -> None:
    built = message(Notification("", "", "c-1", 0, clear=True))
    assert "notification" not in built
    assert "notification" not in built["android"]
    assert built["data"] == {"type": "clear", "conversation": "c-1", "badge": "0"}
    assert built["android"]["priority"] == "normal"
    assert built["apns"]["payload"]["aps"] == {"badge": 0, "content-available": 1}
    assert (built["apns"]["headers"]["apns-push-type"], built["apns"]["headers"]["apns-priority"]) == ("alert", "5")


def test_a_clear_without_badge_is_a_background_push() -> None:
    assert message(Notification("", "", "c-1", clear=True))["apns"]["headers"]["apns-push-type"] == "background"


def test_never_a_collapse_key() -> None:
    assert "collapse_key" not in json.dumps(message(Notification("a", "b", "c-1")))


def test_now_or_never() -> None:
    built = message(Notification("a", "b", "c-1", ttl=0))
    assert (built["android"]["ttl"], built["apns"]["headers"]["apns-expiration"]) == ("0s", "0")


def test_a_browser_gets_the_tag_too() -> None:
    web = message(Notification("a", "b", "c-1", ttl=60), quiet=True, address=Address("fcm", "fid", "x", "web"))[
        "webpush"
    ]
    assert web == {
        "headers": {"TTL": "60", "Urgency": "high"},
        "notification": {"tag": "c-1", "renotify": False, "silent": True},
    }


@pytest.mark.parametrize("key", ["from", "message_type", "google.id", "gcm.n"])
def test_keys_fcm_reserves_are_refused_by_name(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        message(Notification("a", "b", "c-1", data={key: "x"}))


def test_summary_shows_words_for_one_message_and_a_number_for_several() -> None:
    assert summary_text(1, "On my way", True) == "On my way"
    assert summary_text(3, "On my way", True) == "3 new messages"
    assert summary_text(3, "{count}", True, several="{count} neue Nachrichten") == "3 neue Nachrichten"


def test_summary_hides_words_of_private_apps_and_has_some_for_wordless_messages() -> None:
    assert summary_text(1, "On my way", False) == "New message"
    assert summary_text(1, "\x00", True, one="Neue Nachricht") == "Neue Nachricht"


def test_summary_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="count"):
        summary_text(0, "", True)
