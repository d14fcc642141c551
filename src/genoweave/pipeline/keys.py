"""The noise key's file: the private root of a run, for its owner only."""

from __future__ import annotations

import hashlib
from pathlib import Path

from genoweave.errors import ConfigError, StoreError
from genoweave.io.files import disk_errors, write_atomic
from genoweave.rng import KEY_BYTES, Root


def load_key(path: Path) -> Root:
    """Read a noise key, or draw a new one from the operating system and keep it (mode 600, folder 700).

    Raises
    ------
    ConfigError
        If the file does not hold a key.
    """
    if not path.exists():
        root = Root.from_system()
        save_key(path, root)
        return root
    try:
        value = bytes.fromhex(path.read_text().strip())
    except (ValueError, UnicodeDecodeError):
        value = b""
    except OSError as error:
        raise StoreError(f"the noise key {path} cannot be read: {error.strerror}") from None
    if len(value) != KEY_BYTES:
        raise ConfigError(
            f"{path} is not a noise key: wanted {2 * KEY_BYTES} hexadecimal digits; restore the file, or "
            "remove it to "
            "draw a new key (all that depends on it is then made again)"
        )
    return Root(value)


def save_key(path: Path, root: Root) -> None:
    """Write a noise key for its owner only."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, root.value.hex() + "\n", mode=0o600)


def key_check(root: Root) -> str:
    """Return a value that tells whether a key is the same one, and nothing else of it."""
    return hashlib.blake2b(b"genoweave noise key check", key=root.value, digest_size=16).hexdigest()
