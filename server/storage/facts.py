"""What PostgreSQL says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.storage.database import Database


async def of_database(database: Database) -> dict[str, str]:
    """`postgresql`: its version. `durability`: what an acknowledged commit survives: `quorum` (another server has it),
    `local` (it is on this server's disk), `off` (it may be lost in a crash)."""
    row = await database.row("describe_database")
    assert row is not None
    if row["fsync"] == "off" or row["synchronous_commit"] == "off":
        durability = "off"
    elif row["standbys"] and row["synchronous_commit"] in ("on", "remote_write", "remote_apply"):
        durability = "quorum"
    else:
        durability = "local"
    return {"postgresql": row["version"], "durability": durability}
