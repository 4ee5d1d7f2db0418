"""A deployment that keeps every promise, as lists: what it lets clients see must never look like a violation.

Operations are pairs (name, choice); a choice picks actors and outcomes. Hypothesis draws them.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from tests.faults.history import (
    Acked,
    AnyRecord,
    Away,
    Back,
    Client,
    Closed,
    Fail,
    Final,
    Hello,
    History,
    Invoke,
    Observed,
    Ok,
    Page,
    Pushed,
    Registered,
    Snapshot,
    Standing,
    Synced,
    Unknown,
    Watching,
    Welcome,
)

OPERATIONS = (
    "say",
    "say",
    "again",
    "answer",
    "note",
    "read",
    "agent reads",
    "page",
    "connect",
    "deliver",
    "deliver",
    "disconnect",
    "watch",
    "watched",
    "leave",
)
USERS = 2
DEVICES = 2
TALKS = 2


class Device:
    def __init__(self, name: str, user: str) -> None:
        self.history = History(client=Client(name=name, role="device", user=user))
        self.user = user
        self.usn = 0
        self.known = False
        self.connected = False
        self.away = False
        self.sent: list[tuple[str, str, str]] = []

    def add(self, record: AnyRecord) -> None:
        self.history.records.append(record)


class Choice(NamedTuple):
    """A number that is used up bit by bit."""

    value: int

    def of(self, count: int) -> tuple[int, Choice]:
        return self.value % count, Choice(self.value // count)


class Model:
    """`logs`: each user's events in order; `talks`: every conversation's, notes included."""

    def __init__(self) -> None:
        self._time = itertools.count(1)
        self._ids = itertools.count(1)
        self.logs: dict[str, list[Observed]] = {f"user{number}": [] for number in range(USERS)}
        self.talks: dict[str, list[Observed]] = {
            f"{user} talk{number}": [] for user in self.logs for number in range(TALKS)
        }
        self.devices = [Device(f"{user}/{number}", user) for user in self.logs for number in range(DEVICES)]
        self.desk = History(client=Client(name="desk", role="desk"))
        self.provider = History(client=Client(name="fcm", role="provider"))
        self.watches: dict[str, int] = {}
        for device in self.devices:
            device.add(Registered(at=self.now, token=device.history.client.name))
        self.desk.records.append(Hello(at=self.now))

    @property
    def now(self) -> float:
        return float(next(self._time))

    @property
    def histories(self) -> list[History]:
        return [*(device.history for device in self.devices), self.desk, self.provider]

    def play(self, operations: list[tuple[str, int]]) -> list[History]:
        """Do all of it, then let everybody catch up."""
        for name, choice in operations:
            self._one(name, Choice(choice))
        self._finish()
        return self.histories

    def _one(self, name: str, choice: Choice) -> None:
        which, choice = choice.of(len(self.devices))
        device = self.devices[which]
        number, choice = choice.of(TALKS)
        talk = f"{device.user} talk{number}"
        how, choice = choice.of(6)
        match name:
            case "say" if not device.away:
                self._say(device.history, talk, f"user:{device.user}", how, device)
            case "again" if device.sent and not device.away:
                self._again(device, device.sent[choice.value % len(device.sent)], how)
            case "answer":
                self._say(self.desk, talk, "agent:robin", how, None)
            case "note":
                self._note(talk)
            case "read" if self.talks[talk] and not device.away:
                self._receipt(talk, "user", 1 + choice.value % len(self.talks[talk]))
            case "agent reads" if self.talks[talk]:
                self._receipt(talk, "agent", 1 + choice.value % len(self.talks[talk]))
            case "page" if not device.away:
                device.add(self._page(talk))
            case "connect" if not device.connected and not device.away:
                self._connect(device)
            case "deliver" if device.connected:
                self._deliver(device, 1 + how)
            case "disconnect" if device.connected:
                self._hang_up(device)
            case "watch":
                self._watch(talk)
            case "watched" if talk in self.watches:
                self._watched(talk, 1 + how)
            case "leave" if device is self.devices[-1] and not device.away:
                if device.connected:
                    self._hang_up(device)
                device.away = True
                device.add(Away(at=self.now))
            case _:
                pass

    # -- writing -------------------------------------------------------------------------------------------

    def _say(self, by: History, talk: str, author: str, how: int, device: Device | None) -> None:
        id, text = f"m{next(self._ids)}", f"words {next(self._ids)}"
        by.records.append(
            Invoke(at=self.now, op="send", conversation=talk, id=id, text=text, ordered=device is not None)
        )
        if how == 5:
            by.records.append(Fail(at=self.now, conversation=talk, id=id, code="conflict"))
            return
        if how == 4:  # the request is lost
            by.records.append(Unknown(at=self.now, conversation=talk, id=id))
            return
        if device is not None:
            device.sent.append((talk, id, text))
        self._store(talk, "message", author, id, text)
        self._answer(by, talk, id, text, lost=how == 3, duplicate=False)

    def _again(self, device: Device, sent: tuple[str, str, str], how: int) -> None:
        talk, id, text = sent
        device.add(Invoke(at=self.now, op="send", conversation=talk, id=id, text=text))
        self._answer(device.history, talk, id, text, lost=how > 3, duplicate=True)

    def _answer(self, by: History, talk: str, id: str, text: str, *, lost: bool, duplicate: bool) -> None:
        stored = next(event for event in self.talks[talk] if event.id == id)
        assert stored.text == text
        if lost:
            by.records.append(Unknown(at=self.now, conversation=talk, id=id))
            return
        usn = stored.usn if by.client.user else 0
        by.records.append(Ok(at=self.now, conversation=talk, id=id, seq=stored.seq, usn=usn, duplicate=duplicate))

    def _note(self, talk: str) -> None:
        id = f"n{next(self._ids)}"
        self.desk.records.append(Invoke(at=self.now, op="note", conversation=talk, id=id, text="psst"))
        self._store(talk, "note", "agent:robin", id, "psst")
        self._answer(self.desk, talk, id, "psst", lost=False, duplicate=False)

    def _receipt(self, talk: str, reader: str, seq: int) -> None:
        if seq > self._read(talk, reader):
            self._store(talk, "receipt", f"{reader}:x", "", f"{reader}:{seq}")

    def _read(self, talk: str, reader: str) -> int:
        receipts = [each.text.partition(":") for each in self.talks[talk] if each.kind == "receipt"]
        return max((int(seq) for who, _, seq in receipts if who == reader), default=0)

    def _store(self, talk: str, kind: str, author: str, id: str, text: str) -> None:
        log = self.logs[talk.partition(" ")[0]]
        usn = 0 if kind == "note" else len(log) + 1
        seq = len(self.talks[talk]) + 1
        event = Observed(at=0, conversation=talk, seq=seq, usn=usn, kind=kind, author=author, id=id, text=text)
        self.talks[talk].append(event)
        if usn:
            log.append(event)

    # -- reading -------------------------------------------------------------------------------------------

    def _connect(self, device: Device) -> None:
        log = self.logs[device.user]
        device.add(Hello(at=self.now, usn=device.usn if device.known else -1))
        device.add(Welcome(at=self.now, epoch="e", head=len(log), snapshot=not device.known))
        if not device.known:
            talks = [talk for talk, events in self.talks.items() if events and talk.startswith(device.user)]
            device.add(Snapshot(at=self.now, usn=len(log), conversations=[self._standing(talk) for talk in talks]))
            device.usn, device.known = len(log), True
        device.connected = True

    def _standing(self, talk: str) -> Standing:
        events, read = self.talks[talk], self._read(talk, "user")
        unread = sum(each.kind == "message" and each.author.startswith("agent") and each.seq > read for each in events)
        return Standing(
            conversation=talk,
            seq=len(events),
            user_read=read,
            agent_read=self._read(talk, "agent"),
            unread=unread,
        )

    def _deliver(self, device: Device, count: int) -> None:
        log = self.logs[device.user]
        for event in log[device.usn : device.usn + count]:
            device.add(_now(event, self.now))
            device.usn = event.usn
        if device.usn == len(log):
            device.add(Synced(at=self.now, usn=device.usn))
        if count % 2:
            device.add(Acked(at=self.now, usn=device.usn))

    def _hang_up(self, device: Device) -> None:
        device.connected = False
        device.add(Closed(at=self.now, code=1006))

    def _page(self, talk: str) -> Page:
        events = [_now(event, 0) for event in self.talks[talk] if event.usn]
        return Page(asked=self.now, at=self.now, conversation=talk, events=events)

    def _watch(self, talk: str) -> None:
        if talk not in self.watches:
            seq = self.watches[talk] = len(self.talks[talk]) // 2
            head = len(self.talks[talk])
            self.desk.records.append(Watching(asked=self.now, at=self.now, conversation=talk, seq=seq, head=head))

    def _watched(self, talk: str, count: int) -> None:
        for event in self.talks[talk][self.watches[talk] : self.watches[talk] + count]:
            seen = _now(event, self.now)
            self.desk.records.append(
                Observed(
                    at=seen.at,
                    conversation=talk,
                    seq=seen.seq,
                    kind=seen.kind,
                    author=seen.author,
                    id=seen.id,
                    text=seen.text,
                )
            )
            self.watches[talk] = event.seq

    def _finish(self) -> None:
        for device in self.devices:
            if not device.away:
                if not device.connected:
                    self._connect(device)
                self._deliver(device, len(self.logs[device.user]) + 1)
        sleeper = self.devices[-1]
        if sleeper.away:
            for talk, events in self.talks.items():
                if events and talk.startswith(sleeper.user):
                    token = sleeper.history.client.name
                    self.provider.records.append(Pushed(at=self.now, token=token, conversation=talk, seq=len(events)))
            sleeper.add(Back(at=self.now, since=self.now))
            self._connect(sleeper)
            self._deliver(sleeper, len(self.logs[sleeper.user]) + 1)
        for talk in self.talks:
            self._watch(talk)
            self._watched(talk, len(self.talks[talk]) + 1)
            self.devices[0 if talk.startswith("user0") else -1].add(self._page(talk))
        for device in self.devices:
            device.add(Final(at=self.now, usn=device.usn))
        self.desk.records.append(Final(at=self.now, watches=dict(self.watches)))


def _now(event: Observed, at: float) -> Observed:
    return Observed(
        at=at,
        conversation=event.conversation,
        seq=event.seq,
        usn=event.usn,
        kind=event.kind,
        author=event.author,
        id=event.id,
        text=event.text,
    )
