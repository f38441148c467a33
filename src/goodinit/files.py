"""Files that are either the old one or the new one, never half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["beside", "write_beside"]


@contextmanager
def beside(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is renamed over it, on failure removed.

    Missing parent folders are made. An interruption at any moment leaves the old
    file whole.

    Raises:
        OSError: if the folder cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes private files; the result gets the rights that any new file would.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_beside(path: str | Path, content: bytes) -> Path:
    """Write a file whole or not at all, and return its path."""
    with beside(path) as part:
        part.write_bytes(content)
    return Path(path)
