"""Names of the files in `state_dir` that belong to an integration."""

from __future__ import annotations

import hashlib
import re

_SHOWN = 60


def state_file_name(integration: str) -> str:
    """A file name for an integration, whatever its name holds; different names, different files."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", integration).strip("-")[:_SHOWN]
    return f"{readable}-{hashlib.sha256(integration.encode()).hexdigest()[:12]}.json"
