"""What the simulation has shown to be wrong and is not mended yet.

Counted and listed by every campaign, but not fatal, so that something new is seen at once. Take a line out when its
cause is gone (and say the change again where `connection`, `greeting` or `pump` say the gateway again).
"""

from __future__ import annotations

KNOWN: dict[str, str] = {
    "told 4400 for nothing": "an app that sleeps between handshake and hello stops for good",
    "told 4409 for nothing": "a hello that was slow on a socket already dead replaces the newer, living one for good",
}
