"""Error codes, close codes and state tables against docs/protocol.md."""

import pytest

from sdk_protocol.closing import CloseCode, may_reconnect
from sdk_protocol.errors import BadFrame, ErrorCode, Malformed, ProtocolError, Refused, WrongState
from sdk_protocol.states import DESK_SOCKET, DEVICE, USER_SOCKET, ServerInput, ServerState, move


def test_the_codes_are_those_of_the_protocol() -> None:
    assert [str(code) for code in ErrorCode] == [
        "bad_request",
        "unauthorized",
        "forbidden",
        "not_found",
        "too_large",
        "rate_limited",
        "out_of_order",
        "idempotency_conflict",
        "conflict",
        "unavailable",
    ]


def test_only_codes_about_the_moment_are_retried() -> None:
    assert {code for code in ErrorCode if code.retry} == {"rate_limited", "out_of_order", "unavailable"}


def test_close_codes_say_whether_to_reconnect() -> None:
    assert {int(code) for code in CloseCode if code.reconnect} == {4000, 4001, 4002, 4003}
    assert {int(code) for code in CloseCode if not code.reconnect} == {4400, 4401, 4406, 4409}


@pytest.mark.parametrize(("code", "expected"), [(1006, True), (1012, True), (4399, True), (4400, False), (4999, False)])
def test_unknown_close_codes_go_by_their_range(code: int, expected: bool) -> None:
    assert may_reconnect(code) is expected


def test_one_base_catches_what_the_package_raises() -> None:
    assert all(issubclass(kind, ProtocolError) for kind in (Malformed, BadFrame, WrongState))
    assert not issubclass(Refused, ProtocolError)


def test_every_server_state_can_be_left_by_closing() -> None:
    for table in (USER_SOCKET, DESK_SOCKET):
        assert all(ServerInput.CLOSE in moves for moves in table.values())


def test_every_table_names_only_states_it_has() -> None:
    for table in (USER_SOCKET, DESK_SOCKET, DEVICE):
        assert {str(following) for moves in table.values() for following in moves.values()} <= {str(s) for s in table}


def test_a_move_the_table_does_not_have_is_the_callers_mistake() -> None:
    assert move(USER_SOCKET, ServerState.SYNCING, ServerInput.SYNCED) is ServerState.LIVE
    with pytest.raises(WrongState, match="`synced` is not possible while the session is `await_hello`"):
        move(USER_SOCKET, ServerState.AWAIT_HELLO, ServerInput.SYNCED)
