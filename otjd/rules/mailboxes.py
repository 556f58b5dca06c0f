"""Names of mailboxes that providers have in the same domains as their meetings."""

from __future__ import annotations

import re

_MAILBOX = re.compile(
    r"(?:no|do-?not)[._-]?reply.*|.*[._-]support|support(?:[._-].*)?|(?:help|service)(?:[._-]?desk)?|info|sales|"
    r"contact|messenger|message|notifications?|invitations?|invite|calendar|meetings?|webmaster|postmaster|"
    r"hostmaster|admin(?:istrator)?|abuse|security|privacy|billing|feedback|training|marketing|press|careers|jobs|"
    r"customercare|care|accounts?|news(?:letter)?|mailer-daemon|office|team|legal|hello|recordings?|events?",
    re.IGNORECASE)


def is_mailbox(user: str) -> bool:
    """Whether this user part is that of a mailbox rather than of a room: `support`, `no-reply`."""
    return len(user) <= 64 and _MAILBOX.fullmatch(user) is not None
