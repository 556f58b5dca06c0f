"""From an invitation to the alias that an endpoint dials; no I/O."""

from __future__ import annotations
