"""How fast rules read invitations, beside the same bodies only parsed by lxml, in turns in the same run.

    python bench/rules.py            1,000 bodies of 20 to 200 kB through a profile with every type
    python bench/rules.py --smoke    a few, to see that it runs
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from lxml import html

from otjd.meetings.model import Invitation
from otjd.rules.engine import Engine, Rule
from otjd.rules.registry import supported

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PARAGRAPH = ('<p class=MsoNormal><span lang=EN-US style=\'font-size:11.0pt;font-family:"Calibri",sans-serif\'>'
             "{text}<o:p></o:p></span></p>\r\n")
WORDS = ("agenda", "budget", "review", "customer", "planning", "call 2{n}1", "room", "table")
LINK = "https://intranet.example.com/page/{n}"
LINK_EVERY = 5
"""Paragraphs of twenty words to one that ends with a link."""
INVITES = ("", "Join: 4711@vc.example.com", "SIP: 92345678901@zoomcrc.com",
           '<a href="https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0">Join the meeting</a>')


def body(size: int, chance: random.Random) -> str:
    """An HTML body in Outlook's manner; in one of four is nothing to dial, in the others it comes last."""
    parts = ["<html><head><style>p.MsoNormal{margin:0}</style></head><body><div class=WordSection1>"]
    length = 0
    while length < size:
        words = [chance.choice(WORDS) for _ in range(20)] + [LINK] * (len(parts) % LINK_EVERY == 0)
        text = " ".join(word.replace("{n}", str(chance.randrange(10**6))) for word in words)
        parts.append(PARAGRAPH.format(text=text))
        length += len(parts[-1])
    return "".join((*parts, PARAGRAPH.format(text=chance.choice(INVITES)), "</div></body></html>"))


def every_type() -> Engine:
    """An engine with one rule of each type."""
    rules = [Rule(name=name, priority=place, meeting_type=name, domain="vc.example.com", company_id="acme",
                  match_string=r"room-(\d{4,8})@", custom_template="{{ '' }}")
             for place, name in enumerate(sorted(supported()), 1)]
    return Engine(rules, clock=time.thread_time)


def cpu_s(job: Callable[[str], object], bodies: Sequence[str]) -> list[float]:
    """Seconds of processor time for each body."""
    took = []
    for text in bodies:
        began = time.process_time()
        job(text)
        took.append(time.process_time() - began)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    chance = random.Random(1)  # noqa: S311 - the same bodies in every run
    bodies = [body(chance.randrange(20_000, 200_000), chance) for _ in range(4 if smoke else 1000)]
    engine = every_type()
    found = 0

    def through_the_rules(text: str) -> None:
        nonlocal found
        found += engine.match(Invitation("u", START, START + timedelta(hours=1), body_html=text)) is not None

    rules_s: list[float] = []
    parse_s: list[float] = []
    for at in range(0, len(bodies), 50):  # in turns, so that both meet the same machine
        parse_s += cpu_s(html.document_fromstring, bodies[at:at + 50])
        rules_s += cpu_s(through_the_rules, bodies[at:at + 50])
    kb = sum(map(len, bodies)) / 1000
    print(f"{len(bodies)} bodies, {kb / len(bodies):.0f} kB on average, {found} with an alias, "
          f"{len(supported())} rules")
    print(f"rules      {len(bodies) / sum(rules_s):8.0f} invitations/s   "
          f"median {statistics.median(rules_s) * 1000:.2f} ms   worst {max(rules_s) * 1000:.1f} ms")
    print(f"lxml alone {len(bodies) / sum(parse_s):8.0f} bodies/s        "
          f"median {statistics.median(parse_s) * 1000:.2f} ms   worst {max(parse_s) * 1000:.1f} ms")
    print(f"ratio      {sum(rules_s) / sum(parse_s):8.2f} times the time of lxml alone")


if __name__ == "__main__":
    main()
