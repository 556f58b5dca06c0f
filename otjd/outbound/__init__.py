"""Requests to the outside: one HTTP client for calendar systems and endpoints, with web proxy and trusted CAs."""

from __future__ import annotations
