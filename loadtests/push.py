"""How fast answers reach phones that sleep: `python -m loadtests.push --phones 2000 --latency 0.05`.

Phones register a token, open a conversation and go away. An agent answers each of them; a provider of our own (FCM's
two endpoints, with a latency) notes when each push arrives. An answer is *accepted* when a push with its number, or a
newer one, was; one that never is counts as a mistake.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import uvloop
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from loadtests import report, target
from loadtests.phone import Mistakes, Phone, clock

PROJECT = "loadtests"
AT_ONCE = 100
WITHIN_S = 120.0


class Provider:
    """FCM as far as a sender sees it: a token, and messages that are accepted after `latency` seconds."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self.accepted: dict[str, list[tuple[float, int]]] = {}
        """Registration token → (when, seq) of what was accepted."""
        self.news = asyncio.Event()
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_post("/v1/projects/{project}/messages:send", self._send)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> str:
        """Returns its address."""
        await self._runner.setup()
        port = target.free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    @property
    def pushes(self) -> int:
        return sum(map(len, self.accepted.values()))

    async def _token(self, _request: web.Request) -> web.Response:
        return web.json_response({"access_token": "t", "expires_in": 3600, "token_type": "Bearer"})

    async def _send(self, request: web.Request) -> web.Response:
        message = (await request.json())["message"]
        await asyncio.sleep(self._latency)
        self.accepted.setdefault(message["token"], []).append((clock(), int(message["data"]["seq"])))
        self.news.set()
        return web.json_response({"name": f"projects/{PROJECT}/messages/{self.pushes}"})


def account(url: str) -> dict[str, str]:
    """A service account whose tokens come from `url`."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        "client_email": f"push@{PROJECT}.iam.gserviceaccount.com",
        "token_uri": f"{url}/token",
    }


class Asleep:
    """A phone that has registered for pushes and gone away."""

    def __init__(self, to: target.Target, number: int, mistakes: Mistakes) -> None:
        self.token = f"push-{number}"
        self.conversation = str(uuid4())
        self._phone = Phone(to.sockets, to.token(f"push-{number}"), mistakes)

    async def fall_asleep(self) -> None:
        phone, answered = self._phone, asyncio.Event()
        await phone.connect()
        phone.on_ok = lambda ref: answered.set() if ref == registered else None
        phone.open(self.conversation)
        registered = phone.next_ref()
        phone.frame({"t": "push_token", "ref": registered, "provider": "fcm", "token": self.token})
        async with asyncio.timeout(30):
            await answered.wait()
            await phone.reached(1)
        phone.cut()
        await phone.closed.wait()


async def load(to: target.Target, provider: Provider, options: argparse.Namespace) -> dict[str, Any]:
    progress, mistakes = report.Progress(), Mistakes()
    phones = [Asleep(to, number, mistakes) for number in range(options.phones)]
    for start in range(0, len(phones), AT_ONCE):
        await asyncio.gather(*[phone.fall_asleep() for phone in phones[start : start + AT_ONCE]])
        progress(f"{start + AT_ONCE} of {len(phones)} asleep")
    replied: dict[str, tuple[float, int]] = {}
    left = iter(phones)
    before, began = to.cost(), clock()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {to.agent_token}"}) as agent:

        async def answer() -> None:
            for phone in left:
                at = clock()
                async with agent.post(
                    f"{to.url}/admin/v1/conversations/{phone.conversation}/messages",
                    json={"body": {"kind": "text", "text": "On its way"}, "id": str(uuid4())},
                ) as answered:
                    answered.raise_for_status()
                    replied[phone.token] = (at, (await answered.json())["seq"])

        await asyncio.gather(*[answer() for _ in range(options.agents)])
    answered_after = clock() - began

    def owed() -> list[str]:
        return [
            token
            for token, (_, seq) in replied.items()
            if not any(pushed >= seq for _, pushed in provider.accepted.get(token, ()))
        ]

    try:
        async with asyncio.timeout(WITHIN_S):
            while missing := owed():
                progress(f"{len(missing)} pushes to come")
                provider.news.clear()
                await provider.news.wait()
    except TimeoutError:
        for token in owed():
            mistakes.note(f"{token} was answered and not pushed to")
    progress.done()
    spent = to.cost() - before
    times = [
        min(at for at, pushed in provider.accepted[token] if pushed >= seq) - began_at
        for token, (began_at, seq) in replied.items()
        if token in provider.accepted
    ]
    last = max(at for pushes in provider.accepted.values() for at, _ in pushes)
    return {
        "answers": len(replied),
        "answers/s": round(len(replied) / answered_after),
        "pushes": provider.pushes,
        "pushes/s": round(provider.pushes / (last - began)),
        "more than one to a phone": sum(len(pushes) > 1 for pushes in provider.accepted.values()),
        "accepted after ms": report.percentiles(times),
        "server CPU us/answer and push": round(spent.server / len(replied) * 1e6),
        "PostgreSQL CPU us/answer and push": round(spent.postgres / len(replied) * 1e6),
        "mistakes": len(mistakes),
        "first mistakes": mistakes[:3],
        "times": sorted(times),
    }


async def run(options: argparse.Namespace) -> int:
    if options.url:
        raise SystemExit("this needs a server of its own, with a provider of its own: leave --url away")
    provider = Provider(options.latency)
    url = await provider.start()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as credentials:
        json.dump(account(url), credentials)
        credentials.flush()
        with target.running(
            options, DESKBELL_FCM_CREDENTIALS=str(Path(credentials.name)), DESKBELL_FCM_ENDPOINT=url
        ) as to:
            figures = await load(to, provider, options)
    await provider.stop()
    times = figures.pop("times")
    title = f"{options.phones:,} phones asleep are answered, provider {options.latency * 1000:g} ms away"
    report.show(title, figures, options)
    if options.plot:
        shares = [number / len(times) * 100 for number in range(1, len(times) + 1)]
        report.plot(options.plot, title, {"accepted": (times, shares)}, "seconds after the answer", "% of answers")
    return 1 if figures["mistakes"] else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--phones", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=16, help="answers under way at a time")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds the provider takes")
    raise SystemExit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
