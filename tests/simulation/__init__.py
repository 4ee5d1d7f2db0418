"""Deterministic simulation of both ends of `/v1/chat` with everything between them (docs/protocol.md, S1–S7, C1–C6).

One thread, a virtual clock, one queue of events; a seed decides everything. What runs here is the real `sdk_protocol`
(both sessions) and the real `server.domain.numbering`; sockets, database, bus, phones and agents are a few
dictionaries that break on purpose. What the gateway does around a session sits in asyncio code; `connection.py`,
`writer.py` and `node.py` say it again in the same words, one callback for each `await`.

    python -m tests.simulation --seeds 100000 --start 0 --jobs 2

The order to read it in: `weather` (what happens in a run) → `world` (how it runs) → `phone` → `network` →
`connection` → `writer` → `database` → `node` → `oracle` (what must hold).
"""
