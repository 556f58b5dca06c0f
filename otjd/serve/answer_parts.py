"""What the answers of the emulated Exchange are put together from: one message for each part of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from otjd.protocol import ews_responses
from otjd.serve.calls import Account

T = TypeVar("T")

CALENDARS_LIMIT = 4
"""How often one request may list the calendar; once is enough for every known client."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The response messages of an answer, the first error among them, and how many meetings were listed.

    `body` is the whole answer of the few operations that have no response messages.
    """

    messages: Sequence[str] = ()
    error: str = ""
    meetings: int | None = None
    body: str = ""


class Refused(Exception):  # noqa: N818 - not an error of the request: one of its parts is answered so
    """One part of a request is answered with an error code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def each(operation: str, parts: Sequence[T], content: Callable[[T], str]) -> Answer:
    """Answer every part with its content; one that is refused fails alone."""
    messages, first_error = [], ""
    for part in parts:
        try:
            messages.append(ews_responses.success(operation, content(part)))
        except Refused as refused:
            first_error = first_error or refused.code
            messages.append(ews_responses.error(operation, refused.code))
    return Answer(messages, first_error)


def is_own(mailbox: str, account: Account) -> bool:
    """Whether this names the account's mailbox: the room's address, or the user name (HDX with Google)."""
    return mailbox.strip().lower() in (account.room.email, account.username.lower())
