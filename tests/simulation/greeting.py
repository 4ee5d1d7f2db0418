"""From `hello` to `welcome`: `UserConnection._admit` and `gateway.resume.begin` said again, one `await` a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from sdk_protocol import frames
from sdk_protocol.closing import CloseCode
from sdk_protocol.cursor import ReadCursor
from sdk_protocol.records import Limits, UserInfo
from server.domain.errors import StaleHello, Unavailable
from server.domain.identity import Expired
from server.gateway.translate import error_frame, time_text
from tests.simulation.tokens import expiry_of

if TYPE_CHECKING:
    from uuid import UUID

    from tests.simulation.connection import Connection, Request
    from tests.simulation.database import Standing


class Greeting:
    """One `hello` under way. Its steps end where `request` was answered for want of time, or the socket is closed."""

    __slots__ = ("_connection", "_generation", "_hello", "_history", "_request", "_user")

    def __init__(self, connection: Connection, request: Request, hello: frames.Hello) -> None:
        self._connection = connection
        self._request = request
        self._hello = hello
        self._generation = 0
        self._user: Standing | None = None
        self._history = ""
        connection.node.later(connection.world.database_time(), self._verified)

    @property
    def _user_id(self) -> UUID:
        user_id = self._connection.user_id
        assert user_id is not None
        return user_id

    def _verified(self) -> None:
        connection, hello = self._connection, self._hello
        if self._request.done:
            return
        if expiry_of(hello.token) <= connection.node.wall:
            connection.world.count("hellos with an expired token")
            connection.finish(self._request)
            connection.send(error_frame(UNSET, Expired("The token has expired: get a new one.", field="token")))
            connection.close(CloseCode.TOKEN_EXPIRED, "the token has expired")
            return
        if connection.gone:
            connection.world.count("sockets gone during hello")
            connection.finish(self._request)
            return  # nobody is there any more: neither listen for them nor let them replace a newer socket
        # Listen before the head is read: whatever is committed from here on is heard, or found in the log.
        connection.user_id, connection.device_id = connection.world.user_of(hello.token), hello.device.id
        connection.node.hub.add(connection.user_id, connection)
        connection.node.later(connection.world.database_time(), self._claim_device)

    def _claim_device(self) -> None:
        if not self._goes_on():
            return
        world, hello = self._connection.world, self._hello
        assert hello.attempt is not UNSET
        try:
            self._generation = world.db.say_hello(self._user_id, hello.device.id, hello.attempt)
        except StaleHello as stale:
            self._connection.node.later(world.database_time(), self._refused, stale)
            return
        self._user = world.db.standing(self._user_id)
        self._history = self._connection.node.history()
        self._connection.node.later(world.database_time(), self._claimed)

    def _refused(self, stale: StaleHello) -> None:
        """It came late: a newer one was here before, and nothing has changed."""
        self._connection.world.count("hellos that came late")
        if self._connection.finish(self._request):
            self._connection.send(error_frame(UNSET, stale))
            self._connection.not_now()

    def _claimed(self) -> None:
        if self._request.done:
            return
        world = self._connection.world
        world.bus.replaced(self._user_id, self._hello.device.id, self._generation)
        self._believe()

    def _believe(self) -> None:
        """Believe the device's cursor if it belongs to this history, is not ahead of it, and not from before what was
        trimmed; else give it a snapshot."""
        node, user, hello = self._connection.node, self._user, self._hello
        assert user is not None
        epoch, usn = self._history, hello.usn
        if usn is not UNSET and hello.epoch in (UNSET, epoch) and user.trimmed_usn <= usn <= user.usn:
            node.world.count("resumed")
            self._admitted(ReadCursor(usn, node.window_events, node.window_bytes), epoch, user.usn, None)
        else:
            node.later(node.world.database_time(), self._give_snapshot)

    def _give_snapshot(self) -> None:
        if not self._goes_on():
            return
        node = self._connection.node
        node.world.count("snapshots")
        snapshot, history = node.world.snapshot_of(node.world.db.users[self._user_id]), node.history()
        cursor = ReadCursor(snapshot.usn, node.window_events, node.window_bytes)
        node.later(node.world.database_time(), self._admitted, cursor, history, snapshot.usn, snapshot)

    def _admitted(self, cursor: ReadCursor, epoch: str, head: int, snapshot: frames.Snapshot | None) -> None:
        connection, hello, user = self._connection, self._hello, self._user
        assert user is not None
        if not connection.finish(self._request):
            return
        if connection.gone:
            return
        world, expires = connection.world, expiry_of(hello.token)
        connection.welcomed(
            self._generation,
            user.auth_gen,
            epoch,
            hello.usn if snapshot is None and hello.usn is not UNSET else head,
        )
        welcome = frames.Welcome(
            session="s",
            user=UserInfo(id=str(connection.user_id)),
            epoch=epoch,
            head=head,
            resume="snapshot" if snapshot else "continued",
            ping_interval=connection.node.pace.ping_every,
            token_expires_at=time_text(world.date(expires)),
            limits=Limits(),
            caps=[],
        )
        token_expires = world.now + expires - connection.node.wall
        connection.act(connection.session.authenticated(welcome, cursor, token_expires, world.now, snapshot=snapshot))
        connection.begin()

    def _goes_on(self) -> bool:
        """False if it is over, or the database is away."""
        if self._request.done:
            return False
        if not self._connection.world.db.away:
            return True
        self._connection.finish(self._request)
        self._connection.send(error_frame(UNSET, Unavailable("The database is not available.")))
        self._connection.not_now()
        return False
