"""The key that encrypts stored secrets: configured, or kept in the data folder."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from server.cli.process import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Config

SHORTEST = 32


def load_secret_key(config: Config) -> str:
    """The configured key, or the one in `<data folder>/secret.key`, which is made when it is needed first.

    Raises OSError when the folder cannot be written.
    """
    if config.secrets.secret_key is not None:
        return config.secrets.secret_key.reveal()
    path = config.database.data_dir / "secret.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Not named by the process id: two containers that share a folder both have process 1.
    draft = path.with_name(f"secret.key.{secrets.token_hex(8)}")
    try:
        return _read(path)
    except FileNotFoundError:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
        try:
            # Two processes may be here at once: the first one's key is the key.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return _read(path)


def _read(path: Path) -> str:
    key = path.read_text().strip()
    if len(key) < SHORTEST:
        raise StartError(f"{path} holds no key: restore it from a backup, or delete it if nothing was stored yet")
    return key
