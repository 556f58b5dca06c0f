"""SyncFolderItems and SyncFolderHierarchy of the emulated Exchange."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otjd.protocol import ews_ids, ews_sync
from otjd.protocol.ews_ids import change_key
from tests.serve.ews_support import NOW, Exchange, busy_room, codes, meeting, texts


@pytest.fixture
def exchange() -> Exchange:
    return busy_room()


def sync(state: str = "", *, limit: int | str = 100, folder: str = "calendar") -> str:
    asked = f"<m:SyncState>{state}</m:SyncState>" if state else ""
    return ("<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:SyncFolderId>"
            f'<t:DistinguishedFolderId Id="{folder}"/></m:SyncFolderId>{asked}'
            f"<m:MaxChangesReturned>{limit}</m:MaxChangesReturned></m:SyncFolderItems>")


class Client:
    """A client that does what it is told."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.state = ""
        self.subjects: dict[str, str] = {}

    def ask(self, limit: int = 100) -> tuple[list[str], bool]:
        """One request; the changes as `Create Now`, and whether these were all."""
        messages = self.exchange.ask(sync(self.state, limit=limit))
        (self.state,) = texts(messages, ".//m:SyncState")
        told = []
        for kind in ("Create", "Update"):
            for key, subject in zip(texts(messages, f".//t:{kind}/t:CalendarItem/t:ItemId/@Id"),
                                    texts(messages, f".//t:{kind}/t:CalendarItem/t:Subject"), strict=True):
                assert (key in self.subjects) == (kind == "Update")
                self.subjects[key] = subject
                told.append(f"{kind} {subject}")
        told += [f"Delete {self.subjects.pop(key)}" for key in texts(messages, ".//t:Delete/t:ItemId/@Id")]
        return told, texts(messages, ".//m:IncludesLastItemInRange") == ["true"]


def test_a_client_is_told_of_every_change_exactly_once(exchange: Exchange) -> None:
    client = Client(exchange)
    assert client.ask() == (["Create Now", "Create Later", "Create Tomorrow"], True)
    assert client.ask() == ([], True)
    exchange.show(meeting("now", NOW - timedelta(minutes=10), alias="x@video.example.com"), meeting("new"),
                  meeting("tomorrow", NOW + timedelta(days=1)))
    assert client.ask() == (["Create New", "Update Now", "Delete Later"], True)
    assert client.ask() == ([], True)


def test_items_that_a_client_ignores_are_told_when_they_end_alone(exchange: Exchange) -> None:
    client = Client(exchange)
    client.ask()
    now = next(key for key, subject in client.subjects.items() if subject == "Now")
    ignoring = sync().replace("<m:MaxCh", f'<m:Ignore><t:ItemId Id="{now}"/></m:Ignore><m:MaxCh')
    messages = exchange.ask(ignoring)
    assert texts(messages, ".//t:Create//t:Subject") == ["Later", "Tomorrow"]
    assert texts(messages, ".//m:IncludesLastItemInRange") == ["true"]
    (client.state,) = texts(messages, ".//m:SyncState")
    assert client.ask() == ([], True)
    exchange.show(meeting("later", NOW + timedelta(hours=2)), meeting("tomorrow", NOW + timedelta(days=1)))
    assert client.ask() == (["Delete Now"], True)


def test_a_state_survives_a_restart(exchange: Exchange) -> None:
    client = Client(exchange)
    client.ask()
    exchange.restart()
    assert client.ask() == ([], True)


CHANGES = st.tuples(st.integers(0, 9), st.sampled_from(["book", "move", "cancel"]), st.integers(0, 47))
STEPS = st.lists(st.tuples(st.lists(CHANGES, max_size=20), st.booleans(), st.integers(1, 5)), min_size=10,
                 max_size=20)
Steps = list[tuple[list[tuple[int, str, int]], bool, int]]


@settings(max_examples=25)
@given(STEPS)
def test_two_nodes_and_restarts_tell_each_change_once(steps: Steps) -> None:
    exchange = Exchange()
    exchange.show()
    client, booked, known = Client(exchange), dict[int, int](), dict[str, str]()
    nodes = [exchange.service]
    exchange.restart()
    nodes.append(exchange.service)
    for turn, (changes, is_restart, limit) in enumerate(steps):
        for number, kind, hour in changes:
            if kind == "cancel":
                booked.pop(number, None)
            elif kind == "book" or number in booked:
                booked[number] = hour
            exchange.show(*(meeting(f"m{n}", NOW + timedelta(hours=h), subject=f"{n} at {h}")
                            for n, h in booked.items()))
        if is_restart:
            exchange.restart()
            nodes[turn % 2] = exchange.service
        told, is_last = list[str](), False
        while not is_last:  # pages come from either node
            exchange.service = nodes[(turn + len(told)) % 2]
            page, is_last = client.ask(limit)
            told += page
        current = {ews_ids.item_id(meeting(f"m{n}").id): f"{n} at {h}" for n, h in booked.items()}
        assert client.subjects == current
        assert len(told) == sum(known.get(key) != current.get(key) for key in known.keys() | current.keys())
        known = current


def test_changes_come_in_pages(exchange: Exchange) -> None:
    exchange.show(*(meeting(f"m{n}", NOW + timedelta(hours=n)) for n in range(5)))
    client = Client(exchange)
    assert client.ask(2) == (["Create M0", "Create M1"], False)
    exchange.show(*(meeting(f"m{n}", NOW + timedelta(hours=n)) for n in range(1, 5)))
    assert client.ask(2) == (["Create M2", "Delete M0"], False)
    assert client.ask(2) == (["Create M3", "Create M4"], True)
    assert sorted(client.subjects.values()) == ["M1", "M2", "M3", "M4"]


def test_other_folders_stay_empty(exchange: Exchange) -> None:
    messages = exchange.ask(sync(folder="inbox"))
    assert codes(messages) == ["NoError"]
    assert not texts(messages, ".//m:Changes/*")


@pytest.mark.parametrize("state", ["x", "AAAA", "AW90amRTAA==", "AW90amRJ"])
def test_a_broken_state_is_an_error_that_starts_clients_anew(exchange: Exchange, state: str) -> None:
    assert codes(exchange.ask(sync(state))) == ["ErrorInvalidSyncStateData"]


@pytest.mark.parametrize("limit", ["0", "513", "-1", "many", "", "9" * 4000])
def test_a_limit_outside_its_type_is_a_schema_violation(exchange: Exchange, limit: str) -> None:
    assert exchange.fault(sync(limit=limit)) == "ErrorSchemaValidation"


def test_a_room_that_was_never_read_is_busy_not_empty(exchange: Exchange) -> None:
    client = Client(exchange)
    client.ask()
    exchange.cache.configure({})
    assert exchange.fault(sync(client.state)) == "ErrorServerBusy"


def hierarchy(state: str = "") -> str:
    asked = f"<m:SyncState>{state}</m:SyncState>" if state else ""
    shape = "<m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>"
    return f"<m:SyncFolderHierarchy>{shape}{asked}</m:SyncFolderHierarchy>"


def test_the_folders_are_told_once(exchange: Exchange) -> None:
    messages = exchange.ask(hierarchy())
    assert {"Calendar", "Inbox"} <= set(texts(messages, ".//t:Create/*/t:DisplayName"))
    (state,) = texts(messages, ".//m:SyncState")
    assert texts(exchange.ask(hierarchy(state)), ".//m:Changes/*") == []
    assert codes(exchange.ask(hierarchy("x"))) == ["ErrorInvalidSyncStateData"]


IDS = st.integers(0, 30).map(lambda n: f"{n:032x}")
KNOWN = st.dictionaries(IDS, st.integers(0, 3).map(lambda n: change_key(str(n))), max_size=20)


@given(KNOWN, KNOWN, st.integers(1, 5))
def test_pages_of_changes_lead_from_any_state_to_any_other(before: dict[str, str], after: dict[str, str],
                                                           limit: int) -> None:
    known = dict(before)
    for _ in range(len(before) + len(after) + 1):
        assert ews_sync.read_state(ews_sync.write_state(known)) == known
        changes = ews_sync.changes(known, after, limit)
        assert len(changes.created) + len(changes.updated) + len(changes.deleted) <= limit
        known = dict(changes.known)
        if changes.is_last:
            break
    assert known == after
    rest = ews_sync.changes(known, after, limit)
    assert (rest.created, rest.updated, rest.deleted) == ((), (), ())
