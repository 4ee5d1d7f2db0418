"""What the simulation has shown to be wrong and is not mended yet.

Counted and listed by every campaign, but not fatal, so that something new is seen at once. Take a line out when its
cause is gone (and say the change again where `connection`, `greeting` or `pump` say the gateway again).
"""

from __future__ import annotations

KNOWN: dict[str, str] = {}
