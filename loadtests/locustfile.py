"""For those who know Locust: customers who open a conversation and write now and then. It needs the extra `locust`.

    DESKBELL_SERVER_KEY=dbs_… locust -f loadtests/locustfile.py --host http://127.0.0.1:8080 --headless -u 50 -t 1m

A customer's token comes from the app's own door, `POST /v1/users/{external_id}/tokens`. `hello` is the time from the
socket to `synced`, `send` from a message to its `ok`, which is its commit. For correctness under load, and for times
that count when the server stands still, see `loadtests.deliver`.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.request
from typing import Any
from uuid import uuid4

import gevent
from locust import User, between, task
from locust.exception import StopUser
from websocket import WebSocket, WebSocketException, create_connection


class Customer(User):  # type: ignore[misc]  # locust ships no types
    wait_time = between(1, 5)

    def on_start(self) -> None:
        self.usn = 0
        self.refs = 0
        self.conversation = str(uuid4())
        self.asked: dict[int, float] = {}
        self.began = time.perf_counter()
        try:
            token = _token(self.environment.host, f"locust-{uuid4()}")
            self.socket: WebSocket = create_connection(self.environment.host.replace("http", "ws", 1) + "/v1/chat")
        except (OSError, WebSocketException) as error:
            self._tell("hello", error)
            raise StopUser from error
        gevent.spawn(self._listen)
        device = {"id": str(uuid4()), "platform": "other", "sdk": "locust"}
        self._send({"t": "hello", "token": token, "device": device, "foreground": False, "attempt": 1})
        self._send({"t": "open", "ref": self._ref(), "conversation": self.conversation})

    def on_stop(self) -> None:
        with contextlib.suppress(OSError, WebSocketException):
            self.socket.close()

    @task
    def write(self) -> None:
        body = {"kind": "text", "text": "Where is my driver?"}
        message = {"t": "send", "conversation": self.conversation, "id": str(uuid4()), "body": body}
        self._send({**message, "ref": self._ref()})

    def _listen(self) -> None:
        while True:
            try:
                data = self.socket.recv()
            except (OSError, WebSocketException):
                return
            if not data:
                return
            frame = json.loads(data)
            match frame["t"]:
                case "synced":
                    self._tell("hello")
                case "ok":
                    self._tell("send", began=self.asked.pop(frame["ref"], None))
                case "error":
                    self._tell("send", RuntimeError(frame["code"]), self.asked.pop(frame.get("ref"), None))
                case "event":
                    self.usn = frame["usn"]
                    self._send({"t": "ack", "usn": self.usn})

    def _ref(self) -> int:
        self.refs += 1
        self.asked[self.refs] = time.perf_counter()
        return self.refs

    def _send(self, frame: dict[str, Any]) -> None:
        try:
            self.socket.send(json.dumps(frame))
        except (OSError, WebSocketException) as error:
            self._tell(frame["t"], error)
            raise StopUser from error

    def _tell(self, name: str, error: Exception | None = None, began: float | None = None) -> None:
        took = time.perf_counter() - (self.began if began is None else began)
        self.environment.events.request.fire(
            request_type="WS", name=name, response_time=took * 1000, response_length=0, exception=error, context={}
        )


def _token(host: str, external_id: str) -> str:
    request = urllib.request.Request(
        f"{host}/v1/users/{external_id}/tokens",
        method="POST",
        data=b"{}",
        headers={"Authorization": f"Bearer {os.environ['DESKBELL_SERVER_KEY']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        token: str = json.load(answer)["token"]
        return token
