"""What a socket is to the gateway: callbacks in, calls out.

Implementations are siblings named by technology: `asgi.py` for the port that has every door, `picows.py` for a port
that has the sockets alone. tests/contracts/test_gateway_transport.py holds both to what is written here.

A transport calls its receiver on the event loop, one call at a time, in the order in which things happened on the
wire. After `on_close` it calls nothing any more.
"""

from __future__ import annotations

from typing import Protocol


class Receiver(Protocol):
    """The connection that a transport serves. No method blocks or raises."""

    def on_frame(self, frame: str | bytes) -> None:
        """One whole WebSocket message: str for text, bytes for binary."""

    def on_heard(self) -> None:
        """A control frame arrived: the peer is alive."""

    def on_close(self) -> None:
        """The socket is gone, whoever ended it. Called once."""


class Transport(Protocol):
    """One accepted WebSocket."""

    def send(self, frame: str | bytes) -> None:
        """Queue a message. Never blocks; after the end it is dropped."""

    def ping(self) -> None:
        """Send a control-frame ping, where the server underneath can; its pong arrives as `on_heard`."""

    def close(self, code: int, reason: str) -> None:
        """Say goodbye after what is queued (`reason`: at most 123 bytes). Closing twice is harmless. A peer that does
        not answer is cut off some seconds later."""

    def pause(self) -> None:
        """Stop calling `on_frame` until `resume`: the peer must wait."""

    def resume(self) -> None:
        """Go on after `pause`. Frames that were here already may be handed over before this returns."""

    def tick(self) -> None:
        """Called about once a second by the node's wheel, so that no socket needs a timer of its own."""

    @property
    def buffered(self) -> int:
        """Bytes queued and not yet handed to the network."""
