"""A phone with the app on it: a real `ClientSession`, a disk that survives, and a user with ideas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import UNSET

from sdk_protocol import effects as on
from sdk_protocol import frames
from sdk_protocol.client_session import ClientSession
from sdk_protocol.closing import CloseCode
from sdk_protocol.codec import JSON, MSGPACK
from sdk_protocol.frames import Device, Text
from sdk_protocol.records import OpeningMessage
from sdk_protocol.states import ClientState
from tests.simulation.disk import Disk
from tests.simulation.network import PING, Closed, Link, Parcel, Ping
from tests.simulation.story import told
from tests.simulation.timeline import Actor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.world import World

READY = (ClientState.SYNCING, ClientState.LIVE, ClientState.DRAINING)
LOG_IN_AGAIN_S = 1.0


class Phone(Actor):
    def __init__(self, world: World, number: int, user: int, skew: float) -> None:
        super().__init__()
        self.world = world
        self.number = number
        self.user = user
        self.user_id = world.user_ids[user]
        self.device = Device(id=UUID(int=1000 + number), platform="other")
        self.codec = MSGPACK if number % 2 else JSON
        self.skew = skew
        self.disk = Disk()
        self.link: Link | None = None
        self.hidden = False
        self.running = False
        self.logged_out = False
        self.flaps = 0
        """So many of its next sockets break while they are set up."""
        self.unheard = 0
        """So many of its sockets ended with 4400 since its last welcome, or since the app began."""
        self.dies_after: int | None = None
        """The app is killed after so many more effects."""
        self._may_connect = False
        self._fetching = False
        self._tick_at: float | None = None
        self.token_asked_at: list[float] = []
        self.start()

    @property
    def awake(self) -> bool:
        """The app runs, and the system lets it."""
        return self.running and self.frozen_until <= self.world.now

    # -- the app's life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """The app begins: nothing in memory, everything on the disk."""
        self.life += 1
        self.frozen_until = 0.0
        self.running = True
        self.dies_after = None
        self.link = None
        self._tick_at = None
        self._fetching = False
        self.logged_out = False
        self.unheard = 0
        self.session = ClientSession(
            self.device, self.world.token_for(self.user), codec=self.codec, foreground=not self.hidden
        )
        self.session.restore(self.disk.state())
        self._connect_in(0.0)

    def kill(self) -> None:
        """The system ends the app; its socket closes as the network feels like."""
        if not self.running:
            return
        self.world.count("apps killed")
        self.running = False
        self.life += 1
        self._drop_link()

    def forget_number(self) -> None:
        """An old copy of what counts the hellos comes back, as from a backup."""
        if self.disk.attempt:
            self.world.count("apps that forgot their number")
        self.disk.attempt = 0

    def sleep(self, seconds: float) -> None:
        """The system stops the app's process without a word; what comes meanwhile waits in the socket."""
        self.frozen_until = max(self.frozen_until, self.world.now + seconds)

    def hide(self) -> None:
        """To the background: the socket closes, push takes over."""
        if not self.awake or self.hidden:
            return
        self.hidden = True
        self._do(self.session.show(False, self.world.now))
        if self.link is not None:
            self._socket_ended(1000)

    def show(self) -> None:
        self.hidden = False
        if self.running and not self.awake:
            self.world.at(0.0, self, self._shown)
        elif self.running:
            self._shown()

    def _shown(self) -> None:
        if not self.hidden:
            self._do(self.session.show(True, self.world.now))
            if self.link is None and self._may_connect:
                self._connect_in(0.0)

    def _drop_link(self) -> None:
        if self.link is not None:
            self.link.up.send(Closed(1006))
            self.link.up.snap(int(self.world.dice.random() * (self.link.up.waiting + 1)), Closed(1006), 0.0)
            self.link = None

    # -- the network ---------------------------------------------------------------------------------------

    def _connect_in(self, seconds: float) -> None:
        self._may_connect = True
        self.world.at(seconds, self, self._connect)

    def _connect(self) -> None:
        if self.link is not None or self.hidden or not self._may_connect or self.logged_out:
            return
        self._may_connect = False
        node = self.world.route()
        if node is None or not node.up or node.draining:
            self.world.count("handshakes refused")
            wait = 0.0 if node is None or not node.up else 5.0
            self._do(self.session.disconnected(1006, self.world.now, self.world.dice.random(), wait))
            return
        self.world.count("connects")
        link = self.link = node.accept(self, self.codec)
        self.world.at(self.world.latency(), self, self._connected, link)
        if self.flaps:
            self.flaps -= 1
            dice = self.world.dice.random()
            wait = dice * (self.world.climate.latency * 6 + self.world.climate.database * 3)
            kind = dice * 10 % 1
            if kind < 0.2:
                self.world.count("apps asleep while they connect")
                self.world.at(wait / 4, None, self.sleep, 11.0 + dice)
            elif kind < 0.4:
                self.world.count("hellos held up on the way")
                link.up.slow = 1.0 + 8 * dice
                self.world.at(self.world.climate.latency * 2, None, lambda: link.cut(dice, silent_up=True))
            else:
                self.world.at(wait, None, link.cut, dice)

    def _connected(self, link: Link) -> None:
        """The handshake is over."""
        if link is self.link:
            self._do(self.session.connect(self.world.now, self.world.wall(self.skew)))

    def arrived(self, link: Link, parcel: Parcel) -> None:
        """What the socket brings; of a socket this app has left, nothing matters any more."""
        if link is not self.link:
            return
        if isinstance(parcel, (str, bytes)):
            self._do(self.session.receive(parcel, self.world.now))
        elif isinstance(parcel, Ping):
            self.session.heard(self.world.now)
            link.up.send(PING)
        else:
            self._socket_ended(parcel.code)

    def _socket_ended(self, code: int) -> None:
        assert self.link is not None
        self.link.up.send(Closed(1000))
        self.link.up.snap(self.link.up.waiting, None, 0.0)
        self.link = None
        self.unheard += code == CloseCode.PROTOCOL_ERROR
        self.world.count("disconnects")
        self._do(self.session.disconnected(code, self.world.now, self.world.dice.random()))

    # -- effects -------------------------------------------------------------------------------------------

    def _do(self, effects: Sequence[on.Effect]) -> None:
        life = self.life
        for effect in effects:
            if self.dies_after is not None:
                if self.dies_after == 0:
                    self.kill()
                else:
                    self.dies_after -= 1
            if self.life != life:
                return
            if self.world.story is not None:
                self.world.say(f"phone {self.number}: {told(effect)}")
            CARRY_OUT[type(effect)](self, effect)
        if self.life == life:
            self._set_alarm()

    # What each effect asks for, by its type: a long `match` would be a third of the run.

    def _transmit(self, effect: on.Transmit) -> None:
        if self.link is not None:
            frame = effect.frame
            if isinstance(frame, frames.Hello):
                self.world.oracle.greeting(self, frame)
                self.disk.attempt = frame.attempt or 0
            self.link.up.send(self.codec.encode(frame))

    def _store(self, effect: on.Store) -> None:
        disk, event = self.disk, effect.event
        self.world.oracle.storing(self, event, effect.epoch)
        disk.events.append(event)
        disk.epoch = effect.epoch
        disk.conversations[event.conversation] = event.seq

    def _replace(self, effect: on.Replace) -> None:
        disk, snapshot = self.disk, effect.snapshot
        self.world.oracle.replacing(self, snapshot, effect.epoch)
        disk.base = snapshot.usn
        disk.events = []
        disk.epoch = effect.epoch
        disk.conversations = {each.id: each.seq for each in snapshot.conversations}

    def _persist(self, effect: on.Persist) -> None:
        self.disk.outbox[effect.key] = effect.frame
        self.world.oracle.written(self, effect.key, effect.frame)

    def _forget(self, effect: on.Forget) -> None:
        if self.disk.outbox.pop(effect.key, None) is None:
            self.world.oracle.forgotten_twice(self, effect.key)

    def _accepted(self, effect: on.Accepted) -> None:
        self.world.oracle.accepted(self, effect.key, effect.ok)

    def _failed(self, effect: on.Failed) -> None:
        self.world.oracle.failed(self, effect.key, effect.error)

    def _deliver(self, effect: on.Deliver) -> None:
        if isinstance(effect.frame, frames.Welcome):
            self.unheard = 0
        elif isinstance(effect.frame, frames.Error):
            self.world.count("errors delivered")

    def _need_token(self, _: on.NeedToken) -> None:
        self.world.count("tokens asked for")
        self.world.oracle.asking_for_token(self)
        self._fetch_token()

    def _disconnect(self, _: on.Disconnect) -> None:
        if self.link is not None:
            self.world.count("phones that left by themselves")
            self._socket_ended(1000)

    def _reconnect(self, effect: on.Reconnect) -> None:
        self._connect_in(effect.after)

    def _stop(self, effect: on.Stop) -> None:
        self.world.oracle.stopped(self, effect.code)
        self.logged_out = True
        self.world.at(LOG_IN_AGAIN_S, self, self.start)

    def _fetch_token(self) -> None:
        if not self._fetching:
            self._fetching = True
            self.world.at(self.world.latency() * 2, self, self._token_came)

    def _token_came(self) -> None:
        if self.world.tokens_away:
            self.world.at(1.0, self, self._token_came)
            return
        self._fetching = False
        self._do(self.session.renew(self.world.token_for(self.user), self.world.now))

    def _set_alarm(self) -> None:
        deadline = self.session.next_deadline()
        if deadline is not None and (self._tick_at is None or deadline < self._tick_at):
            self._tick_at = deadline
            self.world.at(max(0.0, deadline - self.world.now), self, self._alarm, deadline)

    def _alarm(self, set_for: float) -> None:
        if self._tick_at == set_for:
            self._tick_at = None
            # Rounding must not make it a moment too early.
            self._do(self.session.tick(max(set_for, self.world.now)))

    # -- what the user does --------------------------------------------------------------------------------

    def write(self, chance: float, count: int) -> None:
        """Type `count` messages into a conversation this phone knows of; open one if there is none."""
        if not self.awake:
            return
        conversation = self._pick(chance)
        if conversation is None:
            self.open(chance)
            return
        for number in range(count):
            message = self.world.new_message(chance + number)
            self._do(self.session.send(conversation, message.id, message.body, self.world.now))
            if not self.running:
                return

    def open(self, chance: float) -> None:
        """Open a conversation, with a first message or without."""
        if not self.awake:
            return
        message = self.world.new_message(chance) if chance < 0.7 else UNSET
        self._do(self.session.open(self.world.new_id(), self.world.now, topic="ride", message=message))

    def repeat(self, chance: float, words: str | None) -> None:
        """Send an id again that was stored before: the same message (a button pressed twice), or other `words`.

        Only while nothing else is to be sent: a message that is stored already is a false link in a chain of new ones.
        """
        mine = [
            event
            for event in self.disk.events
            if event.id is not UNSET and event.author.type == "user" and "text" in event.body
        ]
        if not self.awake or not mine or self.disk.outbox:
            return
        event = mine[int(chance * len(mine))]
        assert isinstance(event.id, UUID)
        if words is not None:
            self.world.oracle.misused(event.id)
        body = Text(text=event.body["text"] if words is None else words)
        self._do(self.session.send(event.conversation, event.id, body, self.world.now))

    def ask(self, kind: str, chance: float) -> None:
        """Something that is not kept if the connection breaks."""
        conversation = self._pick(chance)
        if not self.awake or conversation is None or self.session.phase not in READY:
            return
        frame: Any
        ref = self.session.next_ref()
        if kind == "read":
            seq = max(1, int(chance * 31 % 1 * (self.disk.conversations.get(conversation, 0) + 2)))
            frame = frames.Read(conversation=conversation, seq=seq)
        elif kind == "rate":
            self.world.oracle.rating(conversation)
            frame = frames.Rate(ref=ref, conversation=conversation, score=1 + int(chance * 5))
        else:
            frame = frames.History(ref=ref, conversation=conversation, limit=3)
        self._do(self.session.ask(frame))

    def _pick(self, chance: float) -> UUID | None:
        known = [*self.disk.conversations, *(entry.conversation for entry in self.disk.outbox.values())]
        return known[int(chance * 97 % 1 * len(known))] if known else None


CARRY_OUT: dict[type, Callable[[Phone, Any], None]] = {
    on.Transmit: Phone._transmit,
    on.Store: Phone._store,
    on.Replace: Phone._replace,
    on.Persist: Phone._persist,
    on.Forget: Phone._forget,
    on.Accepted: Phone._accepted,
    on.Failed: Phone._failed,
    on.Deliver: Phone._deliver,
    on.NeedToken: Phone._need_token,
    on.Disconnect: Phone._disconnect,
    on.Reconnect: Phone._reconnect,
    on.Stop: Phone._stop,
}


def opening(message_id: UUID, body: Text) -> OpeningMessage:
    """A message as `open` and `send` both take it."""
    return OpeningMessage(id=message_id, body=body)
