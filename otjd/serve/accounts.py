"""Accounts: from the name that a client signs in with to the account that is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otjd.serve.calls import Account


def spellings(username: str, domain: str = "") -> Iterator[str]:
    """The stored names that a login may mean, the most literal first (protocols/poly.md, section 4).

    A stored name may itself hold `@` or a backslash, so the whole name comes first; otherwise a domain, in any of
    its forms, counts for nothing.
    """
    yield username
    if domain:
        yield f"{domain}\\{username}"
        yield f"{username}@{domain}"
    bare = username.rpartition("\\")[2]
    yield bare
    if "@" in bare:
        yield bare.rpartition("@")[0]


class Accounts:
    """The logins of all Poly endpoints; user names count with their letter case."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._by_name = {a.username: a for a in accounts}
        self._by_folded_name = {name.casefold(): name for name in self._by_name}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_name.values())

    def find(self, username: str, domain: str = "") -> Account | None:
        """The account that is meant, or None."""
        found = self._by_name.get(username)
        return found if found is not None else self._find_spelled(username, domain)

    def _find_spelled(self, username: str, domain: str) -> Account | None:
        names = filter(self._by_name.__contains__, spellings(username, domain))
        return next((self._by_name[name] for name in names), None)

    def similar(self, username: str, domain: str = "") -> str | None:
        """The name of an account that differs in letter case alone, or None."""
        for name in spellings(username, domain):
            if name.casefold() in self._by_folded_name:
                return self._by_folded_name[name.casefold()]
        return None
