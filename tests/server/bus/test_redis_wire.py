"""Packets and names, without any Redis."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.bus.interface import Committed, app_channel, conversation_channel, user_channel
from server.bus.redis_wire import ORIGIN_BYTES, encode, name_of, pack, probe_name, slot_of, unpack
from tests.server.bus.member import HINTS, event, touched

ORIGIN = b"o" * ORIGIN_BYTES


def test_all_kinds_in_one_packet() -> None:
    assert unpack(pack(ORIGIN, [encode(hint) for hint in HINTS])) == (list(HINTS), 0)


def test_the_sample_event_fills_every_field() -> None:
    # Else a field that is added to events could be forgotten here, and other nodes would not see it.
    sample = event()
    assert None not in msgspec.structs.astuple(sample) + msgspec.structs.astuple(sample.author)
    assert unpack(pack(ORIGIN, [encode(Committed(sample.app_id, sample.user_id, (sample,), "h-00000001"))]))[0] == [
        Committed(sample.app_id, sample.user_id, (sample,), "h-00000001")
    ]


def test_a_kind_that_nobody_here_knows_is_passed_over() -> None:
    known = touched()
    future = msgspec.msgpack.encode({"type": "from_tomorrow", "value": 1})
    assert unpack(pack(ORIGIN, [encode(known), future, encode(known)])) == ([known, known], 1)


def test_fields_that_nobody_here_knows_are_ignored() -> None:
    fields = msgspec.msgpack.decode(encode(touched(5)))
    ((hint,), unreadable) = unpack(pack(ORIGIN, [msgspec.msgpack.encode(fields | {"from_tomorrow": 1})]))
    assert (getattr(hint, "rev", None), unreadable) == (5, 0)


@given(st.binary(max_size=200))
def test_garbage_is_counted_and_never_raises(garbage: bytes) -> None:
    hints, unreadable = unpack(garbage)
    assert unreadable or not hints


def test_names_are_spread_by_user_and_stay_apart() -> None:
    one, two = UUID(int=1), UUID(int=2)
    names = {name_of(channel) for channel in (user_channel(one, two), conversation_channel(one), app_channel(one))}
    assert names == {
        b"deskbell:2:u:{00000000-0000-0000-0000-000000000001:00000000-0000-0000-0000-000000000002}",
        b"deskbell:2:c:{00000000-0000-0000-0000-000000000001}",
        b"deskbell:2:a:{00000000-0000-0000-0000-000000000001}",
    }
    assert slot_of(name_of(app_channel(one))) == slot_of(name_of(conversation_channel(one)))
    slots = {slot_of(name_of(user_channel(one, UUID(int=number)))) for number in range(1000)}
    assert len(slots) > 900


def test_slots_are_those_of_the_specification() -> None:
    # Redis Cluster specification, appendix A: CRC16 of "123456789" is 0x31C3.
    assert slot_of(b"123456789") == 0x31C3
    assert slot_of(b"x{123456789}y") == 0x31C3


def test_probes_of_two_buses_differ() -> None:
    assert probe_name(b"12345678", 0) != probe_name(b"12345679", 0)
    assert len({slot_of(probe_name(b"12345678", number)) for number in range(100)}) > 90


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_a_number_too_large_is_refused_here_and_not_there(value: int) -> None:
    with pytest.raises(OverflowError):
        encode(touched(value))
