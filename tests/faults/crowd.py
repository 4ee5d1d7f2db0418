"""The people of a schedule: what customers and agents do while things break."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from sdk_protocol.codec import JSON, MSGPACK
from tests.faults.desk import Desk
from tests.faults.phone import Phone
from tests.faults.recorder import Recorder, Stopwatch

if TYPE_CHECKING:
    import random

    from tests.faults.cluster import Cluster
    from tests.faults.schedule import Schedule

PAUSE_S = 0.12
"""Between two things one person does, on average."""
AGENT_PAUSE_S = 0.05
LONG_TEXT = "x" * 3000
RESEND_KEPT = 60


@dataclass
class Customer:
    """A user with several phones. `sleeper`: the phone that is put away at some point, if one is."""

    name: str
    phones: list[Phone]
    sleeper: Phone | None
    talks: list[UUID] = field(default_factory=list)


@dataclass
class Sent:
    """A message that was asked for at some time, so that anybody can ask for it again."""

    conversation: UUID
    id: UUID
    text: str


class Crowd:
    """Everybody in one schedule. `over` is set when the activity ends."""

    def __init__(self, cluster: Cluster, plan: Schedule) -> None:
        self.cluster = cluster
        self.plan = plan
        self.clock = Stopwatch()
        self.over = asyncio.Event()
        self.provider = Recorder(self.clock, "fcm", "provider")
        self.customers = [self._customer(number) for number in range(plan.size.users)]
        self.desks = [
            Desk(f"desk{number}", token, cluster.urls, self.clock, plan.rng(f"desk{number}"))
            for number, token in enumerate(cluster.agents)
        ]
        self.auditors: list[Phone] = []
        self._texts = 0

    @property
    def phones(self) -> list[Phone]:
        return [phone for customer in self.customers for phone in customer.phones]

    @property
    def awake(self) -> list[Phone]:
        """Phones that are supposed to be connected."""
        return [phone for phone in [*self.phones, *self.auditors] if phone.running]

    @property
    def clients(self) -> list[Phone | Desk]:
        """Everybody who keeps a history."""
        return [*self.phones, *self.auditors, *self.desks]

    @property
    def present(self) -> list[Phone | Desk]:
        return [*self.awake, *self.desks]

    def of(self, user: str) -> list[Phone]:
        return [phone for phone in self.awake if phone.recorder.history.client.user == user]

    def phone(self, user: str, name: str) -> Phone:
        """Another phone of `user`."""
        rng = self.plan.rng(name)
        token = self.cluster.user_token(user)
        return Phone(name, user, token, self.cluster.urls, self.clock, rng, rng.choice([JSON, MSGPACK]))

    def _customer(self, number: int) -> Customer:
        # The name is unique over campaigns on one database, so a schedule never meets another one's log.
        name = f"u{self.plan.seed}.{number}.{self.plan.rng(str(number)).getrandbits(24):x}"
        phones = [self.phone(name, f"u{number}/{device}") for device in range(self.plan.size.devices)]
        sleeps = len(phones) > 1 and self.plan.rng(f"sleep {number}").random() < 0.6
        return Customer(name, phones, phones[-1] if sleeps else None)

    # -- activity ------------------------------------------------------------------------------------------

    async def act(self) -> None:
        """Everybody does what they do until `over`."""
        async with asyncio.TaskGroup() as group:
            for customer in self.customers:
                for number, phone in enumerate(customer.phones):
                    rng = self.plan.rng(f"person {phone.recorder.history.client.name}")
                    group.create_task(self._person(customer, phone, rng, opens=number == 0))
            for desk in self.desks:
                group.create_task(self._agent(desk, self.plan.rng(f"agent {desk.recorder.history.client.name}")))

    async def _pause(self, rng: random.Random, mean: float = PAUSE_S) -> bool:
        """Let some time pass. False when it is over."""
        try:
            async with asyncio.timeout(rng.expovariate(1 / mean)):
                await self.over.wait()
        except TimeoutError:
            return True
        return False

    def _text(self, rng: random.Random, who: str) -> str:
        self._texts += 1
        return f"{who} {self._texts}" + (LONG_TEXT if rng.random() < 0.03 else "")

    async def _person(self, customer: Customer, phone: Phone, rng: random.Random, *, opens: bool) -> None:
        phone.start()
        registered = False
        sleeps_at = rng.uniform(0.2, 0.8) * self.plan.size.seconds if phone is customer.sleeper else None
        sent: list[Sent] = []
        if opens:
            self._open(customer, phone, rng)
        while await self._pause(rng):
            if not registered and phone.live:
                registered = await phone.register()
            elif sleeps_at is not None and phone.recorder.now > sleeps_at and registered:
                await phone.put_away(rng.random() < 0.5)
                return
            else:
                await self._one_thing(customer, phone, rng, sent)

    async def _one_thing(self, customer: Customer, phone: Phone, rng: random.Random, sent: list[Sent]) -> None:
        known = [talk for talk in customer.talks if talk in phone.seqs]
        if not known:
            return
        talk = rng.choice(known)
        # What still waits in the outbox is not asked for past it: it would overtake what is before it.
        done = [each for each in sent if not phone.waits_for(each.id)]
        match _choose(rng, _PERSON):
            case "send":
                self._send(phone, talk, rng, sent)
            case "burst":
                for _ in range(rng.randint(10, 30)):
                    self._send(phone, talk, rng, sent)
            case "open":
                self._open(customer, phone, rng)
            case "read":
                # Half of the time not everything, and never more than there is.
                seq = phone.seqs[talk]
                phone.read(talk, seq if rng.random() < 0.5 else rng.randint(1, seq))
            case "again" if done:
                old = rng.choice(done)
                for _ in range(rng.randint(1, 3)):
                    await phone.send_raw(old.conversation, old.id, old.text)
            case "conflict" if done:
                old = rng.choice(done)
                await phone.send_raw(old.conversation, old.id, old.text + "!", label=f"{old.id}!")
            case "out of order":
                await self._out_of_order(phone, talk, rng, sent)
            case "page":
                page = await phone.page(talk)
                if page is not None:
                    phone.recorder.add(page)
            case "typing":
                phone.typing(talk, rng.random() < 0.5)
            case "look away":
                phone.show(rng.random() < 0.5)
            case "app killed":
                await phone.stop()
                phone.start()
            case "network":
                phone.hang_up()
                phone.change_network(rng.randrange(len(phone.urls)))
            case _:
                pass

    def _open(self, customer: Customer, phone: Phone, rng: random.Random) -> None:
        talk = _new_id(rng)
        customer.talks.append(talk)
        message = _new_id(rng) if rng.random() < 0.7 else None
        phone.open(talk, message, self._text(rng, customer.name))
        for desk in self.desks:
            desk.follow(talk)

    def _send(self, phone: Phone, talk: UUID, rng: random.Random, sent: list[Sent]) -> None:
        message = Sent(talk, _new_id(rng), self._text(rng, phone.recorder.history.client.name))
        phone.send(talk, message.id, message.text)
        sent.append(message)
        del sent[:-RESEND_KEPT]

    async def _out_of_order(self, phone: Phone, talk: UUID, rng: random.Random, sent: list[Sent]) -> None:
        """The second of two goes first; then in order. Sometimes the first never comes."""
        first = Sent(talk, _new_id(rng), self._text(rng, "first"))
        second = Sent(talk, _new_id(rng), self._text(rng, "second"))
        await phone.send_raw(talk, second.id, second.text, after=first.id)
        if rng.random() < 0.3:
            return
        if await phone.send_raw(talk, first.id, first.text) == "ok":
            await phone.send_raw(talk, second.id, second.text, after=first.id)
            sent.append(first)

    async def _agent(self, desk: Desk, rng: random.Random) -> None:
        desk.start()
        unsure: list[Sent] = []
        while await self._pause(rng, AGENT_PAUSE_S):
            known = list(desk.seqs)
            if not known:
                continue
            talk = rng.choice(known)
            match _choose(rng, _AGENT):
                case "answer" | "careful answer" as how:
                    message = Sent(talk, _new_id(rng), self._text(rng, "agent"))
                    expected = desk.seqs[talk] if how == "careful answer" else None
                    if await desk.say(talk, message.id, message.text, expected=expected) is None:
                        unsure.append(message)
                case "ask again" if unsure:
                    message = rng.choice(unsure)
                    await desk.say(message.conversation, message.id, message.text)
                case "note":
                    await desk.say(talk, _new_id(rng), self._text(rng, "note"), note=True)
                case "read":
                    desk.read(talk, desk.seqs[talk])
                case "status":
                    await desk.set_status(talk, rng.choice(["open", "pending", "resolved"]))
                case "assign":
                    await desk.assign(talk, rng.random() < 0.6)
                case "typing":
                    desk.typing(talk, rng.random() < 0.5)
                case "network":
                    desk.hang_up()
                case _:
                    pass


_PERSON = {
    "send": 50,
    "read": 10,
    "again": 8,
    "open": 3,
    "conflict": 3,
    "out of order": 4,
    "burst": 2,
    "page": 4,
    "typing": 4,
    "look away": 3,
    "app killed": 2,
    "network": 3,
}
_AGENT = {
    "answer": 40,
    "careful answer": 20,
    "ask again": 10,
    "note": 12,
    "read": 12,
    "status": 5,
    "assign": 5,
    "typing": 5,
    "network": 2,
}


def _choose(rng: random.Random, weights: dict[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _new_id(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)
