"""The engine and the types that an operator writes himself."""

from __future__ import annotations

import time
from typing import Any

import pytest

from otjd.meetings.model import DialProtocol, Organizer
from otjd.rules.engine import Engine, Result, Rule, RuleError, Step, outcome_of, problems
from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import Place, by
from otjd.rules.registry import KNOWN, supported
from tests.rules.support import alias, evaluate, invitation, match, rule

ROOMS = rule("domain", name="rooms", domain="vc.example.com")


def test_rules_are_tried_in_ascending_priority_and_the_first_match_wins() -> None:
    late = rule("domain", name="late", domain="b.example", priority=20)
    early = rule("domain", name="early", domain="a.example", priority=10)
    found = match(invitation("x@b.example y@a.example"), late, early)
    assert found is not None
    assert (found.alias, found.rule, found.meeting_type, found.protocol) == (
        "y@a.example", "early", "domain", DialProtocol.SIP)
    assert alias(invitation("x@b.example"), late, early) == "x@b.example"


def test_rules_of_equal_priority_keep_their_order() -> None:
    assert alias(invitation("x@b.example y@a.example"), rule("domain", domain="a.example"),
                 rule("domain", domain="b.example")) == "y@a.example"


def test_a_disabled_rule_is_skipped() -> None:
    assert alias(invitation("x@vc.example.com"), rule("domain", domain="vc.example.com", enabled=False)) is None


def test_rules_of_a_type_that_is_not_read_yet_are_reported_and_skipped() -> None:
    unknown_yet = [name for name in KNOWN if name not in supported()]
    engine = Engine([*(rule(name) for name in unknown_yet), ROOMS], clock=time.thread_time)
    assert [r.meeting_type for r in engine.unsupported] == unknown_yet
    found = engine.match(invitation("x@vc.example.com"))
    assert found is not None
    assert found.rule == "rooms"


def test_every_module_of_types_is_registered_under_a_known_name() -> None:
    assert {"domain", "regex", "regex_re2", "custom"} <= set(supported()) <= set(KNOWN)


@pytest.mark.parametrize(("text", "expected"), [
    ("dial board.42@vc.example.com", "board.42@vc.example.com"),
    ("Dial Room7@VC.EXAMPLE.COM.", "Room7@VC.EXAMPLE.COM"),
    ("alice@us.vc.example.com", "alice@us.vc.example.com"),
    ("<sip:alice@vc.example.com;transport=tls>", "alice@vc.example.com"),
    ("sip:alice@vc.example.com:5061", "alice@vc.example.com"),
    ("https://x.example/#/?conference=alice@vc.example.com", "alice@vc.example.com"),
    ("'alice@vc.example.com', please", "alice@vc.example.com"),
    ("alice@vc.example.com.\nbob@vc.example.com", "alice@vc.example.com"),
    ("at@ @vc.example.com bob@vc.example.com", "bob@vc.example.com"),
    ("...+47123@vc.example.comに", "+47123@vc.example.com"),
])
def test_a_domain_rule_takes_the_first_address_of_its_domain_as_printed(text: str, expected: str) -> None:
    found = match(invitation(text), ROOMS)
    assert found is not None
    assert found.alias == expected
    assert dict(found.variables) == dict(zip(("meeting_id", "domain"), expected.split("@"), strict=True))


@pytest.mark.parametrize("text", [
    "x@evilvc.example.com", "x@vc.example.com.evil.example", "alice@example.com", "https://vc.example.com/x",
    "https://alice@vc.example.com/x", "https://alice:pw@vc.example.com/", "x@vc.example.com-evil.example",
    "@vc.example.com", "x@vc.example.community", "x@vc.example.com@evil.example", "jörg@vc.example.com",
    "a" * 70 + "@vc.example.com",
    "100%x@vc.example.com", "x@vcxexample.com", "x @vc.example.com",
])
def test_a_domain_rule_does_not_take_what_only_resembles_its_domain(text: str) -> None:
    assert alias(invitation(text), ROOMS) is None


def test_a_domain_rule_looks_at_text_then_links_then_location() -> None:
    link = "<a href='mailto:link@vc.example.com'>write</a>"
    assert alias(invitation(html=f"{link} text@vc.example.com", location="l@vc.example.com"), ROOMS) == (
        "text@vc.example.com")
    assert alias(invitation(html=link, location="l@vc.example.com"), ROOMS) == "link@vc.example.com"
    assert alias(invitation(location="l@vc.example.com"), ROOMS) == "l@vc.example.com"


def test_a_transform_rule_takes_the_place_of_the_default_transform() -> None:
    given = rule("domain", domain=" .VC.example.com", default_processing_enabled=False,
                 transform_rule="{{ meeting_id|replace('.', '-') }}@{{ domain|lower }}")
    assert alias(invitation("a.b@VC.example.com"), given) == "a-b@vc.example.com"


@pytest.mark.parametrize("meeting_type", ["regex", "regex_re2"])
@pytest.mark.parametrize(("more", "text", "expected"), [
    ({"match_string": r"[\w.-]+\.vmr@example\.com"},
     "From a video system (SIP/H.323): alice.vmr@example.com", "alice.vmr@example.com"),
    ({"match_string": r"https://([^\s]+)/meet/(\d+)", "replace_string": r"\2@\1"},
     "From web browser & other ways to join:\nhttps://pexip.me/meet/123456", "123456@pexip.me"),
    ({"match_string": r"https://([^\s]+)/meet/(\d+)", "replace_string": r"\2@\1",
      "default_processing_enabled": True},
     "https://pexip.me/meet/123456", "123456@pexip.me"),
    ({"match_string": r"(?P<id>\d+)(x)?", "replace_string": r"\g<id>\2\\\g<1>"}, "room 12", r"12\12"),
    ({"match_string": "(?i)ROOM (\\d+)", "replace_string": r"\1@x"}, "room 12", "12@x"),
    ({"match_string": "ROOM"}, "room", None),
    ({"match_string": "x*"}, "room", None),
])
def test_an_expression_finds_an_alias(meeting_type: str, more: dict[str, Any], text: str,
                                      expected: str | None) -> None:
    assert alias(invitation(text), rule(meeting_type, **more)) == expected


@pytest.mark.parametrize("meeting_type", ["regex", "regex_re2"])
def test_an_expression_is_searched_in_text_links_location_and_source(meeting_type: str) -> None:
    given = rule(meeting_type, match_string=r"r/([A-Z0-9-]+)", replace_string=r"\1@x")
    html = "<p class='r/SOURCE-1'>{}<a href='https://x.example/{}'>link</a></p>"
    assert alias(invitation(html=html.format("r/TEXT-1", "r/LINK-1"), location="r/LOC-1"), given) == "TEXT-1@x"
    assert alias(invitation(html=html.format("", "r/LINK-1"), location="r/LOC-1"), given) == "LINK-1@x"
    assert alias(invitation(html=html.format("", ""), location="r/LOC-1"), given) == "LOC-1@x"
    assert alias(invitation(html=html.format("", "")), given) == "SOURCE-1@x"


def test_the_groups_of_an_expression_are_its_variables() -> None:
    found = match(invitation("room 12"),
                  rule("regex", match_string=r"(?P<what>\w+) (\d+)(x)?", replace_string=r"\2"))
    assert found is not None
    assert dict(found.variables) == {"1": "room", "2": "12", "3": "", "what": "room"}


def test_an_expression_that_backtracks_without_end_fails_and_the_next_rule_is_tried() -> None:
    bomb = rule("regex", name="bomb", match_string="(.*)*(.*)*(.*)*[^a]$")
    outcome = evaluate(invitation("x@vc.example.com " + "a" * 3000), bomb, rule(
        "domain", domain="vc.example.com", priority=2))
    assert outcome.match is not None
    assert outcome.match.alias == "x@vc.example.com"
    assert [(f.rule, f.reason) for f in outcome.failures] == [("bomb", "its expression took too long")]


@pytest.mark.parametrize(("template", "expected"), [
    (('{% set matches = pex_regex_search("([\\\\w.-]+\\\\.vmr@example\\\\.com)", calendar_event.body) %}\n'
     "{% if matches %}\n  {{ matches[0] }}\n{% endif %}"), "alice.vmr@example.com"),
    (('{% set groups = pex_regex_search("([a-z0-9.-]+)@([a-z0-9.-]+.com)", calendar_event.body) %}\n'
     "{% if groups %}\n  {{ groups[0] }}@{{ groups[1] }}\n{% endif %}"), "alice.vmr@example.com"),
    (('{% set matches = pex_regex_search("([\\\\w.-]+\\\\.vmr@example\\\\.com)", calendar_event.location) %}\n'
     "{% if matches %}\n  {{ matches[0] }}\n{% endif %}"), "bob.vmr@example.com"),
    (('{% set matches = pex_regex_search("https://call.lifesizecloud.com/([0-9.-]+)", calendar_event.body) %}\n'
     "{% if matches %}\n  {{matches[0]}}@lifesizecloud.com\n{% endif %}"), "123456@lifesizecloud.com"),
    (('{% set matches = pex_regex_search("https://meet.pajusa.com/([a-z0-9-]+)\\\\/([a-z0-9]+)\\\\/([A-Z0-9]+)", '
     "calendar_event.body) %}\n{% if matches %}\n  __sfb__{{matches[2]}}.{{matches[1]}}@{{matches[0]}}\n"
     "{% endif %}"),
     "__sfb__ABC123.alice@pexample"),
    (('{% set g = pex_regex_search("https(?:-3A_|%3A%2F%2F)pexip\\\\.me(?:_|%2F)teams'
      '(?:_|%2F)([a-z.]+)(?:_|%2F)([0-9]+)", calendar_event.body) %}'
      '{% if g %}{{ g[1] }}@{{ g[0] }}{% endif %}'),
     "123456@pexample.com"),
    ("{{ calendar_event.properties.uc_capabilities }}", "2401@example.webex.com"),
    (("{{ calendar_event.start_time.hour }}{{ calendar_event.end_time.second }}."
     "{{ calendar_event.organizer_first_name }}.{{ calendar_event.organizer_last_name }}."
     "{{ calendar_event.is_private }}.{{ calendar_event.organizer_email }}"),
     "95.Pat.Moe.False.pat.moe@example.com"),
])
def test_the_vendors_custom_templates_work(template: str, expected: str) -> None:
    meeting = invitation(
        "a alice.vmr@example.com\nhttps://call.lifesizecloud.com/123456\n"
        "https://meet.pajusa.com/pexample/alice/ABC123\n"
        "https://nam06.safelinks.protection.outlook.com/?url=https%3A%2F%2Fpexip.me%2Fteams%2Fpexample.com%2F123456",
        location="bob.vmr@example.com", properties={"uc_capabilities": "2401@example.webex.com"})
    assert alias(meeting, rule("custom", custom_template=template)) == expected


def test_a_custom_template_sees_targets_of_links_and_their_original_form() -> None:
    template = "{% set g = pex_regex_search('a.example/([0-9]+)', calendar_event.body) %}{{ g[0] }}"
    safe = "https://nam06.safelinks.protection.outlook.com/?url=https%3A%2F%2Fa.example%2F12"
    assert alias(invitation(html="<a href='https://a.example/34'>x</a>"),
                 rule("custom", custom_template=template)) == "34"
    assert alias(invitation(html=f"<a href='{safe}'>x</a>"), rule("custom", custom_template=template)) == "12"


def test_a_custom_template_without_output_is_no_match() -> None:
    assert alias(invitation("sip:a@b.example"), rule("custom", custom_template=" {{ nothing }} ")) == "a@b.example"


def test_a_name_written_last_name_first_is_understood() -> None:
    template = rule("custom", custom_template="{{ calendar_event.organizer_first_name }}."
                                              "{{ calendar_event.organizer_last_name }}")
    assert alias(invitation(organizer=Organizer("Moe, Pat")), template) == "Pat.Moe"
    assert alias(invitation(organizer=Organizer("Pat")), template) == "Pat."


@pytest.mark.parametrize(("template", "reason"), [
    ("{{ nothing.at.all }}", "something that is not there"), ("a b", "'a b' cannot be dialled"),
    ("{{ 'x' * 2000 }}", "at most 1000"), ("a\u200bb", "cannot be dialled"),
    ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "longer than 50 ms"),
])
def test_a_template_that_fails_is_reported_and_the_next_rule_is_tried(template: str, reason: str) -> None:
    outcome = evaluate(invitation("x@vc.example.com"), rule("custom", name="mine", custom_template=template),
                       rule("domain", domain="vc.example.com", priority=2))
    assert outcome.match is not None
    assert outcome.match.alias == "x@vc.example.com"
    assert [f.rule for f in outcome.failures] == ["mine"]
    assert reason in outcome.failures[0].reason


def test_a_failing_rule_is_not_tried_again_on_quoted_lines() -> None:
    outcome = evaluate(invitation("a\n> b"), rule("custom", custom_template="{{ 1 / 0 }}"))
    assert outcome.match is None
    assert len(outcome.failures) == 1


def test_blanks_around_an_alias_are_cut() -> None:
    assert alias(invitation("room  12 "), rule("regex", match_string=r" \d+ ?")) == "12"


@pytest.mark.parametrize(("given", "problem"), [
    (rule("domain"), 'rule "domain 1", domain: it is empty'),
    (rule("domain", domain="not a domain"), "found 'not a domain', expected a domain"),
    (rule("domian", name="d"), "rule \"d\", meeting_type: found 'domian', which is no type; did you mean domain?"),
    (rule("xyzzy"), "expected one of pexipinfinity, "),
    (rule("regex"), "match_string: it is empty"),
    (rule("regex", match_string="("),
     "match_string: found '(', which is no valid expression: line 1, column 2: missing )"),
    (rule("regex", match_string="(?x) a\n [z-a]"), "expression: line 2, column 6: bad character range"),
    (rule("regex_re2", match_string="("),
     "match_string: found '(', which is no valid expression: line 1, column 2: missing ): ("),
    (rule("regex_re2", match_string=r"(a)\1"), "which is no valid expression: line 1, column 4: invalid escape"),
    (rule("regex_re2", match_string=r"\*a|*b"), "line 1, column 5: no argument for repetition operator: *"),
    (rule("regex_re2", match_string="a\nb)c"), "line 2, column 2: unexpected ): "),
    (rule("regex_re2", match_string="x[[:foo:]]"), "line 1, column 3: invalid character class range: [:foo:]"),
    (rule("regex", match_string="(a)", replace_string=r"\2"),
     "replace_string: line 1, column 1: it uses group 2; match_string has 1"),
    (rule("regex", match_string="(a)", replace_string=r"\g<x>"),
     "replace_string: line 1, column 1: it uses group 'x', which match_string does not have"),
    (rule("regex", match_string="(a)", default_processing_enabled=False), "replace_string: it is empty"),
    (rule("custom"), "custom_template: it is empty"),
    (rule("custom", custom_template="\n{% if"), "custom_template: line 2, column 4, found 'if': unexpected"),
    (rule("domain", domain="a.example", default_processing_enabled=False), "transform_rule: it is empty"),
    (rule("domain", domain="a.example", transform_rule="{{ x|tojson }}"),
     "transform_rule: line 1, column 6, found 'tojson }}': there is no filter"),
    (rule("custom", custom_template="x" * 10241), "custom_template: it has 10241 characters, at most 10240"),
    (rule("regex", match_string="x" * 251), "match_string: it has 251 characters, at most 250 are allowed"),
])
def test_a_rule_that_cannot_work_is_refused_with_its_field(given: Rule, problem: str) -> None:
    with pytest.raises(RuleError) as refused:
        Engine([given], clock=time.thread_time)
    assert problem in str(refused.value)
    assert problems([ROOMS, given, rule("zoom")]) == [str(refused.value)]


def test_a_type_needs_no_more_than_a_function_and_a_transform() -> None:
    def find(event: MeetingEvent, given: Rule) -> dict[str, str] | None:
        return {"meeting_id": event.location} if given.domain in event.body.text else None

    finder = by(find)(ROOMS, lambda: 0.0)
    found = finder(MeetingEvent(invitation("vc.example.com", location="12")))
    assert found is not None
    assert (found.variables, found.alias) == ({"meeting_id": "12"}, None)
    assert finder(MeetingEvent(invitation("other"))) is None


def explain(text: str, *rules: Rule) -> tuple[Step, ...]:
    engine, meeting = Engine(rules, clock=time.thread_time), invitation(text)
    steps = engine.explain(meeting)
    assert outcome_of(steps) == engine.evaluate(meeting)
    return steps


def told(steps: tuple[Step, ...]) -> list[tuple[str, str, bool]]:
    return [(step.rule.name if step.rule else "", step.result, step.quoted) for step in steps]


OFF = rule("domain", name="off", domain="off.example", enabled=False, priority=1)
BROKEN = rule("custom", name="broken", custom_template="{{ 1 // 0 }}", priority=2)
EMPTY = rule("domain", name="empty", domain="vc.example.com", priority=3, default_processing_enabled=False,
             transform_rule="{% if false %}x{% endif %}")
WINS = rule("domain", name="wins", domain="vc.example.com", priority=4)
LATE = rule("domain", name="late", domain="vc.example.com", priority=5)


def test_every_rule_explains_itself_in_order_up_to_the_fallback() -> None:
    steps = explain("x@vc.example.com", LATE, WINS, EMPTY, BROKEN, OFF)
    assert told(steps) == [("off", Result.DISABLED, False), ("broken", Result.FAILED, False),
                           ("empty", Result.NOTHING, False), ("wins", Result.MATCHED, False),
                           ("late", Result.NOT_REACHED, False), ("", Result.NOT_REACHED, False)]
    assert "ZeroDivisionError" in steps[1].reason
    assert steps[2].variables == steps[3].variables == {"meeting_id": "x", "domain": "vc.example.com"}
    assert (steps[2].template, steps[3].template) == ("{% if false %}x{% endif %}", "{{meeting_id}}@{{domain}}")
    assert steps[3].looks_in == (Place.BODY, Place.LOCATION)
    assert steps[3].match is not None


def test_rules_are_explained_again_for_quoted_lines_unless_they_failed() -> None:
    steps = explain("hello\n> x@vc.example.com\n", WINS, BROKEN)
    assert told(steps) == [("broken", Result.FAILED, False), ("wins", Result.NOTHING, False),
                           ("wins", Result.MATCHED, True), ("", Result.NOT_REACHED, False)]


def test_the_fallback_explains_itself_last() -> None:
    assert told(explain("sip:x@y.example", WINS)) == [("wins", Result.NOTHING, False), ("", Result.MATCHED, False)]
    assert told(explain("hello\n> sip:x@y.example\n")) == [("", Result.MATCHED, True)]
    assert told(explain("hello")) == [("", Result.NOTHING, False)]


@pytest.mark.parametrize("meeting_type", ["regex", "regex_re2"])
@pytest.mark.parametrize("expression", [r"^https://b\.example/(\d+)$", r"\bb\.example/(\d+)",
                                        r"[/]b\.example/(\d+)", r"(?:a|b)\.example/([4]\d+)"])
def test_an_expression_sees_each_link_on_its_own(meeting_type: str, expression: str) -> None:
    links = "".join(f"<a href='https://{host}'>x</a> " for host in ("a.example/x", "b.example/47", "c.example/1"))
    found = match(invitation(html=links), rule(meeting_type, match_string=expression, replace_string=r"\1@y.test",
                                               default_processing_enabled=False))
    assert found is not None
    assert found.alias == "47@y.test"
