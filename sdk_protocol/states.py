"""The states of a connection at each end, all transitions in one table a machine (docs/protocol.md).

A pair that is not in a table is forbidden: a frame that causes one breaks the protocol (close 4400 on the server,
reconnect on the client), a method call that does raises `WrongState`. `CLOSED` and `STOPPED` have no way out.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from sdk_protocol.errors import WrongState


class ServerState(StrEnum):
    """Where a socket is, seen by the server. The desk's socket skips `SYNCING`: its cursors belong to its watches."""

    AWAIT_HELLO = "await_hello"
    AUTHENTICATING = "authenticating"
    SYNCING = "syncing"
    LIVE = "live"
    DRAINING = "draining"
    CLOSED = "closed"


class ServerInput(StrEnum):
    """What moves it: `HELLO` and `FRAME` come from the socket, the others from the application."""

    HELLO = "hello"
    FRAME = "frame"
    AUTHENTICATED = "authenticated"
    SYNCED = "synced"
    DRAIN = "drain"
    CLOSE = "close"


class ClientState(StrEnum):
    """Where the connection is, seen by the device."""

    OFFLINE = "offline"
    AWAIT_WELCOME = "await_welcome"
    SYNCING = "syncing"
    LIVE = "live"
    DRAINING = "draining"
    LEAVING = "leaving"
    STOPPED = "stopped"


class ClientInput(StrEnum):
    """What moves it: `WELCOME`, `SYNCED`, `DRAIN` are frames, `LEAVE` is the decision to close."""

    CONNECTED = "connected"
    WELCOME = "welcome"
    SYNCED = "synced"
    DRAIN = "drain"
    LEAVE = "leave"
    DISCONNECTED = "disconnected"
    STOP = "stop"


_S, _SI, _C, _CI = ServerState, ServerInput, ClientState, ClientInput

USER_SOCKET: Mapping[ServerState, Mapping[ServerInput, ServerState]] = {
    # Nothing was promised to a socket that has not said hello, so draining just closes it.
    _S.AWAIT_HELLO: {_SI.HELLO: _S.AUTHENTICATING, _SI.DRAIN: _S.CLOSED, _SI.CLOSE: _S.CLOSED},
    _S.AUTHENTICATING: {
        _SI.FRAME: _S.AUTHENTICATING,
        _SI.AUTHENTICATED: _S.SYNCING,
        _SI.DRAIN: _S.CLOSED,
        _SI.CLOSE: _S.CLOSED,
    },
    _S.SYNCING: {_SI.FRAME: _S.SYNCING, _SI.SYNCED: _S.LIVE, _SI.DRAIN: _S.DRAINING, _SI.CLOSE: _S.CLOSED},
    # `synced` again: the reader fell behind, was brought up from the log and is told so.
    _S.LIVE: {_SI.FRAME: _S.LIVE, _SI.SYNCED: _S.LIVE, _SI.DRAIN: _S.DRAINING, _SI.CLOSE: _S.CLOSED},
    _S.DRAINING: {_SI.FRAME: _S.DRAINING, _SI.SYNCED: _S.DRAINING, _SI.DRAIN: _S.DRAINING, _SI.CLOSE: _S.CLOSED},
    _S.CLOSED: {_SI.CLOSE: _S.CLOSED, _SI.DRAIN: _S.CLOSED},
}

DESK_SOCKET: Mapping[ServerState, Mapping[ServerInput, ServerState]] = {
    _S.AWAIT_HELLO: {_SI.HELLO: _S.AUTHENTICATING, _SI.DRAIN: _S.CLOSED, _SI.CLOSE: _S.CLOSED},
    _S.AUTHENTICATING: {
        _SI.FRAME: _S.AUTHENTICATING,
        _SI.AUTHENTICATED: _S.LIVE,
        _SI.DRAIN: _S.CLOSED,
        _SI.CLOSE: _S.CLOSED,
    },
    _S.LIVE: {_SI.FRAME: _S.LIVE, _SI.DRAIN: _S.DRAINING, _SI.CLOSE: _S.CLOSED},
    _S.DRAINING: {_SI.FRAME: _S.DRAINING, _SI.DRAIN: _S.DRAINING, _SI.CLOSE: _S.CLOSED},
    _S.CLOSED: {_SI.CLOSE: _S.CLOSED, _SI.DRAIN: _S.CLOSED},
}

DEVICE: Mapping[ClientState, Mapping[ClientInput, ClientState]] = {
    # `DISCONNECTED` here: the attempt to connect failed.
    _C.OFFLINE: {_CI.CONNECTED: _C.AWAIT_WELCOME, _CI.DISCONNECTED: _C.OFFLINE, _CI.STOP: _C.STOPPED},
    # `drain` may overtake `welcome`: the node began to drain while the token was being verified.
    _C.AWAIT_WELCOME: {
        _CI.WELCOME: _C.SYNCING,
        _CI.DRAIN: _C.AWAIT_WELCOME,
        _CI.LEAVE: _C.LEAVING,
        _CI.DISCONNECTED: _C.OFFLINE,
        _CI.STOP: _C.STOPPED,
    },
    _C.SYNCING: {
        _CI.SYNCED: _C.LIVE,
        _CI.DRAIN: _C.DRAINING,
        _CI.LEAVE: _C.LEAVING,
        _CI.DISCONNECTED: _C.OFFLINE,
        _CI.STOP: _C.STOPPED,
    },
    _C.LIVE: {
        _CI.SYNCED: _C.LIVE,
        _CI.DRAIN: _C.DRAINING,
        _CI.LEAVE: _C.LEAVING,
        _CI.DISCONNECTED: _C.OFFLINE,
        _CI.STOP: _C.STOPPED,
    },
    _C.DRAINING: {
        _CI.SYNCED: _C.DRAINING,
        _CI.DRAIN: _C.DRAINING,
        _CI.LEAVE: _C.LEAVING,
        _CI.DISCONNECTED: _C.OFFLINE,
        _CI.STOP: _C.STOPPED,
    },
    _C.LEAVING: {_CI.DISCONNECTED: _C.OFFLINE, _CI.STOP: _C.STOPPED},
    _C.STOPPED: {},
}

State = TypeVar("State", bound=StrEnum)
Input = TypeVar("Input", bound=StrEnum)


def move(table: Mapping[State, Mapping[Input, State]], state: State, by: Input) -> State:
    """The state that follows. Raises `WrongState` for a pair the table does not have."""
    following = table[state].get(by)
    if following is None:
        raise WrongState(f"`{by}` is not possible while the session is `{state}`")
    return following
