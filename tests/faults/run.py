"""One schedule on a running cluster: activity under faults, then healing, waiting, last reads, and the verdict."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec

from tests.faults.checker import explain
from tests.faults.crowd import Crowd
from tests.faults.desk import Desk
from tests.faults.evidence import Evidence
from tests.faults.findings import Finding
from tests.faults.history import Back, History, Pushed
from tests.faults.pushes import check_pushes
from tests.faults.troubles import inflict
from tests.faults.wire import until

if TYPE_CHECKING:
    from uuid import UUID

    from tests.faults.cluster import Cluster
    from tests.faults.phone import Phone
    from tests.faults.schedule import Schedule

PATIENCE_S = 40.0
"""How long everybody may take to have everything, once all is healed. Far more than a healthy cluster needs."""
CALM_S = 0.15
"""For this long nothing may change before it counts as settled."""


class Outcome(msgspec.Struct, kw_only=True):
    """`problems`: what went wrong beside the promises, for example a node that does not come up. `stops`: times a phone
    was told a final close code."""

    plan: Schedule
    histories: list[History]
    findings: list[Finding]
    problems: list[str]
    reconnects: int
    stops: int
    phases: dict[str, float]
    """How long each part took: activity, heal, settle, push, reads."""

    @property
    def took(self) -> float:
        return sum(self.phases.values())


async def run(cluster: Cluster, plan: Schedule, patience: float = PATIENCE_S) -> Outcome:
    """Run `plan` with customers of its own. Leaves the cluster healed."""
    crowd = Crowd(cluster, plan)
    cluster.fcm.reset()
    phases = _Phases()
    try:
        await _activity(cluster, crowd, plan)
        phases.ended("activity")
        problems = await cluster.heal()
        phases.ended("heal")
        await _settle(crowd, patience)
        phases.ended("settle")
        await _wake_the_sleepers(cluster, crowd, patience)
        phases.ended("push")
        await _last_reads(cluster, crowd, patience)
        phases.ended("reads")
    finally:
        for client in crowd.clients:
            await client.stop()
    histories = [
        crowd.provider.history,
        *(client.recorder.history for client in crowd.clients),
    ]
    return Outcome(
        plan=plan,
        histories=histories,
        findings=explain(histories),
        problems=problems,
        reconnects=sum(max(0, client.reconnects) for client in crowd.clients),
        stops=sum(phone.stops for phone in crowd.phones),
        phases=phases.seconds,
    )


class _Phases:
    """A stopwatch with lap times."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def ended(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._since = now - self._since, now


async def _activity(cluster: Cluster, crowd: Crowd, plan: Schedule) -> None:
    async with asyncio.TaskGroup() as group:
        acting = group.create_task(crowd.act())
        for number in range(len(plan.faults)):
            group.create_task(_later(cluster, plan, number, crowd))
        await asyncio.sleep(plan.size.seconds)
        crowd.over.set()
        await acting


async def _later(cluster: Cluster, plan: Schedule, number: int, crowd: Crowd) -> None:
    fault = plan.faults[number]
    await asyncio.sleep(max(0.0, fault.at - crowd.clock()))
    await inflict(cluster, fault, plan.rng(f"fault {number}"))


async def _settle(crowd: Crowd, patience: float) -> None:
    """Everybody reconnects by themselves, two auditors a user join, and all wait until they have the same."""
    for client in crowd.present:
        client.change_network()
    for customer in crowd.customers:
        fresh = crowd.phone(customer.name, f"{customer.phones[0].recorder.history.client.name}/fresh")
        crowd.auditors.append(fresh)
        fresh.start()
    await until(lambda: all(auditor.live for auditor in crowd.auditors), patience)
    for fresh in list(crowd.auditors):
        user, name = fresh.recorder.history.client.user, fresh.recorder.history.client.name
        reader = crowd.phone(user, name.replace("fresh", "reader"))
        if fresh.epoch is not None:
            reader.forget_all(fresh.epoch)
        crowd.auditors.append(reader)
        reader.start()
    await _until_settled(crowd, patience)


async def _until_settled(crowd: Crowd, patience: float) -> bool:
    """Wait until all agree and nothing changes any more. False: they did not in time, which the checker will say."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if await until(lambda: _agreed(crowd), max(0.0, deadline - time.monotonic())):
            before = _positions(crowd)
            await asyncio.sleep(CALM_S)
            if _agreed(crowd) and before == _positions(crowd):
                return True
    return False


def _agreed(crowd: Crowd) -> bool:
    for customer in crowd.customers:
        mine = crowd.of(customer.name)
        if not all(phone.live and not phone.waiting for phone in mine) or len({phone.usn for phone in mine}) > 1:
            return False
    heads: dict[UUID, int] = {}
    for client in crowd.present:
        for conversation, seq in client.seqs.items():
            heads[conversation] = max(seq, heads.get(conversation, 0))
    return all(
        desk.connected and all(desk.seqs.get(conversation, 0) == seq for conversation, seq in heads.items())
        for desk in crowd.desks
    )


def _positions(crowd: Crowd) -> list[int]:
    return [phone.usn for phone in crowd.awake] + [sum(desk.seqs.values()) for desk in crowd.desks]


async def _wake_the_sleepers(cluster: Cluster, crowd: Crowd, patience: float) -> None:
    """Whoever has put a phone away takes it up again, once every push that is owed has had its time."""
    sleepers = [customer.sleeper for customer in crowd.customers if customer.sleeper and not customer.sleeper.running]
    since = crowd.clock()
    await until(lambda: not _owed(cluster, crowd, sleepers, since), patience)
    crowd.provider.history.records[:] = _pushed(cluster, crowd)
    for phone in sleepers:
        phone.take_up(since)
    if sleepers:
        await _until_settled(crowd, patience)


def _owed(cluster: Cluster, crowd: Crowd, sleepers: list[Phone], since: float) -> bool:
    """Would the checker miss a push if they looked now?"""
    if not sleepers:
        return False
    now = crowd.clock()
    provider = History(client=crowd.provider.history.client, records=[*_pushed(cluster, crowd)])
    clients = [
        History(
            client=phone.recorder.history.client,
            records=[*phone.recorder.history.records, *([Back(at=now, since=since)] if phone in sleepers else [])],
        )
        for phone in [*crowd.phones, *crowd.auditors]
    ]
    desks = [desk.recorder.history for desk in crowd.desks]
    return any(True for _ in check_pushes(Evidence([provider, *clients, *desks])))


def _pushed(cluster: Cluster, crowd: Crowd) -> list[Pushed]:
    """What the provider was asked to deliver to phones of this schedule."""
    tokens = {phone.push_token for phone in crowd.phones}
    now = crowd.clock()
    return [
        Pushed(
            at=now,
            token=received.target,
            conversation=received.message["data"]["conversation"],
            seq=int(received.message["data"]["seq"]),
        )
        for received in cluster.fcm.received
        if received.target in tokens and "seq" in received.message.get("data", {})
    ]


async def _last_reads(cluster: Cluster, crowd: Crowd, patience: float) -> None:
    """A desk that watches everything from the beginning, and the conversations as two phones of each user read them."""
    audit = Desk("audit", cluster.agents[0], cluster.urls, crowd.clock, crowd.plan.rng("audit"))
    crowd.desks.append(audit)
    for conversation in crowd.desks[0].seqs:
        audit.follow(conversation)
    audit.start()
    for customer in crowd.customers:
        for phone in crowd.of(customer.name)[:2]:
            for conversation in customer.talks:
                page = await phone.page(conversation)
                if page is not None:
                    phone.recorder.add(page)
    await _until_settled(crowd, patience)
    for client in crowd.present:
        client.finish()
