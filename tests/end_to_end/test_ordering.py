"""Several devices of one customer write at once, lose the network and send again: one dense log, every message once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.end_to_end.deskbell_process import DeskbellProcess, free_port
from tests.end_to_end.device import Device, numbering_faults
from tests.end_to_end.rawsocket import CODECS, MSGPACK, Closed, Codec, Frame, Rest, fresh_id
from tests.end_to_end.server_log import unmoved
from tests.end_to_end.tenancy import Tenant, shared_tenant, text_body

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.end_to_end.tenancy import RunningServer

SEED = 20260302
SECONDS = 8.0
MAX_OUTBOX = 24
# Answers after which the same message may be sent again (protocol.md "Codes"): nothing was stored.
TRY_AGAIN = {"rate_limited", "unavailable", "out_of_order"}


class RestlessDevice(Device):
    """Keeps an outbox (C2), sends several messages ahead chained by ``after``, and loses its network now and then."""

    def __init__(self, tenant: Tenant, customer: str, codec: Codec, conversations: list[str], seed: int) -> None:
        super().__init__(tenant.url, tenant.user_token(customer), codec)
        self.random = random.Random(seed)
        self.conversations = conversations
        self.outbox: list[Frame] = []
        self.written: list[Frame] = []
        self.results: dict[str, tuple[str, int, int]] = {}
        self.counts: Counter[str] = Counter()
        self._asked: dict[int, str] = {}
        self._unanswered: set[str] = set()
        self._again_at: float | None = None

    def answered(self, answer: Frame) -> None:
        message = self._asked.pop(answer["ref"], None)
        if message is None:
            self.faults.append(f"an answer nobody asked for: {answer}")
        elif answer["t"] == "ok":
            numbers = (answer["conversation"], answer["seq"], answer["usn"])
            if self.results.setdefault(message, numbers) != numbers:
                self.faults.append(f"S2: message {message} was answered {self.results[message]}, then {numbers}")
            self.counts["duplicate"] += answer.get("duplicate") is True
            self._unanswered.discard(message)
        else:
            self.counts[answer["code"]] += 1
            self._again_at = time.monotonic() + answer.get("retry_after_ms", 100) / 1000
            if answer["code"] not in TRY_AGAIN:
                self.faults.append(f"a message was refused: {answer}")

    def applied(self, event: Frame) -> None:
        self.outbox = [message for message in self.outbox if message["id"] != event.get("id")]

    async def _send(self, message: Frame) -> None:
        before = [earlier["id"] for earlier in self.outbox if earlier["conversation"] == message["conversation"]]
        previous = before[before.index(message["id"]) - 1] if message["id"] in before[1:] else None
        chained = {"after": previous} if previous in self._unanswered else {}
        ref = self.socket.next_ref()
        self._asked[ref] = message["id"]
        self._unanswered.add(message["id"])
        await self.socket.send(message | chained | {"ref": ref})

    async def _write(self) -> None:
        message: Frame = {
            "t": "send",
            "conversation": self.random.choice(self.conversations),
            "id": fresh_id(),
            "body": text_body(f"message {len(self.written) + 1} of {self.device[:8]} ☂"),
        }
        self.outbox.append(message)
        self.written.append(message)
        await self._send(message)

    async def _come_back(self) -> None:
        """A new connection, and the whole outbox again with the same ids (C2)."""
        self._asked.clear()
        await self.connect()
        await self._send_outbox()

    async def _send_outbox(self) -> None:
        self._unanswered.clear()
        self._again_at = None
        for message in list(self.outbox):
            self.counts["sent again"] += 1
            await self._send(message)

    async def write_for(self, seconds: float) -> None:
        await self.connect()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            what = self.random.random()
            try:
                if self._again_at is not None:
                    await self._wait_and_send_outbox()
                elif what < 0.04:
                    self.counts["reconnects"] += 1
                    await self.drop()
                    await asyncio.sleep(self.random.random() * 0.05)
                    await self._come_back()
                elif what < 0.10 and self.results:
                    await self._send_old_again()
                elif len(self.outbox) < MAX_OUTBOX:
                    await self._write()
            except Closed as closed:
                if closed.code not in (1006, 4000, 4001):
                    self.faults.append(f"closed by the server: {closed}")
                await self._come_back()
            await asyncio.sleep(self.random.random() * 0.04)

    async def _wait_and_send_outbox(self) -> None:
        """What was refused for now goes out again in its order, after the delay the server asked for."""
        await asyncio.sleep(max((self._again_at or 0) - time.monotonic(), 0))
        await self._send_outbox()

    async def write_until_cut_off(self) -> None:
        """As fast as answers come, until the server is gone."""
        await self.connect()
        with suppress(Closed):
            while True:
                if len(self.outbox) < MAX_OUTBOX:
                    await self._write()
                else:
                    await self.socket.wait_for(lambda _: True, "the next frame", start=len(self.socket.received))
                await asyncio.sleep(0)

    async def back_after_restart(self) -> None:
        """The new process, and the outbox once more."""
        await self._come_back()
        await self.settle()

    async def _send_old_again(self) -> None:
        """A message long acknowledged, once more: the first result is due, for ever (S2)."""
        message = self.random.choice(self.written)
        if message["id"] in self.results:
            ref = self.socket.next_ref()
            self._asked[ref] = message["id"]
            await self.socket.send({key: value for key, value in message.items() if key != "after"} | {"ref": ref})

    async def settle(self) -> None:
        """Send until everything written was seen in the own stream."""
        deadline = time.monotonic() + 20
        while self.outbox or self._asked:
            assert time.monotonic() < deadline, f"{len(self.outbox)} messages never came back, {len(self._asked)} refs"
            seen = len(self.socket.received)
            if self.socket.is_closed:
                await self._come_back()
            elif self._again_at is not None:
                await self._wait_and_send_outbox()
            with suppress(TimeoutError, Closed):
                await self.socket.wait_for(lambda _: True, "the next frame", within=2, start=seen)


async def replies(tenant: Tenant, conversations: list[str], stop: asyncio.Event) -> list[str]:
    """An agent who answers over REST meanwhile, now and then in a private note; returns the ids of the answers."""
    desk, chance, sent = Rest(tenant.url, tenant.agent["token"]), random.Random(SEED), []
    while not stop.is_set():
        kind = "notes" if chance.random() < 0.3 else "messages"
        message = {"id": fresh_id(), "body": text_body("one moment")}
        path = f"/admin/v1/conversations/{chance.choice(conversations)}/{kind}"
        for _ in range(chance.choice([1, 1, 2])):
            (await desk("POST", path, message)).raise_for_status()
        if kind == "messages":
            sent.append(str(message["id"]))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.1)
    return sent


async def test_devices_agree(demo_server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    tenant = await shared_tenant(demo_server)
    customer = tenant.secret("customer")
    conversations = [fresh_id(), fresh_id()]
    reader = Device(tenant.url, tenant.user_token(customer), MSGPACK)
    await reader.connect()
    for conversation in conversations:
        opened = await reader.socket.call({"t": "open", "conversation": conversation, "topic": "stress"})
        assert opened["t"] == "ok", opened
    await reader.close()
    devices = [
        RestlessDevice(tenant, customer, CODECS[number % 2], conversations, SEED + number) for number in range(4)
    ]
    stop = asyncio.Event()
    async with unmoved(demo_server):
        answering = asyncio.create_task(replies(tenant, conversations, stop))
        await asyncio.gather(*(device.write_for(SECONDS) for device in devices))
        stop.set()
        answers = await answering
        await asyncio.gather(*(device.settle() for device in devices))
        welcome = await reader.connect(whole_log=True)
        await reader.reached(welcome["head"])
        for device in devices:
            await device.reached(welcome["head"])
            await device.close()
        await reader.close()
    counts = sum((device.counts for device in devices), Counter[str]())
    written = [message["id"] for device in devices for message in device.written]
    with capsys.disabled():
        print(f"\n  {len(written)} messages from {len(devices)} devices, {len(answers)} answers, {dict(counts)}")
    assert [device.faults for device in [*devices, reader]] == [[]] * 5
    assert numbering_faults(reader.log, notes=True) == []
    assert reader.log[0]["usn"] == 1
    for device in devices:
        assert device.log == reader.log[device.log[0]["usn"] - 1 :], "all devices hold the same log"
    stored = Counter(event["id"] for event in reader.log if event["kind"] == "message")
    assert stored == Counter(written) + Counter(answers), "every client id exactly once"
    numbers = {event.get("id"): (event["conversation"], event["seq"], event["usn"]) for event in reader.log}
    for device in devices:
        assert {message: numbers[message] for message in device.results} == device.results, "ok told the true numbers"
        for conversation in conversations:
            chain = [numbers[m["id"]][1] for m in device.written if m["conversation"] == conversation]
            assert chain == sorted(chain), "S3: a device's messages are stored in the order it wrote them"
    assert len(written) > 200
    assert counts["reconnects"] > 20
    assert counts["duplicate"] > 20


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three devices write at full speed, server and database are killed at once, the same data starts again."""
    server = DeskbellProcess(tmp_path / "data", free_port(), tmp_path / "deskbell.log")
    try:
        ready = await asyncio.to_thread(server.start)
        tenant = Tenant(ready["url"], ready["app"], ready["server_key"], ready["identity"], ready["agent"])
        customer, conversation = tenant.secret("customer"), fresh_id()
        reader = Device(tenant.url, tenant.user_token(customer))
        await reader.connect()
        await reader.socket.call({"t": "open", "conversation": conversation, "topic": "power cut"})
        devices = [RestlessDevice(tenant, customer, CODECS[i % 2], [conversation], SEED + i) for i in range(3)]
        writing = asyncio.gather(*(device.write_until_cut_off() for device in devices))
        await reader.reached(150)
        await asyncio.to_thread(server.kill, with_children=True)
        await writing
        acknowledged = {message: numbers for device in devices for message, numbers in device.results.items()}
        await asyncio.to_thread(server.start)
        await asyncio.gather(*(device.back_after_restart() for device in devices))
        welcome = await reader.connect(whole_log=True)
        await reader.reached(welcome["head"])
        for device in (*devices, reader):
            await device.reached(welcome["head"])
            await device.close()
        assert await asyncio.to_thread(server.terminate) == 0
    finally:
        server.sweep()
    written = Counter(message["id"] for device in devices for message in device.written)
    with capsys.disabled():
        duplicates = sum(device.counts["duplicate"] for device in devices)
        print(
            f"\n  {len(acknowledged)} of {written.total()} were acknowledged before the kill, {duplicates} more stored"
        )
    assert [device.faults for device in (*devices, reader)] == [[]] * 4
    numbers = {event.get("id"): (event["conversation"], event["seq"], event["usn"]) for event in reader.log}
    assert {message: numbers[message] for message in acknowledged} == acknowledged
    assert Counter(event["id"] for event in reader.log if event["kind"] == "message") == written
    assert numbering_faults(reader.log) == []
    assert len(acknowledged) > 50
