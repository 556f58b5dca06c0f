"""Wire formats and handshakes: bytes in, values out, no I/O."""

from __future__ import annotations
