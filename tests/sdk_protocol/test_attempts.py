"""A device's tries: hellos that are numbered, and a 4400 that is not always the end."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from sdk_protocol.client_session import ClientSession
from sdk_protocol.codec import JSON
from sdk_protocol.device_state import DeviceState
from sdk_protocol.effects import Deliver, Disconnect, Reconnect, Stop
from sdk_protocol.errors import BadFrame, ErrorCode
from sdk_protocol.fields import MAX_INTEGER
from sdk_protocol.frames import Error, Hello, Synced, UserFrame
from sdk_protocol.states import ClientState
from tests.sdk_protocol.device import connected, give, live, transmitted
from tests.sdk_protocol.samples import DEVICE, WALL, hello, welcome


def stale(attempt: int) -> Error:
    """The answer to a `hello` that is not newer than number `attempt`."""
    return Error(code=ErrorCode.CONFLICT, message="m", retry=True, field="attempt", attempt=attempt)


def attempt_of(session: ClientSession) -> int:
    (said,) = transmitted(session.connect(0.0, WALL))
    assert isinstance(said, Hello)
    assert isinstance(said.attempt, int)
    return said.attempt


def test_every_hello_has_a_greater_number_whatever_became_of_the_last_one() -> None:
    session = ClientSession(DEVICE, "jwt")
    assert attempt_of(session) == 1
    session.disconnected(1006, 1.0, 0.0)
    # A socket that never opened said nothing.
    session.disconnected(1006, 2.0, 0.0)
    assert attempt_of(session) == 2
    give(session, welcome())
    give(session, Synced(usn=0))
    session.disconnected(4000, 3.0, 0.0)
    assert attempt_of(session) == 3
    assert session.state() == DeviceState(epoch="e1", attempt=3)


def test_the_number_outlives_the_app() -> None:
    session = live()
    kept = msgspec.json.decode(msgspec.json.encode(session.state()), type=DeviceState)
    restarted = ClientSession(DEVICE, "jwt")
    restarted.restore(kept)
    assert attempt_of(restarted) == 2


def test_what_was_stored_before_hellos_had_numbers_is_restored() -> None:
    kept = msgspec.json.decode(b'{"epoch":"e1","usn":7,"outbox":[]}', type=DeviceState)
    session = ClientSession(DEVICE, "jwt")
    session.restore(kept)
    assert session.state() == DeviceState(epoch="e1", usn=7)
    assert attempt_of(session) == 1


def test_a_device_that_forgot_its_number_learns_it_and_is_newer_at_the_next_try() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.restore(DeviceState(epoch="e1", usn=7, attempt=4))
    assert attempt_of(session) == 5
    assert give(session, stale(19)) == [Deliver(stale(19))]
    # Like any other 4000: with backoff, the token is not to blame, nothing stored is touched.
    assert session.disconnected(4000, 1.0, 0.5) == [Reconnect(0.25)]
    assert session.state() == DeviceState(epoch="e1", usn=7, attempt=19)
    assert attempt_of(session) == 20


def test_a_server_that_knows_less_takes_nothing_back() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.restore(DeviceState(attempt=9))
    assert attempt_of(session) == 10
    give(session, stale(3))
    session.disconnected(4000, 1.0, 0.5)
    assert attempt_of(session) == 11


def test_after_welcome_an_error_says_nothing_about_hellos() -> None:
    session = live()
    assert give(session, stale(19)) == [Deliver(stale(19))]
    session.disconnected(1006, 1.0, 0.0)
    assert attempt_of(session) == 2


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.just("breaks"),
            st.just("welcomed"),
            st.just("restarted"),
            st.tuples(st.just("stale"), st.integers(1, 40)),
            st.tuples(st.just("restored"), st.integers(0, 40)),
        ),
        max_size=30,
    )
)
def test_no_number_is_said_twice_unless_a_backup_says_so(steps: list[str | tuple[str, int]]) -> None:
    session, said = ClientSession(DEVICE, "jwt"), 0
    for step in steps:
        number = attempt_of(session)
        assert number > said
        said = number
        match step:
            case "welcomed":
                give(session, welcome())
            case ("stale", known):
                give(session, stale(known))
                said = max(said, known)
            case "restarted" | ("restored", _):
                state = session.state()
                if isinstance(step, tuple):
                    state.attempt = said = step[1]
                session = ClientSession(DEVICE, "jwt")
                session.restore(state)
        if session.phase is not ClientState.OFFLINE:
            session.disconnected(1006, 0.0, 0.0)


@pytest.mark.parametrize("attempt", [0, -1, 1.5, "1", None, MAX_INTEGER + 1])
def test_a_number_is_a_positive_integer(attempt: object) -> None:
    with pytest.raises(BadFrame) as refused:
        JSON.decode_user(hello(attempt=attempt))
    assert (refused.value.code, refused.value.field) == (ErrorCode.BAD_REQUEST, "attempt")


@pytest.mark.parametrize("attempt", [1, MAX_INTEGER])
def test_the_smallest_and_the_greatest_number(attempt: int) -> None:
    decoded: UserFrame = JSON.decode_user(hello(attempt=attempt))
    assert isinstance(decoded, Hello)
    assert decoded.attempt == attempt


def test_a_hello_without_a_number_is_one() -> None:
    decoded = JSON.decode_user(hello())
    assert isinstance(decoded, Hello)
    assert decoded.attempt is UNSET


# -- 4400 before welcome -----------------------------------------------------------------------------------


def unheard(session: ClientSession) -> list[object]:
    """A connection that the server closes with 4400 before it welcomes anybody."""
    session.connect(0.0, WALL)
    return [*session.disconnected(4400, 0.0, 1.0)]


def test_4400_before_welcome_is_tried_again_nine_times() -> None:
    session = ClientSession(DEVICE, "jwt")
    ends = [unheard(session) for _ in range(10)]
    assert ends[:4] == [[Reconnect(0.5)], [Reconnect(1.0)], [Reconnect(2.0)], [Reconnect(4.0)]]
    assert [isinstance(end, Stop) for (end,) in ends] == [False] * 9 + [True]
    assert session.phase is ClientState.STOPPED


def test_a_welcome_makes_it_patient_again() -> None:
    session = ClientSession(DEVICE, "jwt")
    for _ in range(9):
        unheard(session)
    connected(session)
    session.disconnected(1006, 0.0, 0.0)
    ends = [unheard(session) for _ in range(10)]
    assert [isinstance(end, Stop) for (end,) in ends] == [False] * 9 + [True]


def test_other_ends_of_a_connection_do_not_make_it_patient_again() -> None:
    session = ClientSession(DEVICE, "jwt")
    for _ in range(9):
        unheard(session)
        session.disconnected(1006, 0.0, 0.0)
        session.connect(0.0, WALL)
        session.disconnected(4000, 0.0, 0.0)
    assert unheard(session) == [Stop(4400)]


def test_4400_after_welcome_is_final_however_it_ends() -> None:
    assert live().disconnected(4400, 1.0, 0.5) == [Stop(4400)]
    leaving = connected()
    (leave,) = leaving.receive("nonsense", 0.0)
    assert isinstance(leave, Disconnect)
    assert leaving.disconnected(4400, 1.0, 0.5) == [Stop(4400)]


def test_4400_that_comes_before_hello_was_even_sent_is_tried_again() -> None:
    """The app woke up, and its library told it of the end first."""
    session = live()
    session.disconnected(1006, 0.0, 0.0)
    assert session.disconnected(4400, 1.0, 0.5) == [Reconnect(0.5)]
    assert session.connect(2.0, WALL + 2)


@pytest.mark.parametrize("code", [4401, 4406, 4409, 4499, 4999])
def test_other_final_codes_are_final_before_welcome_too(code: int) -> None:
    session = ClientSession(DEVICE, "jwt")
    session.connect(0.0, WALL)
    assert session.disconnected(code, 0.0, 0.5) == [Stop(code)]
