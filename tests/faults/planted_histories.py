"""A small story in which nothing is wrong, and every way to make something wrong in it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tests.faults.findings import Kind
from tests.faults.history import (
    Acked,
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
    Watching,
    Welcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable

C = "c1"


def event(seq: int, id: str = "", text: str = "", at: float = 0, **more: Any) -> Observed:
    return Observed(at=at, conversation=C, seq=seq, id=id, text=text, **{"author": "user:ada", "usn": seq, **more})


LOG = [
    event(1, kind="conversation.opened", text="ctx"),
    event(2, "m1", "hello"),
    event(3, "a1", "hi", author="agent:robin"),
    event(4, kind="receipt", text="user:3"),
    event(5, "a2", "bye", author="agent:robin"),
]


def story() -> dict[str, History]:
    """Ada's two phones and a desk: a greeting, an answer, a receipt, and an answer that was pushed to the second."""
    first = History(
        client=Client(name="ada/1", role="device", user="ada"),
        records=[
            Hello(at=1, usn=0),
            Welcome(at=2, epoch="e", head=1),
            replace(LOG[0], at=3),
            Invoke(at=4, op="send", conversation=C, id="m1", text="hello", ordered=True),
            Ok(at=5, conversation=C, id="m1", seq=2, usn=2),
            *(replace(each, at=6 + each.seq) for each in LOG[1:3]),
            Closed(at=10, code=1006),
            Hello(at=11, usn=3),
            Welcome(at=12, epoch="e", head=4),
            replace(LOG[3], at=13),
            Synced(at=14, usn=4),
            replace(LOG[4], at=23),
            Page(at=41, asked=40, conversation=C, events=list(LOG)),
            Final(at=50, usn=5),
        ],
    )
    second = History(
        client=Client(name="ada/2", role="device", user="ada"),
        records=[
            Hello(at=2, usn=-1),
            Welcome(at=3, epoch="e", head=1, snapshot=True),
            Snapshot(
                at=4,
                usn=1,
                conversations=[Standing(conversation=C, seq=1, user_read=0, agent_read=0, unread=0)],
            ),
            Registered(at=5, token="t2"),
            *(replace(each, at=9 + each.seq) for each in LOG[1:4]),
            Acked(at=15, usn=4),
            Closed(at=16, code=1006),
            Away(at=17),
            Back(at=31, since=30),
            Hello(at=32, usn=4),
            Welcome(at=33, epoch="e", head=5),
            replace(LOG[4], at=34),
            Final(at=50, usn=5),
        ],
    )
    desk = History(
        client=Client(name="desk", role="desk"),
        records=[
            Hello(at=1),
            Watching(at=4, asked=3, conversation=C, seq=0, head=1),
            *(replace(each, at=6 + each.seq / 10, usn=0) for each in LOG[:2]),
            Invoke(at=7, op="send", conversation=C, id="a1", text="hi"),
            Ok(at=8, conversation=C, id="a1", seq=3),
            *(replace(each, at=14 + each.seq / 10, usn=0) for each in LOG[2:4]),
            Invoke(at=20, op="send", conversation=C, id="a2", text="bye"),
            Ok(at=21, conversation=C, id="a2", seq=5),
            replace(LOG[4], at=22, usn=0),
            Final(at=50, watches={C: 5}),
        ],
    )
    provider = History(
        client=Client(name="fcm", role="provider"), records=[Pushed(at=25, token="t2", conversation=C, seq=5)]
    )
    return {"first": first, "second": second, "desk": desk, "provider": provider}


def add(who: str, *records: Any) -> Callable[[dict[str, History]], None]:
    return lambda told: told[who].records.extend(records)


def drop(who: str, *, kind: type, **fields: Any) -> Callable[[dict[str, History]], None]:
    """Take out the one record that looks like this."""

    def plant(told: dict[str, History]) -> None:
        told[who].records.remove(_one(told[who], kind, fields))

    return plant


def change(who: str, kind: type, fields: dict[str, Any], **to: Any) -> Callable[[dict[str, History]], None]:
    def plant(told: dict[str, History]) -> None:
        found = _one(told[who], kind, fields)
        told[who].records[told[who].records.index(found)] = replace(found, **to)

    return plant


def _one(history: History, kind: type, fields: dict[str, Any]) -> Any:
    found = [
        each
        for each in history.records
        if isinstance(each, kind) and all(getattr(each, name) == value for name, value in fields.items())
    ]
    assert len(found) == 1, found
    return found[0]


def both(*plants: Callable[[dict[str, History]], None]) -> Callable[[dict[str, History]], None]:
    def plant(told: dict[str, History]) -> None:
        for each in plants:
            each(told)

    return plant


PLANTED: dict[str, tuple[Kind, Callable[[dict[str, History]], None]]] = {
    "an acknowledged message is not on a later page": (
        Kind.LOST,
        change("first", Page, {}, events=[LOG[0], *LOG[2:]]),
    ),
    "an acknowledged change is beyond the end of a later page": (
        Kind.LOST,
        both(
            add("desk", Invoke(at=35, op="status", conversation=C, id="s1")),
            add("desk", Ok(at=36, conversation=C, id="s1", seq=6)),
        ),
    ),
    "acknowledged at a seq that holds something else": (
        Kind.MISPLACED,
        change("first", Ok, {"id": "m1"}, seq=3, usn=2),
    ),
    "acknowledged at a usn that holds something else": (
        Kind.MISPLACED,
        change("first", Ok, {"id": "m1"}, usn=3),
    ),
    "one id stored twice": (
        Kind.DUPLICATE,
        add("desk", event(6, "m1", "hello", at=24, usn=0), event(7, at=25, usn=0, kind="x")),
    ),
    "one event offered twice on a connection": (Kind.DUPLICATE, add("first", replace(LOG[4], at=42))),
    "acknowledged twice at two places": (
        Kind.DUPLICATE,
        add("second", Ok(at=35, conversation=C, id="m1", seq=4, usn=4, duplicate=True)),
    ),
    "acknowledged twice as new": (
        Kind.DUPLICATE,
        add("second", Ok(at=35, conversation=C, id="m1", seq=2, usn=2)),
    ),
    "a device's messages are stored in another order": (
        Kind.REORDERED,
        both(
            add("second", Invoke(at=5, op="send", conversation=C, id="b1", text="b1", ordered=True)),
            add("second", Invoke(at=5.5, op="send", conversation=C, id="b2", text="b2", ordered=True)),
            add("desk", event(6, "b2", "b2", at=24, usn=0), event(7, "b1", "b1", at=25, usn=0)),
        ),
    ),
    "stored before the message it follows": (
        Kind.REORDERED,
        both(
            add("second", Invoke(at=5, op="send", conversation=C, id="b1", text="b1")),
            add("second", Invoke(at=5, op="send", conversation=C, id="b2", text="b2", after="b1")),
            add("desk", event(6, "b2", "b2", at=24, usn=0), event(7, "b1", "b1", at=25, usn=0)),
        ),
    ),
    "stored though the message it follows never was": (
        Kind.REORDERED,
        change("first", Invoke, {"id": "m1"}, after="never"),
    ),
    "asked for after something was known, and numbered before it": (
        Kind.REORDERED,
        change("first", Invoke, {"id": "m1"}, at=26),
    ),
    "a smaller seq under a greater usn": (
        Kind.REORDERED,
        add("first", event(2, at=43, usn=6, kind="x")),
    ),
    "a page out of order": (Kind.REORDERED, change("first", Page, {}, events=[LOG[1], LOG[0], *LOG[2:]])),
    "refused, and there": (
        Kind.ABORTED,
        both(
            drop("first", kind=Ok, id="m1"),
            add("first", Fail(at=5, conversation=C, id="m1", code="conflict")),
        ),
    ),
    "words that nobody wrote": (Kind.PHANTOM, change("first", Invoke, {"id": "m1"}, text="hello?")),
    "an id that nobody used": (Kind.PHANTOM, add("desk", event(6, "zz", "boo", at=24, usn=0))),
    "an event left out of a stream": (Kind.GAP, drop("second", kind=Observed, usn=3)),
    "a resume that begins too late": (Kind.GAP, change("first", Hello, {"usn": 3}, usn=2)),
    "an event before any snapshot": (Kind.GAP, drop("second", kind=Snapshot)),
    "synced beyond what was offered": (Kind.GAP, change("first", Synced, {}, usn=5)),
    "an event left out of a watch": (Kind.GAP, drop("desk", kind=Observed, seq=2)),
    "a log that ends before the cursor": (Kind.STALE, change("first", Welcome, {"head": 4}, head=2)),
    "synced before what was offered": (Kind.STALE, change("first", Synced, {}, usn=3)),
    "a welcome that does not know what was known": (
        Kind.STALE,
        change("second", Welcome, {"head": 5}, head=4),
    ),
    "a watch that does not know what was known": (
        Kind.STALE,
        add("desk", Hello(at=44), Watching(at=46, asked=45, conversation=C, seq=5, head=4)),
    ),
    "a page that does not know what was known": (Kind.STALE, change("first", Page, {}, events=LOG[:4])),
    "two phones see different words": (Kind.DISAGREE, change("second", Observed, {"usn": 3}, text="hi!")),
    "two phones see different events": (
        Kind.DISAGREE,
        change("second", Observed, {"usn": 4}, conversation="c2", seq=9),
    ),
    "a snapshot that counts too little": (
        Kind.DISAGREE,
        add(
            "second",
            Hello(at=44, usn=-1),
            Snapshot(
                at=45,
                usn=5,
                conversations=[Standing(conversation=C, seq=5, user_read=3, agent_read=0, unread=0)],
            ),
        ),
    ),
    "a snapshot that counts too much": (
        Kind.DISAGREE,
        add(
            "second",
            Hello(at=44, usn=-1),
            Snapshot(
                at=45,
                usn=5,
                conversations=[Standing(conversation=C, seq=5, user_read=3, agent_read=0, unread=2)],
            ),
        ),
    ),
    "a snapshot with another cursor": (
        Kind.DISAGREE,
        add(
            "second",
            Hello(at=44, usn=-1),
            Snapshot(
                at=45,
                usn=5,
                conversations=[Standing(conversation=C, seq=5, user_read=2, agent_read=0, unread=1)],
            ),
        ),
    ),
    "a snapshot that ends early": (
        Kind.DISAGREE,
        add(
            "second",
            Hello(at=44, usn=-1),
            Snapshot(
                at=45,
                usn=5,
                conversations=[Standing(conversation=C, seq=4, user_read=3, agent_read=0, unread=1)],
            ),
        ),
    ),
    "a phone that lacks the end": (Kind.UNDELIVERED, change("second", Final, {}, usn=4)),
    "a desk that lacks the end": (Kind.UNDELIVERED, change("desk", Final, {}, watches={C: 4})),
    "a message that is never answered": (
        Kind.STUCK,
        both(
            add("first", Invoke(at=45, op="send", conversation=C, id="b1", text="b1", ordered=True)),
            change("first", Final, {}, waiting=1),
        ),
    ),
    "a receipt for what was not there yet": (
        Kind.RECEIPT,
        both(
            change("first", Observed, {"usn": 4}, text="user:4"),
            change("second", Observed, {"usn": 4}, text="user:4"),
            change("desk", Observed, {"seq": 4}, text="user:4"),
            change("first", Page, {}, events=[*LOG[:3], replace(LOG[3], text="user:4"), LOG[4]]),
        ),
    ),
    "a receipt that goes back": (
        Kind.RECEIPT,
        add("first", event(6, at=42, kind="receipt", text="user:2")),
    ),
    "an answer that is not pushed": (Kind.PUSH, drop("provider", kind=Pushed)),
    "an answer of which only the one before is pushed": (Kind.PUSH, change("provider", Pushed, {}, seq=3)),
    "a push to a stranger": (
        Kind.STRANGER,
        both(
            lambda told: told.update(eve=History(client=Client(name="eve/1", role="device", user="eve"))),
            add("eve", Registered(at=1, token="t9")),
            add("provider", Pushed(at=30, token="t9", conversation=C, seq=5)),
        ),
    ),
    "a snapshot that has read too much": (
        Kind.DISAGREE,
        add(
            "second",
            Hello(at=44, usn=0),
            *(replace(each, at=44 + each.seq / 10) for each in LOG),
            Hello(at=45, usn=-1),
            Snapshot(
                at=46,
                usn=5,
                conversations=[Standing(conversation=C, seq=5, user_read=3, agent_read=2, unread=1)],
            ),
        ),
    ),
    "another epoch": (Kind.EPOCH, change("first", Welcome, {"head": 4}, epoch="f")),
}
