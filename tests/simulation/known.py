"""What the simulation has shown to be wrong and is not mended yet.

Counted and listed by every campaign, but not fatal, so that something new is seen at once. Take a line out when its
cause is gone (and say the change again where `connection`, `greeting` or `pump` say the gateway again).
"""

from __future__ import annotations

KNOWN: dict[str, str] = {
    "hub": "a socket that closes while its token is verified is registered afterwards, and stays registered",
    "no busy circles of tokens": "a device whose clock is ahead asks for a new token as soon as it has one",
    "no busy circles of pages": "the pump goes on reading the same full page for a session that was closed meanwhile",
    "C1 hello": "`welcome` sets the epoch before the snapshot is there; if it never comes, an old usn is resumed in it",
    "a rating once": "a batch whose commit has an unknown outcome is written again, and a rating has no id of its own",
    "failover under living sockets": (
        "a node that stays up over a lossy failover goes on with its sockets, whose cursors are of the old history"
    ),
    "told 4400 for nothing": "an app that sleeps between handshake and hello stops for good",
    "told 4409 for nothing": "a hello that was slow on a socket already dead replaces the newer, living one for good",
}

AFTER_FAIL_OVER = frozenset(
    {
        "C1 same log",
        "C2 forget once",
        "S3 order",
        "S5 within a sweep",
        "everything arrives",
        "nothing is lost",
        "snapshot",
    }
)
"""How "failover under living sockets" shows itself."""
