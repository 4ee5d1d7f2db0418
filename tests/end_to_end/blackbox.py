"""The main road, driven from outside: ``python -m tests.end_to_end.blackbox``.

A customer rings about a ride, an agent who sees the ride answers, the server is killed with -9 and nothing is lost.
Written from docs/protocol.md and the HTTP contract alone; shares no code with the server or the SDK. Prints every step
with a tick; exit code 0 when all hold, 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.end_to_end.deskbell_process import COMMAND, DeskbellProcess, free_port
from tests.end_to_end.device import Device, numbering_faults
from tests.end_to_end.rawsocket import JSON, MSGPACK, Frame, RawSocket, Rest, desk_hello, fresh_id, sign
from tests.end_to_end.report import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

READY_FIELDS = {"url", "desk_url", "phone_url", "app", "server_key", "identity", "agent", "users"}
WELCOME_FIELDS = {"session", "user", "epoch", "head", "resume", "ping_interval", "token_expires_at", "limits", "caps"}
SUMMARY_FIELDS = {"id", "topic", "status", "seq", "rev", "user_read_seq", "agent_read_seq", "unread", "opened_at"}


def ride(number: int, version: int, status: str) -> Frame:
    """A ride as the app's own server would put it (http.md, transactions)."""
    return {
        "version": version,
        "kind": "ride",
        "status": status,
        "title": f"Ride {number} to the harbour ⛴",
        "amount": {"value": f"{10 + number}.50", "currency": "EUR"},
        "occurred_at": f"2026-03-0{number}T08:30:00Z",
        "attributes": {"driver": f"Driver {number}", "plate": f"KS-{number}00"},
    }


class MainRoad:
    """One customer, three rides, one agent; the state the steps hand to each other."""

    def __init__(self, server: DeskbellProcess, report: Report) -> None:
        self.server = server
        self.report = report
        self.check = report.check
        self.customer = f"blackbox-{fresh_id()[:8]}"
        self.rides = [f"ride-{fresh_id()[:8]}" for _ in range(3)]
        self.conversation = fresh_id()
        self.desk_socket: RawSocket | None = None
        self.last_message: Frame = {}
        self.last_answer: Frame = {}

    async def run(self) -> None:
        ready = await asyncio.to_thread(self.server.start)
        self.report.say(f"  cold start: {self.server.start_seconds:.2f} s")
        async with self.report.step("the demo says what it is, and is healthy"):
            await self._demo_is_ready(ready)
        self.ready = ready
        self.app = ready["app"]
        self.url = ready["url"].rstrip("/")
        self.app_server = Rest(self.url, ready["server_key"])
        self.desk = Rest(self.url, ready["agent"]["token"])
        self.token = sign(ready["identity"], ready["app"], self.customer, name="Blanca Box")
        self.phone = Device(self.url, self.token, JSON)
        self.tablet = Device(self.url, self.token, MSGPACK)
        steps = (
            ("the app's server puts a user and three rides", self._put_user_and_rides),
            ("the customer says hello, in JSON and in MessagePack", self._hello),
            ("the customer opens about one ride with a first message", self._open),
            ("the agent lists it and sees the snapshot and the live rides", self._agent_looks),
            ("the agent replies over REST, both devices get it", self._agent_replies),
            ("the ride changes, customer and agent both see it", self._ride_changes),
            ("the customer writes a last message and the server is killed with -9", self._kill),
            ("the same data starts again", self._restart),
            ("the phone resumes from its usn and misses nothing", self._resume),
            ("the last message again, with the same id, is a duplicate", self._send_again),
            ("the whole log reads the same in both codecs and at the desk", self._same_everywhere),
            ("SIGTERM ends everything", self._terminate),
        )
        try:
            for title, action in steps:
                async with self.report.step(title):
                    await action()
        finally:
            await self.phone.close()
            await self.tablet.close()
            if self.desk_socket is not None:
                await self.desk_socket.close()

    async def _demo_is_ready(self, ready: Frame) -> None:
        self.check(ready.keys() >= READY_FIELDS, f"the ready line misses {sorted(READY_FIELDS - ready.keys())}")
        self.check({"kid", "alg", "secret"} <= ready["identity"].keys(), f"identity is {ready['identity'].keys()}")
        self.check({"email", "password", "token"} <= ready["agent"].keys(), f"agent is {ready['agent'].keys()}")
        self.check(ready["server_key"].startswith("dbs_"), "a server key starts with dbs_")
        self.check(ready["agent"]["token"].startswith("dba_"), "an agent token starts with dba_")
        door = Rest(ready["url"].rstrip("/"))
        for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json", "/phone", "/desk"):
            answer = await door("GET", path)
            self.check(answer.status_code == 200, f"GET {path} answers {answer.status_code}")
            self.check(answer.headers.get("x-request-id"), f"GET {path} has no X-Request-Id")

    async def _answer(self, response: httpx.Response, status: int = 200) -> Any:
        self.check(
            response.status_code == status,
            f"{response.request.method} {response.request.url.path} answers {response.status_code}, not {status}: "
            f"{response.text[:300]}",
        )
        return response.json()

    async def _put_user_and_rides(self) -> None:
        user_path = f"/v1/users/{self.customer}"
        profile = {"name": "Blanca Box", "email": "blanca@example.org", "locale": "en", "properties": {"tier": "gold"}}
        await self._answer(await self.app_server("PUT", user_path, profile))
        for number, name in enumerate(self.rides, start=1):
            path = f"{user_path}/transactions/{name}"
            put = await self._answer(await self.app_server("PUT", path, ride(number, 1, "completed")))
            self.check(put.get("applied") is True, f"a new ride is applied, came {put}")
            again = await self._answer(await self.app_server("PUT", path, ride(number, 1, "completed")))
            self.check(again.get("applied") is False, f"an equal version is not applied again, came {again}")
        listed = await self._answer(await self.app_server("GET", f"{user_path}/transactions"))
        names = [item["id"] for item in listed["items"]]
        self.check(names == self.rides[::-1], f"rides are listed newest first, came {names}")
        self.check("next_cursor" in listed, "a list has next_cursor")
        unknown = await self.app_server("PUT", user_path, {"nmae": "typo"})
        self.check(
            unknown.status_code == 400 and "nmae" in unknown.text,
            f"an unknown field is 400 naming it, came {unknown.status_code} {unknown.text[:200]}",
        )
        self.check(
            unknown.headers["content-type"].startswith("application/problem+json"), "errors are problem+json (RFC 9457)"
        )

    async def _hello(self) -> None:
        issued = await self._answer(await self.app_server("POST", f"/v1/users/{self.customer}/tokens"))
        self.tablet.token = issued["token"]
        for device in (self.phone, self.tablet):
            welcome = await device.connect()
            missing = WELCOME_FIELDS - welcome.keys()
            self.check(not missing, f"welcome misses {sorted(missing)}")
            self.check(welcome.get("resume") == "snapshot", f"a first hello resumes by snapshot, came {welcome}")
            snapshot = device.snapshot or {}
            names = [item["id"] for item in snapshot.get("transactions", [])]
            self.check(names == self.rides[::-1], f"the snapshot shows the rides newest first, came {names}")
            self.check(snapshot.get("usn") == welcome["head"], "the snapshot stands at the head of the log")

    async def _open(self) -> None:
        opening: Frame = {
            "t": "open",
            "conversation": self.conversation,
            "topic": "lost_item",
            "transaction": self.rides[1],
            "message": {"id": fresh_id(), "body": {"kind": "text", "text": "I left my umbrella ☂ in the car"}},
        }
        answer = await self.phone.socket.call(opening)
        self.check(answer["t"] == "ok", f"open is answered by {answer}")
        message = await self.phone.event(kind="message", conversation=self.conversation)
        same = [answer.get(key) == message.get(key) for key in ("conversation", "seq", "usn")]
        self.check(all(same), f"ok carries the numbers of the message: {answer} against {message}")
        self.check(not answer.get("duplicate"), "the first open is no duplicate")
        opened = await self.phone.event(kind="conversation.opened", conversation=self.conversation)
        self.check(opened["seq"] == 1, f"conversation.opened is event 1, came {opened['seq']}")
        self.check(message.get("id") == opening["message"]["id"], "an event carries its sender's message id")
        again = await self.phone.socket.call(opening)
        self.check(
            again.get("duplicate") is True and again.get("usn") == answer.get("usn"),
            f"opening twice is safe, came {again}",
        )
        await self.tablet.reached(message["usn"])
        self.check(self.tablet.log == self.phone.log, "both devices got the same events")

    async def _agent_looks(self) -> None:
        listed = await self._answer(await self.desk("GET", f"/admin/v1/conversations?app={self.app}&status=open"))
        mine = [item for item in listed["items"] if item["id"] == self.conversation]
        self.check(len(mine) == 1, f"the list of open conversations holds it once, came {len(mine)}")
        for summary in mine:
            missing = SUMMARY_FIELDS - summary.keys()
            self.check(not missing, f"the summary misses {sorted(missing)}")
            self.check(summary["user"]["external_id"] == self.customer, f"it names its user: {summary['user']}")
        one = await self._answer(await self.desk("GET", f"/admin/v1/conversations/{self.conversation}"))
        context = one["context"]
        self.check(context["transaction"]["id"] == self.rides[1], "the snapshot holds the chosen ride")
        self.check(
            {item["id"] for item in context["recent"]} >= {self.rides[0], self.rides[2]}, "and the user's recent ones"
        )
        self.check([item["id"] for item in one["transactions"]][:3] == self.rides[::-1], "live rides stand beside it")
        self.desk_socket, welcome = await desk_hello(self.url, self.ready["agent"]["token"])
        self.check({"agent", "apps", "ping_interval"} <= welcome.keys(), f"the desk's welcome is {welcome.keys()}")
        watching = await self.desk_socket.call({"t": "watch", "conversation": self.conversation, "seq": 0})
        self.check(watching["t"] == "ok", f"watch is answered by {watching}")
        await self._desk_event(kind="message")

    async def _desk_event(self, **fields: str) -> Frame:
        if self.desk_socket is None:
            raise AssertionError("the desk is connected by the step before")
        return await self.desk_socket.wait_for(
            lambda frame: frame["t"] == "event" and all(frame.get(name) == value for name, value in fields.items()),
            f"an event at the desk with {fields}",
        )

    async def _agent_replies(self) -> None:
        path = f"/admin/v1/conversations/{self.conversation}/messages"
        reply: Frame = {"id": fresh_id(), "body": {"kind": "text", "text": "We found it. Black, with a duck handle?"}}
        event = await self._answer(await self.desk("POST", path, reply | {"expected_seq": 2}), 201)
        for device in (self.phone, self.tablet):
            got = await device.event(kind="message", id=reply["id"])
            self.check(got["author"]["type"] == "agent", f"its author is an agent: {got['author']}")
            self.check(got["seq"] == event["seq"] and got["body"] == reply["body"], "it is the event REST answered")
            self.check(not numbering_faults(device.log), f"dense seq and usn: {numbering_faults(device.log)}")
        await self._desk_event(id=reply["id"])
        again = await self.desk("POST", path, reply | {"expected_seq": 2})
        self.check(
            again.status_code in (200, 201) and again.json().get("seq") == event["seq"],
            f"the same id again gives the same event, came {again.status_code} {again.text[:200]}",
        )
        late = self._message("Yes!")
        await self.phone.socket.call(late)
        stale = reply | {"id": fresh_id(), "expected_seq": event["seq"]}
        conflict = await self.desk("POST", path, stale)
        self.check(
            conflict.status_code == 409 and conflict.json().get("code") == "conflict" and late["id"] in conflict.text,
            f"a stale expected_seq is 409 with the newer events, came {conflict.status_code} {conflict.text[:300]}",
        )

    def _message(self, text: str) -> Frame:
        body = {"kind": "text", "text": text}
        return {"t": "send", "conversation": self.conversation, "id": fresh_id(), "body": body}

    async def _ride_changes(self) -> None:
        path = f"/v1/users/{self.customer}/transactions/{self.rides[1]}"
        changed = await self._answer(await self.app_server("PUT", path, ride(2, 2, "item_found")))
        self.check(changed.get("applied") is True, f"a newer version is applied, came {changed}")
        for device in (self.phone, self.tablet):
            event = await device.event(kind="transaction.updated", conversation=self.conversation)
            shown = event["body"]["transaction"]
            self.check(shown["id"] == self.rides[1] and shown["status"] == "item_found", f"the new state: {shown}")
        await self._desk_event(kind="transaction.updated")
        one = await self._answer(await self.desk("GET", f"/admin/v1/conversations/{self.conversation}"))
        live = {item["id"]: item["status"] for item in one["transactions"]}
        self.check(live.get(self.rides[1]) == "item_found", f"the live ride has changed: {live}")
        self.check(one["context"]["transaction"]["status"] == "completed", "the snapshot has not: it is frozen")
        old = await self._answer(await self.app_server("PUT", path, ride(2, 1, "completed")))
        self.check(old.get("applied") is False, f"an older version is ignored, came {old}")

    async def _kill(self) -> None:
        await self.phone.drop()
        path = f"/admin/v1/conversations/{self.conversation}/messages"
        while_away = {"id": fresh_id(), "body": {"kind": "text", "text": "It waits for you at the depot."}}
        await self._answer(await self.desk("POST", path, while_away), 201)
        self.last_message = self._message("Coming at five, thank you")
        self.last_answer = await self.tablet.socket.call(self.last_message)
        await asyncio.to_thread(self.server.kill)
        self.check(self.last_answer["t"] == "ok", f"the last message was answered by {self.last_answer}")
        left = await asyncio.to_thread(self.server.left_behind)
        self.check(not left, f"kill -9 leaves no process behind, found {left}")

    async def _restart(self) -> None:
        again = await asyncio.to_thread(self.server.start)
        self.report.say(f"  warm start after kill -9: {self.server.start_seconds:.2f} s")
        for name in ("app", "identity", "users"):
            first, second = self.ready[name], again[name]
            if name == "users":
                first, second = ([user["external_id"] for user in users] for users in (first, second))
            self.check(first == second, f"a second start continues where the first was: `{name}` changed")

    async def _resume(self) -> None:
        before, held = self.phone.usn or 0, list(self.phone.log)
        welcome = await self.phone.connect()
        self.check(welcome["resume"] == "continued", f"the phone continues from usn {before}, came {welcome}")
        await self.phone.reached(self.last_answer["usn"])
        texts = [event["body"].get("text") for event in self.phone.log[len(held) :] if event["kind"] == "message"]
        self.check(texts == ["It waits for you at the depot.", "Coming at five, thank you"], f"missed nothing: {texts}")
        self.check(self.phone.log[: len(held)] == held, "what it held it still holds")
        self.check(not numbering_faults(self.phone.log), f"dense seq and usn: {numbering_faults(self.phone.log)}")

    async def _send_again(self) -> None:
        await self.tablet.connect()
        again = await self.tablet.socket.call(self.last_message)
        self.check(again["t"] == "ok" and again.get("duplicate") is True, f"duplicate: true is due, came {again}")
        same = [again.get(key) == self.last_answer.get(key) for key in ("conversation", "seq", "usn")]
        self.check(all(same), f"the first result is returned: {again} against {self.last_answer}")
        other = self.last_message | {"body": {"kind": "text", "text": "something else"}}
        clash = await self.tablet.socket.call(other)
        self.check(
            clash["t"] == "error" and clash["code"] == "idempotency_conflict",
            f"the same id with another body is idempotency_conflict, came {clash}",
        )

    async def _same_everywhere(self) -> None:
        for device in (self.phone, self.tablet):
            device_faults, device.faults = device.faults, []
            self.check(not device_faults, f"offered in order on every connection: {device_faults}")
            await device.close()
            welcome = await device.connect(whole_log=True)
            await device.reached(welcome["head"])
            self.check(not numbering_faults(device.log), f"dense from the start: {numbering_faults(device.log)}")
            self.check(not device.log or device.log[0]["usn"] == 1, "the log begins with usn 1")
        self.check(self.phone.log == self.tablet.log, "JSON and MessagePack tell the same story")
        path = f"/admin/v1/conversations/{self.conversation}/events?after=0&limit=200"
        thread = (await self._answer(await self.desk("GET", path)))["items"]
        ours = [event for event in self.phone.log if event["conversation"] == self.conversation]
        self.check([event["seq"] for event in thread] == list(range(1, len(thread) + 1)), "the desk's thread is dense")
        self.check(
            [(event["seq"], event["kind"], event["body"]) for event in thread]
            == [(event["seq"], event["kind"], event["body"]) for event in ours],
            "the desk and the customer read the same thread",
        )

    async def _terminate(self) -> None:
        code = await asyncio.to_thread(self.server.terminate)
        self.check(code in (0, -15, 143), f"SIGTERM ends with 0 or as terminated, came {code}")
        left = await asyncio.to_thread(self.server.left_behind)
        self.check(not left, f"no process is left behind, found {left}")


async def drive(data_dir: Path, log_path: Path, *, command: Sequence[str] = COMMAND, quiet: bool = False) -> Report:
    """Drive the whole road on a fresh data directory; the report says what failed. Leaves no process behind."""
    report = Report(quiet=quiet)
    server = DeskbellProcess(data_dir, free_port(), log_path, command=command)
    try:
        await MainRoad(server, report).run()
    except Exception as failure:
        if not report.failures:
            report.failures.append(f"{type(failure).__name__}: {failure}")
    finally:
        server.sweep()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", default=shlex.join(COMMAND), help="how to call deskbell (default: %(default)s)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="deskbell-blackbox-"))
    print("the main road, from outside:")
    report = asyncio.run(drive(folder / "data", folder / "deskbell.log", command=shlex.split(options.command)))
    for failure in report.failures:
        print(f"FAILED {failure}", file=sys.stderr)
    if report.failures:
        print(f"the log and the data are kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"all {len(report.steps)} steps hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
