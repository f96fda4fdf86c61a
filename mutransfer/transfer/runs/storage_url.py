"""Passwords in the URL of a storage: kept out of every text, and given back where a run directory is gone on with."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from mutransfer.errors import ConfigError

VARIABLE = "MUTRANSFER_STORAGE_PASSWORD"
MASK = "***"

# Up to the last @ before the path, as a password with an @ of its own is often written.
_IN_URL = re.compile(r"(://[^/\s:@]*:)[^/\s]+(@)")
_IN_QUERY = re.compile(r"((?:password|passwd|pwd|secret|token)\s*=\s*)[^&\s;'\")]+", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """A text, be it a URL or one that holds some, with every password in it masked.

    >>> without_passwords("cannot open postgresql://ann:tulip@host/db?sslmode=off")
    'cannot open postgresql://ann:***@host/db?sslmode=off'
    """
    return _IN_QUERY.sub(rf"\g<1>{MASK}", _IN_URL.sub(rf"\g<1>{MASK}\g<2>", text))


def with_password(url: str) -> str:
    """A URL that :func:`without_passwords` masked, with the password that the environment gives; others as they are.

    Raises ConfigError where there is none.
    """
    if MASK not in url:
        return url
    password = os.environ.get(VARIABLE)
    if not password:
        raise ConfigError(
            f"storage: the password of {url} is not kept in the run directory: set {VARIABLE}, or give the whole URL "
            "by -o storage=..."
        )
    return url.replace(MASK, quote(password, safe=""))
