"""etc/otjd.toml and endpoints.csv, read into one frozen Config."""

from __future__ import annotations
