"""Objects of the user's own by their import string, looked up beside the working directory too."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from mutransfer.errors import ConfigError


def import_string(text: str, key: str) -> Any:
    """The object that ``package.module:name`` names; ``key`` is where the config says so, for errors."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise ConfigError(f"{key}: expected package.module:name, found {text!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"{key}: cannot import {module!r}: {error}") from error
    except AttributeError:
        raise ConfigError(f"{key}: module {module!r} has no {name!r}") from None
