"""Trouble with the disk, in words: it is full, it fails, or what was on it is gone."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


def disk_trouble(error: BaseException | None, path: Path) -> str | None:
    """What is wrong with the disk or with ``path`` on it, if that is behind ``error``."""
    gone = not path.exists() or (path.is_file() and not path.stat().st_size)  # SQLite makes an empty one again
    while error is not None:
        if gone and (isinstance(error, sqlite3.Error) or (isinstance(error, OSError) and error.errno in _GONE)):
            return f"{path} has vanished"
        if isinstance(error, OSError) and error.errno in _FULL:
            return f"the disk of {path} is full ({error.strerror})"
        if isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error):
            return f"the disk of {path} is full ({error})"
        if isinstance(error, sqlite3.OperationalError) and ("disk I/O" in str(error) or "readonly" in str(error)):
            return f"{path} cannot be written ({error})"
        error = error.__cause__ or error.__context__
    return None
