"""Simulated endpoints, as strict as the devices, for tests, the demo and trials without hardware."""

from __future__ import annotations
