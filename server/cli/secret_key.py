"""The key that encrypts stored secrets: configured, or kept in the data folder."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.config import Config


def load_secret_key(config: Config) -> str:
    """The configured key, or the one in `<data folder>/secret.key`, which is made when it is needed first.

    Raises OSError when the folder cannot be written.
    """
    if config.secrets.secret_key is not None:
        return config.secrets.secret_key.reveal()
    path = config.database.data_dir / "secret.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"secret.key.{os.getpid()}")
    try:
        return path.read_text().strip()
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
        return path.read_text().strip()
