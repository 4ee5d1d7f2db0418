"""Deskbell's wire protocol, sans I/O (docs/protocol.md): frames, two codecs, and the session of either end.

Imports the stdlib and msgspec only: no event loop, no clock, no randomness. Read `frames.py`, `codec.py`, then
`server_session.py` or `client_session.py`.
"""
