"""Phones behind the fake FCM: what a person would see after all that was delivered, by FCM's and Android's rules."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Shown:
    """One notification in the drawer. `rang`: how often it made a sound; `replaced`: how often a repeat replaced it."""

    title: str
    body: str
    data: dict[str, str]
    rang: int = 0
    replaced: int = 0


@dataclass(slots=True)
class Device:
    """`drawer` is keyed by tag; what came without a tag can never be replaced and gets a key of its own."""

    drawer: dict[str, Shown] = field(default_factory=dict)
    badge: int | None = None
    deliveries: int = 0

    def deliver(self, message: dict[str, Any]) -> None:
        """Apply one FCM v1 `Message`."""
        self.deliveries += 1
        android = message.get("android", {}).get("notification", {})
        aps = message.get("apns", {}).get("payload", {}).get("aps", {})
        data = message.get("data", {})
        if "badge" in aps:
            self.badge = aps["badge"]
        if "notification" not in message:
            if data.get("type") == "clear":  # the app's SDK does this part
                self.drawer.pop(data.get("conversation", ""), None)
            return
        tag = android.get("tag") or f"untagged-{self.deliveries}"
        before = self.drawer.get(tag)
        self.drawer[tag] = Shown(
            title=message["notification"].get("title", ""),
            body=message["notification"].get("body", ""),
            data=data,
            rang=(before.rang if before else 0) + bool(android.get("sound") or aps.get("sound")),
            replaced=before.replaced + 1 if before else 0,
        )


class Devices:
    """All phones, by registration token or installation id. A phone exists once something was delivered to it."""

    def __init__(self) -> None:
        self._devices: dict[str, Device] = {}

    def __getitem__(self, target: str) -> Device:
        return self._devices.setdefault(target, Device())

    def as_json(self) -> dict[str, Any]:
        """`{target: {"drawer": {tag: {title, body, data, rang, replaced}}, "badge", "deliveries"}}`."""
        return {target: asdict(device) for target, device in self._devices.items()}
