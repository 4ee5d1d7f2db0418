"""An agent on `/v1/desk`: watching conversations and inboxes, and answering (protocol.md, "Agents")."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from sdk_protocol import frames
from sdk_protocol.closing import CloseCode
from sdk_protocol.cursor import Judgement
from sdk_protocol.desk_session import DeskSession
from sdk_protocol.records import InboxFilter
from sdk_protocol.states import ServerState
from server.domain.errors import BadRequest, DomainError, NotFound, Unauthorized, Unavailable
from server.domain.events import AuthorType
from server.domain.ids import AGENT_TOKEN_PREFIX
from server.domain.intents import Message
from server.gateway.connection import Connection
from server.gateway.translate import (
    agent_record,
    app_records,
    as_uuid,
    encoded,
    error_frame,
    message_body,
    ok_frame,
    summary_record,
    typing_signal,
)
from server.services.reading import PAGE
from server.storage.conversations import InboxQuery
from server.storage.ids import quick

if TYPE_CHECKING:
    from uuid import UUID

    from sdk_protocol.codec import Codec, EncodedEvent
    from server.bus.interface import Touched, Typing
    from server.domain.agents import Agent
    from server.domain.numbering import Numbered
    from server.gateway.house import House
    from server.gateway.transport import Transport
    from server.storage.conversations import Listed

MOST_WATCHES = 200
FULL_INBOX = 200
RETRY_S = 0.5
GATHER_S = 0.05
"""Changes of an inbox are gathered this long and read in one query."""


class Watched(msgspec.Struct):
    """An inbox that is watched; `shown`: the `rev` of each conversation the agent has been sent."""

    app_id: UUID
    filter: InboxFilter
    shown: dict[UUID, int]


class DeskConnection(Connection[DeskSession]):
    """One agent's page or program. `cookie` is the console session that came with the handshake, if one did."""

    __slots__ = ("_cookie", "_credential", "_gathering", "_online", "_pumping", "_touched", "agent", "inboxes")
    door = "desk"

    def __init__(self, house: House, transport: Transport, codec: Codec, cookie: tuple[str, str] | None) -> None:
        super().__init__(house, transport, DeskSession(codec, house.clock.monotonic(), house.pace))
        self.agent: Agent | None = None
        self.inboxes: dict[UUID, Watched] = {}
        self._cookie = cookie
        self._credential: str | None = None
        self._pumping: dict[UUID, bool] = {}
        self._touched: dict[UUID, Touched] = {}
        self._gathering = False
        self._online: frozenset[UUID] = frozenset()

    # -- frames --------------------------------------------------------------------------------------------

    def handle(self, frame: Any) -> None:
        match frame:
            case frames.DeskHello():
                self.ask("hello", UNSET, lambda: self._hello(frame))
            case frames.Watch():
                self.ask("watch", frame.ref, lambda: self._watch(frame))
            case frames.Unwatch():
                self.house.hub.unwatch(frame.conversation, self)
            case frames.WatchInbox():
                self.ask("watch_inbox", frame.ref, lambda: self._watch_inbox(frame))
            case frames.DeskSend():
                self.ask("send", frame.ref, lambda: self._send(frame))
            case frames.Note():
                self.ask("note", frame.ref, lambda: self._note(frame))
            case frames.DeskTyping():
                self.ask("typing", UNSET, lambda: self._typing(frame))
            case frames.DeskRead():
                self.ask("read", UNSET, lambda: self._read(frame))
            case frames.SetStatus():
                self.ask("status", frame.ref, lambda: self._status(frame))
            case frames.Assign():
                self.ask("assign", frame.ref, lambda: self._assign(frame))
            case frames.SetPresence():
                self._show_presence(frame.state == "online")

    async def _hello(self, hello: frames.DeskHello) -> None:
        try:
            agent = await self._who(hello.token)
            if self.closed:
                return
            self.agent = agent
            welcome = frames.DeskWelcome(
                agent=agent_record(agent),
                apps=app_records(agent),
                ping_interval=self.house.config.sockets.ping_interval_s,
            )
            self.act(self.session.authenticated(welcome, self.house.clock.monotonic()))
            self._show_presence(True)
        except DomainError as refusal:
            self.send(error_frame(UNSET, refusal))
            if isinstance(refusal, Unauthorized):
                self.close(CloseCode.REVOKED, "the token is not accepted")
        finally:
            if self.session.state is ServerState.AUTHENTICATING:
                self.close(CloseCode.DRAIN, "not now")

    def _show_presence(self, online: bool) -> None:
        """Let customers know whether this agent is there. Only what changes is told."""
        wanted = frozenset(self._agent.memberships) if online and not self.closed else frozenset()
        presence = self.house.hub.presence
        for app_id in wanted - self._online:
            presence.arrive(app_id, self._agent.agent_id)
        for app_id in self._online - wanted:
            presence.leave(app_id, self._agent.agent_id)
        self._online = wanted

    async def _who(self, token: str) -> Agent:
        """By an API token; or by the console's cookie, when the page also knows the CSRF token that belongs to it."""
        if not token.startswith(AGENT_TOKEN_PREFIX) and self._cookie is not None:
            secret, csrf_token = self._cookie
            if token != csrf_token:
                raise Unauthorized("The `token` must be the CSRF token of this console session.", field="token")
            self._credential = secret
        else:
            self._credential = token
        return await self._recheck()

    async def _recheck(self) -> Agent:
        credential = self._credential or ""
        if credential.startswith(AGENT_TOKEN_PREFIX):
            return await self.house.agents.by_token(credential)
        return await self.house.agents.by_session(credential)

    async def _watch(self, frame: frames.Watch) -> None:
        if len(self.session.watches) >= MOST_WATCHES and frame.conversation not in self.session.watches:
            raise BadRequest(f"At most {MOST_WATCHES} conversations can be watched; unwatch one.", field="conversation")
        listed = await self.house.conversations.find(self._agent, frame.conversation)
        head = listed.conversation.seq
        seq = frame.seq if frame.seq is not UNSET else 0
        if seq > head:
            raise BadRequest(f"The conversation ends at {head}; `seq` is the last one you have.", field="seq")
        self.house.hub.watch(quick(frame.conversation), self)
        self.session.watch(frame.conversation, seq)
        self.send(frames.Ok(ref=frame.ref, conversation=frame.conversation, seq=head))
        self._pump(frame.conversation)

    async def _watch_inbox(self, frame: frames.WatchInbox) -> None:
        app_id = as_uuid(frame.app)
        if app_id is None:
            raise NotFound("There is no such app.", field="app")
        wanted = frame.filter if frame.filter is not UNSET else InboxFilter()
        query = self._query(app_id, wanted)
        # Listen first: what changes while the list is read comes as a delta after it.
        watched = Watched(app_id, wanted, {})
        self._agent.require(app_id)
        self.house.hub.watch_inbox(app_id, self)
        self.inboxes[app_id] = watched
        listed = await self.house.conversations.list_inbox(self._agent, query)
        watched.shown = {each.conversation.conversation_id: each.conversation.rev for each in listed}
        self.send(
            frames.Inbox(
                ref=frame.ref,
                app=str(app_id),
                conversations=[summary_record(each, desk=True) for each in listed],
                full=True,
            )
        )

    def _query(self, app_id: UUID, wanted: InboxFilter) -> InboxQuery:
        assignee = wanted.assignee if wanted.assignee is not UNSET else None
        agent_id = None
        if assignee == "me":
            agent_id = self._agent.agent_id
        elif assignee is not None and assignee != "none":
            agent_id = as_uuid(assignee)
            if agent_id is None:
                raise BadRequest("`assignee` is `me`, `none` or an agent's id.", field="filter.assignee")
        return InboxQuery(
            apps=[app_id],
            status=wanted.status or None,
            assignee=agent_id,
            unassigned=assignee == "none",
            topic=wanted.topic or None,
            tag=wanted.tag or None,
            by_updated=True,
            limit=FULL_INBOX,
        )

    async def _send(self, frame: frames.DeskSend) -> None:
        started = self.house.clock.monotonic()
        place = await self.house.conversations.locate(self._agent, frame.conversation)
        numbered = await self.house.messaging.post(
            place,
            Message(frame.id, self._agent.author, message_body(frame.body, "agent")),
            expected_seq=frame.expected_seq if frame.expected_seq is not UNSET else None,
        )
        self._ok(frame.ref, numbered)
        self.house.metrics.ok_latency.observe(self.house.clock.monotonic() - started)

    async def _note(self, frame: frames.Note) -> None:
        place = await self.house.conversations.locate(self._agent, frame.conversation)
        body = message_body(frame.body, "agent")
        self._ok(frame.ref, await self.house.messaging.note(place, Message(frame.id, self._agent.author, body)))

    async def _typing(self, frame: frames.DeskTyping) -> None:
        place = await self.house.conversations.locate(self._agent, frame.conversation)
        await self.house.messaging.typing(place, self._agent.author, frame.on)

    async def _read(self, frame: frames.DeskRead) -> None:
        place = await self.house.conversations.locate(self._agent, frame.conversation)
        await self.house.messaging.mark_read(place, "agent", self._agent.author, frame.seq)

    async def _status(self, frame: frames.SetStatus) -> None:
        until = msgspec.convert(frame.snoozed_until, type=datetime) if frame.snoozed_until is not UNSET else None
        self._ok(
            frame.ref,
            await self.house.conversations.set_status(self._agent, frame.conversation, frame.status, until),
        )

    async def _assign(self, frame: frames.Assign) -> None:
        agent_id = None
        if frame.agent is not None:
            agent_id = self._agent.agent_id if frame.agent == "me" else as_uuid(frame.agent)
            if agent_id is None:
                raise NotFound("There is no such agent in this app.", field="agent")
        self._ok(frame.ref, await self.house.conversations.assign(self._agent, frame.conversation, agent_id))

    def _ok(self, ref: int, numbered: Numbered) -> None:
        self.send(ok_frame(ref, numbered, with_usn=False))

    # -- from the hub --------------------------------------------------------------------------------------

    def offer(self, event: EncodedEvent) -> None:
        """An event of a watched conversation."""
        judgement, data = self.session.offer(event)
        if data is not None:
            self.transport.send(data)
        elif judgement is Judgement.GAP:
            self._pump(event.event.conversation)

    def typing(self, hint: Typing) -> None:
        """Somebody types in a watched conversation; an agent does not hear of itself."""
        mine = self.agent is not None and hint.author_id == str(self.agent.agent_id)
        if not (mine and hint.author_type == AuthorType.AGENT):
            self.send(typing_signal(hint))

    def touched(self, hint: Touched) -> None:
        """A conversation of a watched inbox has changed; it is read with others that change at about this time."""
        watched = self.inboxes.get(hint.app_id)
        if watched is None or watched.shown.get(hint.conversation_id, 0) >= hint.rev:
            return
        known = self._touched.get(hint.conversation_id)
        if known is None or hint.rev > known.rev:
            self._touched[hint.conversation_id] = hint
        if not self._gathering:
            self._gathering = True
            self.house.tasks.start("inbox", self._refresh_inbox, restart=False)

    def swept(self, heads: dict[UUID, int]) -> None:
        """The newest `seq` of watched conversations: read on where a hint got lost."""
        for conversation_id, offered in tuple(self.session.watches.items()):
            if heads.get(conversation_id, 0) > offered:
                self._pump(conversation_id)

    def recheck(self) -> None:
        """Is the agent still who it was? Asked now and then by the sweep."""
        if self.agent is not None:
            self.house.tasks.start("recheck", self._recheck_or_close, restart=False)

    async def _recheck_or_close(self) -> None:
        try:
            self.agent = await self._recheck()
        except Unauthorized:
            self.close(CloseCode.REVOKED, "the token or the session has ended")
        except Unavailable:
            return
        if self._online:
            self._show_presence(True)
        for app_id in [app_id for app_id in self.inboxes if app_id not in self._agent.memberships]:
            del self.inboxes[app_id]
            self.house.hub.unwatch_inbox(app_id, self)

    async def _refresh_inbox(self) -> None:
        await self.house.clock.sleep(GATHER_S)
        self._gathering = False
        touched, self._touched = self._touched, {}
        try:
            changed = await self.house.conversations.refresh(
                [(hint.app_id, hint.user_id, hint.conversation_id) for hint in touched.values()]
            )
        except Unavailable:
            for hint in touched.values():
                self.touched(hint)
            return
        for watched in tuple(self.inboxes.values()):
            self._send_delta(watched, [each for each in changed if each.conversation.app_id == watched.app_id])

    def _send_delta(self, watched: Watched, changed: list[Listed]) -> None:
        here, left = [], []
        for each in changed:
            conversation_id = each.conversation.conversation_id
            if self._matches(watched.filter, each):
                watched.shown[conversation_id] = each.conversation.rev
                here.append(summary_record(each, desk=True))
            elif conversation_id in watched.shown:
                del watched.shown[conversation_id]
                left.append(conversation_id)
        if here or left:
            self.send(
                frames.Inbox(app=str(watched.app_id), conversations=here, full=False, left=left if left else UNSET)
            )

    def _matches(self, wanted: InboxFilter, listed: Listed) -> bool:
        query = self._query(listed.conversation.app_id, wanted)
        conversation = listed.conversation
        return (
            query.status in (None, conversation.status.value)
            and query.assignee in (None, conversation.assignee)
            and not (query.unassigned and conversation.assignee is not None)
            and query.topic in (None, conversation.topic)
            and (query.tag is None or query.tag in conversation.tags)
        )

    # -- reading on ----------------------------------------------------------------------------------------

    def _pump(self, conversation_id: UUID) -> None:
        """Read a watched conversation from its cursor on; one run at a time, with another look if asked meanwhile."""
        if conversation_id in self._pumping:
            self._pumping[conversation_id] = True
            return
        self._pumping[conversation_id] = False
        self.house.tasks.start("watch", lambda: self._read_on(conversation_id), restart=False)

    async def _read_on(self, conversation_id: UUID) -> None:
        try:
            while not self.closed and conversation_id in self.session.watches:
                self._pumping[conversation_id] = False
                offered = self.session.watches[conversation_id]
                try:
                    events = await self.house.conversations.events(self._agent, conversation_id, offered, PAGE)
                except Unavailable:
                    await self.house.clock.sleep(RETRY_S)
                    continue
                except NotFound:
                    self.session.unwatch(conversation_id)
                    self.house.hub.unwatch(conversation_id, self)
                    return
                for event in events:
                    _, data = self.session.offer(encoded(event, desk=True))
                    if data is not None:
                        self.transport.send(data)
                if len(events) < PAGE and not self._pumping[conversation_id]:
                    return
        finally:
            del self._pumping[conversation_id]

    def left(self) -> None:
        if self.agent is not None:
            self._show_presence(False)
        for conversation_id in tuple(self.session.watches):
            self.house.hub.unwatch(conversation_id, self)
        for app_id in self.inboxes:
            self.house.hub.unwatch_inbox(app_id, self)

    @property
    def _agent(self) -> Agent:
        assert self.agent is not None
        return self.agent
