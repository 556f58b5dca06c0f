"""How many connections are let in, and what is said of those that are not."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.internet.task import Clock

from otjd.operate.board import AlarmLevel, AlarmName, StatusBoard
from otjd.serve.gate import ADDRESSES_LIMIT, ALARMS_LIMIT, EVERYBODY, Gate, Sparing
from otjd.serve.limits import Limits
from tests.serve.http_world import NOW

PROXIES = (ip_network("192.0.2.0/24"),)


class World:
    """A gate with the board that it reports to."""

    def __init__(self, connections: int = 10, connections_per_address: int = 3) -> None:
        self.clock = Clock()
        self.board = StatusBoard(lambda: NOW)
        self.limits = Limits(connections=connections, connections_per_address=connections_per_address)
        self.gate = Gate(self.board, self.clock, self.limits, PROXIES)

    def alarms(self) -> list[tuple[str, AlarmLevel]]:
        return [(a.instance, a.level) for a in self.board.alarms() if a.name is AlarmName.CONNECTION_LIMIT]


def said(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [e for e in events if str(e.get("log_format")).startswith("A connection of")]


def test_one_address_has_a_limit_and_others_go_on() -> None:
    world = World()
    assert [world.gate.enter("10.0.0.1") for _ in range(4)] == [True] * 3 + [False]
    assert world.gate.enter("10.0.0.2")
    world.gate.leave("10.0.0.1")
    assert world.gate.enter("10.0.0.1")
    assert (world.gate.connections, world.gate.refused) == (4, 1)


def test_all_together_have_a_limit() -> None:
    world = World()
    assert [world.gate.enter(f"10.0.0.{n}") for n in range(11)] == [True] * 10 + [False]
    world.gate.leave("10.0.0.1")
    assert world.gate.enter("10.0.0.99")


def test_a_network_of_ipv6_is_one_address_and_mapped_ipv4_is_ipv4() -> None:
    world = World()
    assert [world.gate.enter(f"2001:db8::{n}") for n in range(1, 5)] == [True] * 3 + [False]
    assert world.gate.enter("2001:db8:0:1::1")
    mapped = ("::ffff:10.0.0.1", "10.0.0.1", "::ffff:10.0.0.2", "10.0.0.1")
    assert [world.gate.enter(address) for address in mapped] == [True] * 4
    assert not world.gate.enter("::ffff:10.0.0.1")


def test_a_trusted_proxy_has_no_limit_of_its_own() -> None:
    world = World()
    assert all(world.gate.enter("192.0.2.1") for _ in range(10))
    assert not world.gate.enter("192.0.2.1")


def test_clients_behind_a_proxy_are_counted_by_its_word() -> None:
    world = World()
    for _ in range(3):
        assert world.gate.enter("192.0.2.1")
        assert world.gate.enter_behind("10.0.0.1")
    assert not world.gate.enter_behind("10.0.0.1")
    assert world.gate.connections == 3
    world.gate.leave_behind("10.0.0.1")
    assert world.gate.enter_behind("10.0.0.1")


def test_four_thousand_endpoints_behind_one_address_fit_twice_over() -> None:
    limits = Limits()
    assert limits.connections_per_address >= 2 * 4000
    assert limits.connections >= limits.connections_per_address


def test_refusals_are_one_line_a_minute_for_each_address(logged_events: list[dict[str, Any]]) -> None:
    world = World()
    for _ in range(8):
        world.gate.enter("10.0.0.1")
    world.gate.enter("10.0.0.2")
    world.clock.advance(59)
    world.gate.enter("10.0.0.1")
    assert [(e["address"], e["refused"]) for e in said(logged_events)] == [("10.0.0.1", 0)]
    world.clock.advance(1)
    world.gate.enter("10.0.0.1")
    assert [(e["address"], e["refused"]) for e in said(logged_events)] == [("10.0.0.1", 0), ("10.0.0.1", 5)]
    assert "connections_per_address" in said(logged_events)[0]["key"]


def test_an_alarm_stays_until_a_tenth_is_free() -> None:
    world = World()
    for n in range(12):
        world.gate.enter(f"10.0.0.{n}")
    for _ in range(4):
        world.gate.enter("10.0.0.1")
    assert world.alarms() == [(EVERYBODY, AlarmLevel.ERROR)]
    world.gate.leave("10.0.0.1")
    assert world.alarms() == []
    for _ in range(4):
        world.gate.enter("192.0.2.1")
    assert world.alarms() == [(EVERYBODY, AlarmLevel.ERROR)]


def test_the_alarm_of_an_address_names_it_and_is_lowered_when_it_calms_down() -> None:
    world = World(connections=100)
    for _ in range(5):
        world.gate.enter("10.0.0.1")
    assert world.alarms() == [("10.0.0.1", AlarmLevel.WARNING)]
    world.gate.leave("10.0.0.1")
    assert world.alarms() == []


def test_a_reload_changes_limits_for_new_connections_and_lowers_alarms() -> None:
    world = World()
    for _ in range(4):
        world.gate.enter("10.0.0.1")
    world.gate.reconfigure(Limits(connections=10, connections_per_address=9), ())
    assert world.alarms() == []
    assert world.gate.enter("10.0.0.1")
    world.gate.reconfigure(Limits(connections=2, connections_per_address=1), ())
    assert not world.gate.enter("10.0.0.3")
    assert world.gate.connections == 4


def test_memory_has_an_end_whoever_connects() -> None:
    clock = Clock()
    sparing = Sparing(clock)
    assert all(sparing.may_say(f"address {n}") == 0 for n in range(ADDRESSES_LIMIT + 1))
    assert sparing.may_say("address 0") == 0  # forgotten
    assert sparing.may_say(f"address {ADDRESSES_LIMIT}") is None
    world = World(connections=10_000, connections_per_address=1)
    for n in range(ALARMS_LIMIT + 10):
        address = f"10.0.{n // 256}.{n % 256}"
        assert world.gate.enter(address)
        assert not world.gate.enter(address)
    assert len(world.alarms()) == ALARMS_LIMIT
