"""How each kind of fault is done to a cluster."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from tests.support.fcm_faults import Fault as FcmFault
from tests.support.tcp_proxy import Mode

if TYPE_CHECKING:
    import random

    from tests.faults.cluster import Cluster
    from tests.faults.schedule import Fault

STEP_S = 10.0
"""How far a clock is set forward or back, at most. Due times of pushes outlive a process, so they are wall time, and
may be this late."""
PROXY_MODES = {
    "black hole": Mode.BLACKHOLE,
    "deaf": Mode.DEAF,
    "hold": Mode.HOLD,
    "cut answers": Mode.CUT_ANSWERS,
    "refuse": Mode.REFUSE,
}
FCM_TROUBLES = (
    FcmFault("unavailable"),
    FcmFault("internal", deliver=True),
    FcmFault("drop"),
    FcmFault("drop", deliver=True),
    FcmFault("slow", delay=0.3),
    FcmFault("quota", retry_after="1"),
)


async def inflict(cluster: Cluster, fault: Fault, rng: random.Random) -> None:
    """Do it, and undo it when its time is over. What was killed is started again."""
    node = cluster.nodes[fault.target]
    match fault.kind:
        case "kill node":
            await cluster.kill_node(fault.target)
        case "drain node":
            await cluster.drain_node(fault.target)
        case "stop node":
            node.signal(signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            node.signal(signal.SIGCONT)
        case "kill postgres":
            await cluster.kill_postgres()
        case "stop postgres":
            cluster.freeze_postgres()
            await asyncio.sleep(fault.seconds)
            cluster.thaw_postgres()
        case "kill redis" | "stop redis" | "flush redis":
            await _hurt_redis(cluster, fault)
        case "cut connections":
            node.proxy.cut()
        case "step clock":
            node.clock.set(rng.uniform(-STEP_S, STEP_S))
        case "push trouble":
            cluster.fcm.fail(rng.choice(FCM_TROUBLES), times=rng.randint(1, 3))
        case "black hole" | "deaf" | "hold" | "cut answers" | "refuse":
            node.proxy.mode = PROXY_MODES[fault.kind]
            await asyncio.sleep(fault.seconds)
            node.proxy.mend()


async def _hurt_redis(cluster: Cluster, fault: Fault) -> None:
    redis = cluster.redis
    if redis is None:
        return
    async with cluster.redis_lock:
        match fault.kind:
            case "kill redis":
                redis.kill()
                await asyncio.sleep(fault.seconds)
                await asyncio.to_thread(redis.start)
            case "stop redis":
                redis.freeze()
                await asyncio.sleep(fault.seconds)
                redis.thaw()
            case _:
                await asyncio.to_thread(redis.ask, "FLUSHALL")
