"""The core: what a calendar holds, what an endpoint shows, and the cache between them."""

from __future__ import annotations
