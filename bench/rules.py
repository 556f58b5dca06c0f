"""How fast rules read invitations, beside the same bodies only parsed by lxml, in turns in the same run.

    python bench/rules.py            1,000 bodies of 20 to 200 kB through a profile with every type, the sample
                                     invitations where they are beside the checkout, and the worst cases
    python bench/rules.py --smoke    a few, to see that it runs
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from lxml import html

from otjd.meetings.model import Invitation
from otjd.rules.engine import Engine, Rule
from otjd.rules.html_body import read_html
from otjd.rules.invitation_json import invitation_from_json
from otjd.rules.registry import supported

T = TypeVar("T")

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SAMPLES = Path(__file__).parents[2] / "shared" / "invitations"
PARAGRAPH = ('<p class=MsoNormal><span lang=EN-US style=\'font-size:11.0pt;font-family:"Calibri",sans-serif\'>'
             "{text}<o:p></o:p></span></p>\r\n")
WORDS = ("agenda", "budget", "review", "customer", "planning", "call 2{n}1", "room", "table")
LINK = "https://intranet.example.com/page/{n}"
LINK_EVERY = 5
"""Paragraphs of twenty words to one that ends with a link."""
INVITES = ("", "Join: {n}@vc.example.com", "SIP: 9{n}@zoomcrc.com",
           '<a href="https://teams.microsoft.com/l/meetup-join/19%3ameeting_{n}%40thread.v2/0">Join the call</a>')
WORST = {
    "5 MB of paragraphs": PARAGRAPH.format(text="agenda and table 12") * 40_000,
    "5 MB of deep nesting": "<div>" * 1_000_000,
    "5 MB of inline tags": "<b>x</b>" * 625_000,
    "5 MB of tables": "<table><tr><td>1</td></tr></table>" * 150_000,
    "100,000 links": "<a href='https://intranet.example.com/p/{n}'>page</a> " * 100_000,
    "100,000 bare links": "see https://intranet.example.com/page?a=b. " * 100_000,
    "20,000 attributes": "<p " + " ".join(f"a{n}=1" for n in range(20_000)) + ">x</p>",
    "blanks": "<p>" + " " * 5_000_000 + "</p>",
    "digits": "<p>" + "1 2" * 1_600_000 + "</p>",
    "at signs": "<p>" + "a@" * 2_500_000 + "</p>",
    "addresses": "<p>" + "pat@example.com, " * 290_000 + "</p>",
    "dots": "<p>" + "a." * 2_500_000 + "</p>",
    "every sign again and again": "<p>" + ("a@x.webex.com zoomcrc.com 123456789@1.2.3.4 plcm.vc bjn.vc tel.meet "
                                           "pexip.me /msteams 1234567890123@example.com microsoft teams: 123 456 "
                                           "1234567890@t.plcm.vc sip: h323: meet.google.com\n") * 25_000 + "</p>",
    "labels": "<p>zoomcrc.com 123456789@zoomcrc.com " + "passcode: meeting id: video id: " * 150_000 + "</p>",
}


def body(size: int, chance: random.Random) -> str:
    """An HTML body in Outlook's manner; in one of four is nothing to dial, in the others it comes last."""
    parts = ["<html><head><style>p.MsoNormal{margin:0}</style></head><body><div class=WordSection1>"]
    length = 0
    while length < size:
        words = [chance.choice(WORDS) for _ in range(20)] + [LINK] * (len(parts) % LINK_EVERY == 0)
        text = " ".join(word.replace("{n}", str(chance.randrange(10**6))) for word in words)
        parts.append(PARAGRAPH.format(text=text))
        length += len(parts[-1])
    invite = chance.choice(INVITES).replace("{n}", str(chance.randrange(10**9, 10**10)))
    return "".join((*parts, PARAGRAPH.format(text=invite), "</div></body></html>"))


def every_type() -> Engine:
    """An engine with one rule of each type."""
    rules = [Rule(name=name, priority=place, meeting_type=name, domain="vc.example.com", company_id="acme",
                  match_string=r"room-(\d{4,8})@", custom_template="{{ '' }}")
             for place, name in enumerate(sorted(supported()), 1)]
    return Engine(rules, clock=time.thread_time)


def invitation(text: str) -> Invitation:
    """An invitation with this HTML body."""
    return Invitation("u", START, START + timedelta(hours=1), body_html=text)


def cpu_s(job: Callable[[T], object], inputs: Sequence[T]) -> list[float]:
    """Seconds of processor time for each input."""
    took = []
    for given in inputs:
        began = time.process_time()
        job(given)
        took.append(time.process_time() - began)
    return took


def synthetic(engine: Engine, bodies: Sequence[str]) -> None:
    """Synthetic bodies: the rules, reading alone, and lxml alone."""
    found = sum(engine.match(invitation(text)) is not None for text in bodies)
    rules_s: list[float] = []
    read_s: list[float] = []
    parse_s: list[float] = []
    for at in range(0, len(bodies), 10):  # in turns, so that all meet the same machine
        some = bodies[at:at + 10]
        parse_s += cpu_s(html.document_fromstring, some)
        read_s += cpu_s(read_html, some)
        rules_s += cpu_s(lambda text: engine.match(invitation(text)), some)
    kb = sum(map(len, bodies)) / 1000
    print(f"{len(bodies)} bodies, {kb / len(bodies):.0f} kB on average, {found} with an alias, "
          f"{len(supported())} rules")
    for name, took in (("rules", rules_s), ("HTML reading", read_s), ("lxml alone", parse_s)):
        print(f"{name:14s}{len(bodies) / sum(took):8.0f}/s   median {statistics.median(took) * 1000:6.2f} ms   "
              f"worst {max(took) * 1000:6.1f} ms   {sum(took) / sum(parse_s):6.2f} times lxml alone")
    print(f"HTML reading is {sum(read_s) / sum(rules_s):.0%} of the time of the rules")


def samples(engine: Engine) -> None:
    """The sample invitations, each of a few kB, through the same profile."""
    meetings = [invitation_from_json(json.loads(path.read_text("utf-8")))[0] for path in sorted(SAMPLES.glob("*"))]
    if not meetings:
        print("the sample invitations are not beside the checkout (../shared/invitations)")
        return
    took = cpu_s(engine.match, meetings * 3)[len(meetings):]
    print(f"{len(meetings)} sample invitations: {len(took) / sum(took):.0f}/s, "
          f"median {statistics.median(took) * 1000:.2f} ms, worst {max(took) * 1000:.1f} ms")


def worst(engine: Engine, share: float) -> None:
    """Bodies that are meant to take long."""
    for name, text in WORST.items():
        given = invitation(text[:int(len(text) * share)])
        took = min(cpu_s(engine.match, [given] * 2))
        print(f"{name:28s}{len(given.body_html) / 1e6:5.1f} MB {took * 1000:8.1f} ms"
              f"{'   more than 250 ms' * (took > 0.25)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    chance = random.Random(1)  # noqa: S311 - the same bodies in every run
    engine = every_type()
    synthetic(engine, [body(chance.randrange(20_000, 200_000), chance) for _ in range(4 if smoke else 1000)])
    samples(engine)
    worst(engine, 0.05 if smoke else 1)


if __name__ == "__main__":
    main()
