"""Makes `twistd otjd` known to Twisted; nothing of otjd is imported until it is asked for."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

otjd = ServiceMaker(  # type: ignore[no-untyped-call]
    "otjd", "otjd.service", "An open one-touch-join service", "otjd")
