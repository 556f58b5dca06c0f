"""Requests of EWS that were read before: all endpoints of a model ask for the same, again and again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from otjd.protocol import ews_notifications
from otjd.protocol.ews_requests import GetItem, Header, ItemRef, Request
from otjd.protocol.soap import Dialect, SoapFault

KEPT_REQUESTS = 512
KEPT_REQUEST_BYTES = 4096

_ANY = "*"
"""Stands in the place of every id; it is none."""

_ID = re.compile(rb' Id="([A-Za-z0-9+/=]+)"')
_CHANGE_KEY = re.compile(rb' ChangeKey="[A-Za-z0-9+/=]+"')


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A request as it was read; it tells nothing of who sent it."""

    dialect: Dialect
    operation: str
    header: Header
    request: Request | ews_notifications.Request


class KnownRequests:
    """Knows requests again by their bytes; a GetItem also where it asks for other items than before."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], ReadRequest] = {}

    def find(self, content_type: str, body: bytes) -> ReadRequest | None:
        """What the body says; None where it was not read before, or is not remembered."""
        if len(body) > KEPT_REQUEST_BYTES:
            return None
        known = self._known.get((content_type, body))
        if known is None and b"GetItem" in body:
            known = self._known.get((content_type, _blanked(body)))
            if known is not None and isinstance(known.request, GetItem):
                items = tuple([ItemRef(found.decode("ascii")) for found in _ID.findall(body)])
                if len(items) != len(known.request.items):  # one of them was sent as a blank
                    return None
                return ReadRequest(known.dialect, known.operation, known.header,
                                   GetItem(known.request.shape, items))
        return known

    def keep(self, content_type: str, body: bytes, read: ReadRequest,
             again: Callable[[bytes], ReadRequest]) -> None:
        """Remember what a body says. `again` reads another one, and may raise SoapFault."""
        if len(body) > KEPT_REQUEST_BYTES:
            return
        if isinstance(read.request, GetItem):
            alike = _blanked(body)
            try:
                read_alike = again(alike)
            except SoapFault:
                return
            # only if each of its items is one of the blanks, in their order, may others take their places
            blanks = (ItemRef(_ANY),) * len(_ID.findall(body))
            if not isinstance(read_alike.request, GetItem) or read_alike.request.items != blanks:
                return
            body, read = alike, read_alike
        if len(self._known) >= KEPT_REQUESTS:
            del self._known[next(iter(self._known))]
        self._known[content_type, body] = read


def _blanked(body: bytes) -> bytes:
    body = _ID.sub(b' Id="%b"' % _ANY.encode(), body)
    return _CHANGE_KEY.sub(b"", body) if b" ChangeKey=" in body else body
