"""Bookings out to Cisco endpoints."""

from __future__ import annotations
