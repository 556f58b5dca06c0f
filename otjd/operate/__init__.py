"""What the operator sees: status, alarms, addresses for people and monitoring."""

from __future__ import annotations
