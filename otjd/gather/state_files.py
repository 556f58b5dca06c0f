"""Small files in `state_dir`: named after an integration, for the service alone, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODE = 0o600
_SHOWN = 60


def state_file_name(integration: str) -> str:
    """A file name for an integration, whatever its name holds; different names, different files."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", integration).strip("-")[:_SHOWN]
    return f"{readable}-{hashlib.sha256(integration.encode()).hexdigest()[:12]}.json"


def write_privately(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path`, on disk before it is seen; blocks.

    :raises OSError: that is not possible; the old file stays.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    with os.fdopen(number, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def write_state(path: Path, values: Mapping[str, Any]) -> None:
    """Keep values as JSON, as `write_privately` does."""
    write_privately(path, json.dumps(values, indent=1).encode())


def read_state(path: Path) -> Mapping[str, Any]:
    """What `write_state` kept; nothing where that cannot be read, since what needs it can be made anew. Blocks."""
    try:
        found: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
