"""Templates: what they can do, and that they cannot do harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from otjd.rules.filters import Surroundings
from otjd.rules.templates import TemplateFailure, compile_template


def render(source: str, *, limit: int = 1000, surroundings: Surroundings | None = None, **variables: Any) -> str:
    return compile_template(source, clock=lambda: 0.0, limit=limit, surroundings=surroundings).render(**variables)


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that goes on by `step_s` at each look."""
    ticks = count()
    return lambda: next(ticks) * step_s


@pytest.mark.parametrize(("source", "expected"), [
    ("{{ meeting_id }}@{{ domain }}", "board@vc.example.com"),
    ("{{ meeting_id|upper }}", "BOARD"),
    ("{{ nothing }}|{{ nothing|default('x') }}|{{ none }}", "|x|"),
    ("{% if domain == 'vc.example.com' and not meeting_id is none %}y{% else %}n{% endif %}", "y"),
    ("{% for a, b in {'x': 1, 'y': 2}.items() if b > 1 %}{{ a }}{{ loop.index }}{{ loop.cycle('u') }}{% endfor %}",
     "y1u"),
    ("{% for i in range(3) %}{{ i }}{% if not loop.last %},{% endif %}{% else %}none{% endfor %}", "0,1,2"),
    ("{% set n = namespace(x=1) %}{% for i in [1, 2, 3] %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}", "7"),
    ("{% macro m(x) %}<{{ x }}{{ caller() if caller }}>{% endmacro %}{{ m('a') }}{% call m('b') %}c{% endcall %}",
     "<a><bc>"),
    ("{% set x %}abc{% endset %}{{ x|upper }}{% filter upper %}q{% endfilter %}", "ABCQ"),
    ("{{ 'a' ~ 1 ~ meeting_id[1:3] ~ (1, 2)[0] }}", "a1oa1"),
    ("{{ 'a,b'.split(',')[1] ~ '-'.join(['x', 'y']) ~ 'aXa'.replace('a', 'bb') ~ ' z '.strip() }}", "bx-ybbXbbz"),
    ("{{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ 3 * 2 - 1 }} {{ 'ab' * 2 }} {{ '%03d' % 7 }}",
     "3 3 1024 5 abab 007"),
    ("{{ {'a': {'b': 1}}.a.b }}{{ {'items': 5}.items }}{{ [1, 2].count(1) }}", "151"),
    ("{{ 'a' in ['a'] }} {{ 'a' in 'cat' }} {{ 1 < 2 < 3 }}", "True True True"),
])
def test_a_template_renders(source: str, expected: str) -> None:
    assert render(source, meeting_id="board", domain="vc.example.com") == expected


@pytest.mark.parametrize(("source", "expected"), [
    ("{{ -3|abs }}", "3"), ("{{ 'aB'|capitalize }}", "Ab"), ("{{ ''|default('x', true) }}", "x"),
    ("{{ [1, 2]|first }}{{ [1, 2]|last }}{{ []|first }}{{ []|last }}", "12"), ("{{ '1.5'|float }}", "1.5"),
    ("{{ '%s-%02d'|format('a', 5) }} {{ '%(x)s'|format(x=1) }}", "a-05 1"), ("{{ '12x'|int(7) }}", "7"),
    ("{{ [1, 'b']|join('-') }}", "1-b"), ("{{ 'abc'|length }}", "3"), ("{{ 'AB'|lower }}", "ab"),
    ("{{ 3|range|join }}", "012"), ("{{ 'a.b.c'|replace('.', '', 1) }}", "ab.c"), ("{{ 2.567|round(1) }}", "2.6"),
    ("{{ '<b>a</b>  <!-- x > y -->c <'|striptags }}", "a c <"), ("{{ ' a '|trim }}{{ 'xax'|trim('x') }}", "aa"),
    ("{{ 'one two three'|truncate(9, leeway=0) }} {{ 'abcdef'|truncate(4, true, '', 0) }} {{ 'abc'|truncate }}",
     "one... abcd abc"),
    ("{{ 'ab'|pex_base64 }}", "YWI="), ("{{ '+47 (22) 5'|pex_clean_phone_number }}", "+47225"),
    ("{{ ['a1', 'b2']|pex_find_first_match('^b') }}{{ ['a']|pex_find_first_match('z') }}", "b2"),
    ("{{ 'a'|pex_md5 }}", "0cc175b9c0f1b6a831c399e269772661"), ("{{ 'a'|pex_hash|pex_strlen }}", "64"),
    ("{{ 'abcd'|pex_head(2) }}{{ 'abcd'|pex_tail(1) }}{{ 'a'|pex_tail(0) }}", "abd"),
    ("{{ pex_in_subnet('10.1.2.3', ['10.0.0.0/8']) }} {{ '::1'|pex_in_subnet('fe80::/10') }}", "True False"),
    ("{{ 'pat@a.com'|pex_regex_replace('@.+', '@b.com') }}", "pat@b.com"),
    ("{{ 'x1y2'|pex_regex_replace('([a-z])([0-9])', '\\\\2\\\\1') }}", "1x2y"),
    ("{{ 'room 12'|pex_regex_search('([a-z]+) ([0-9]+)(x)?') }}", "['room', '12', '']"),
    ("{{ pex_regex_search('no', 'yes') }}", "[]"), ("{{ 'abc'|pex_reverse }}", "cba"),
    ("{{ 'abc'|pex_require_min_length(3) }}", "abc"), ("x{{ 'ab'|pex_require_min_length(3) }}y", ""),
    ("{{ {'a': [1, 'ø']}|pex_to_json }}", '{"a": [1, "ø"]}'),
    ("{{ 'ABEiM0RVZneImaq7zN3u/w=='|pex_to_uuid }}", "00112233-4455-6677-8899-aabbccddeeff"),
    ("{{ ({'a': 1}|pex_update({'b': 2}))|pex_to_json }}", '{"a": 1, "b": 2}'),
    (("{{ 'a%20b+c'|pex_url_decode }} {{ 'a b/c'|pex_url_encode }} {{ [('a', 'b c')]|pex_url_encode }} "
     "{{ {'x': 1}|pex_url_encode }}"), "a b c a%20b%2Fc a=b+c x=1"),
    (("{{ 'see https://nam01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fa.example%2Fx&data=1 now'"
     "|pex_safelinks_decode }}"), "see https://a.example/x now"),
    ("{{ 'https://urldefense.proofpoint.com/v2/url?u=https-3A__a.example_x&d=1'|pex_urldefense_decode }}",
     "https://a.example/x"),
])
def test_a_filter_does_what_is_documented(source: str, expected: str) -> None:
    assert render(source) == expected


def test_filters_that_need_the_world_are_given_it() -> None:
    said: list[str] = []
    world = Surroundings(now=lambda: datetime(2026, 7, 1, 10, 5, tzinfo=UTC),
                         random_bytes=lambda n: bytes(range(n)),
                         debug_log=said.append)
    assert render("{% set n = pex_now('Europe/Oslo') %}{{ n.hour }}:{{ n.minute }}", surroundings=world) == "12:5"
    assert render("{{ pex_random_pin(4) }} {{ pex_uuid4() }}", surroundings=world) == (
        "0123 00010203-0405-4607-8809-0a0b0c0d0e0f")
    assert render("{{ pex_debug_log('hello') }}{{ 'x'|pex_debug_log }}", surroundings=world) == ""
    assert said == ["hello", "x"]


@pytest.mark.parametrize("source", ["{{ pex_now() }}", "{{ pex_random_pin(3) }}", "{{ pex_uuid4() }}"])
def test_filters_that_need_the_world_fail_without_it(source: str) -> None:
    with pytest.raises(TemplateFailure, match="not available here"):
        render(source)
    assert render("{{ pex_debug_log('x') }}") == ""


@pytest.mark.parametrize(("source", "problem"), [
    ("a\nb{{ x|e }}", r"line 2, column 7, found 'e }}': there is no filter 'e'; available are abs, .*upper$"),
    ("\n\n{{ x|safe", "line 3, column 6, found 'safe': unexpected end of template"),
    ("{% if x %}", "line 1, column 9, found '%}': Unexpected end of template"),
    ("{{ x is callable }}", "line 1, column 6, found 'is callable }}': there is no test 'callable'"),
    ("{% include 'x' %}", "line 1, column 4, found .*: include is not available"),
    ("\n{% import 'x' as y %}", "line 2, column 4, found .*: import is not available"),
    ("{% extends 'x' %}", "line 1, column 4, found .*: extends is not available"),
    ("{% block a %}{{ self.a() }}{% endblock %}", "line 1, column 4, found .*: block is not available"),
    ("{% autoescape true %}{% endautoescape %}", "line 1, column 4, found .*: scopedevalcontextmodifier is not"),
    ("{% for i in x recursive %}{% endfor %}", "line 1, column 4, found .*: recursive loops are not available"),
    ("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}", "nested too deeply"),
    ("{{ 1" + "+1" * 2000 + " }}", "nested too deeply"),
    ("{{ " + "9" * 6000 + " }}", "line 1: "),
    ("{{ meeting_id }\n}}", "line 1, column 15, found '}': unexpected '}'"),
    ("a\r\n{{- x -}}  \n {{ a b }}", "line 3, column 7, found 'b }}': expected token 'end of print statement'"),
    ("{# a\n #}{% if x %}\n{{ $ }}", r"line 3, column 4, found '\$ }}': unexpected char"),
    ("{{ 'a\nb' ~ 'a' 'b' }} {{ x|nope }}", "line 2, column 22, found 'nope }}': there is no filter"),
])
def test_what_is_no_template_is_refused_with_line_and_column(source: str, problem: str) -> None:
    with pytest.raises(TemplateFailure, match=problem):
        compile_template(source, clock=lambda: 0.0)


@pytest.mark.parametrize("source", [
    "{{ ''.__class__ }}", "{{ ''['__class__'] }}", "{{ x.__init__ }}", "{{ x|first.__class__ }}",
    "{{ 'a'.format(1) }}", "{{ 'a'['format_map']({}) }}", "{{ 'a'.encode() }}", "{{ 'a'.ljust(9) }}",
    "{{ [].append(1) }}", "{{ x.pop('a') }}", "{{ x.update({}) }}", "{{ (1).to_bytes(9) }}",
    "{{ range.__globals__ }}", "{{ namespace.__init__ }}", "{{ loop.__class__ }}", "{{ x() }}", "{{ 'a'() }}",
    "{{ pex_regex_search.__closure__ }}", "{{ range }}", "{{ namespace }}", "{{ nothing() }}", "{{ nothing.a }}",
    "{% for i in [1] %}{{ loop.__init__ }}{% endfor %}", "{% for i in [1] %}{{ loop() }}{% endfor %}",
    "{% set n = namespace() %}{{ n.__class__ }}", "{% set n = namespace() %}{{ n }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__ }}", "{% macro m() %}{% endmacro %}{{ [m] }}",
])
def test_what_is_not_named_cannot_be_reached(source: str) -> None:
    with pytest.raises(TemplateFailure):
        render(source, x={"a": "b"})


@pytest.mark.parametrize("source", ["{{ context }}", "{{ self }}", "{{ environment }}", "{{ cycler }}",
                                    "{{ lipsum }}",
                                    "{{ dict }}", "{{ joiner }}", "{{ budget }}"])
def test_stock_globals_are_not_there(source: str) -> None:
    template = compile_template(source, clock=lambda: 0.0)
    try:
        assert template.render() == ""
    except TemplateFailure:
        assert "self" in source


def bombs() -> Iterator[str]:
    doubling = "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}"
    yield "{{ 'x' * 100000000 }}"
    yield "{{ 100000000 * 'x' }}"
    yield "{{ [1] * 100000000 }}"
    yield "{{ 10 ** 100000 }}"
    yield "{{ (2 ** 4000) * (2 ** 4000) }}"
    yield "{{ '%99999999d' % 1 }}"
    yield "{{ '%*d' % (99999999, 1) }}"
    yield "{{ '%.99999999f'|format(1) }}"
    yield "{{ 1|round(999999999, 'ceil') }}"
    yield "{{ range(100000000)|join }}"
    yield doubling + "{{ " + "m(" * 40 + "'aaaaaaaa'" + ")" * 40 + " }}"
    yield "{% macro m(x) %}{{ m(x) }}{{ m(x) }}{% endmacro %}{{ m(1) }}"
    yield "{% macro m() %}{{ m(varargs, varargs) }}{% endmacro %}{{ m(1) }}"
    yield "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}"
    yield "{% set a = {'x': 1} %}" + "{% set a = {'x': a, 'y': a} %}" * 40 + "{{ a }}"
    yield "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}"
    yield "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a + a %}" * 40 + "{{ a }}"
    yield "{% set a = 'x' * 900000 %}" + "{% set b = a[1:] %}" * 100
    yield "{% set a = 'x' * 900000 %}{{ a.replace('x', 'yyyyyyyyyy') }}"
    yield "{% set a = 'x' * 900000 %}{{ a|replace('', 'yyyyyyyyyy') }}"
    yield "{% set a = 'x' * 900000 %}{{ a.join(['', '', '', '']) }}"
    yield "{% set a = 'x' * 900000 %}{{ ['', '', '', '']|join(a) }}"
    yield "{% set a = 'x' * 900000 %}{{ a.rsplit('y' * 1000) }}"
    yield "{% set a = 'x' * 900000 %}{{ a|trim('y' * 1000) }}"
    yield "{% set n = namespace(x=1) %}{% set n.x = [n, n] %}{{ n.x }}"
    yield "{{ pex_regex_search('x' * 900000, 'x') }}"


@pytest.mark.parametrize("source", list(bombs()))
def test_memory_is_bounded(source: str) -> None:
    with pytest.raises(TemplateFailure):
        compile_template(source, clock=lambda: 0.0).render()


@pytest.mark.parametrize("source", [
    "{% for i in range(9999) %}{% for j in range(9999) %}{% set a = 1 %}{% endfor %}{% endfor %}",
    "{% for i in range(9999) %}{% for j in range(9999) %}{% if i == j %}{% endif %}{% endfor %}{% endfor %}",
    "{{ 'x'.upper() }}{{ 1 + 1 }}{{ 'a' ~ 'b' }}{{ 'a'|upper }}",
])
def test_time_is_bounded_from_within(source: str) -> None:
    template = compile_template(source, clock=ticking(0.011))
    with pytest.raises(TemplateFailure, match="longer than 50 ms"):
        template.render()


def test_an_expression_that_backtracks_without_end_is_stopped() -> None:
    template = compile_template("{{ pex_regex_search('(.*)*(.*)*(.*)*[^a]$', body) }}", clock=time.monotonic)
    with pytest.raises(TemplateFailure, match="took too long"):
        template.render(body="a" * 2000)


def test_replacing_everywhere_in_a_long_text_is_bounded() -> None:
    template = compile_template("{{ body|pex_regex_replace('a', 'bbbbbbbbbb') }}", clock=lambda: 0.0)
    with pytest.raises(TemplateFailure, match=r"more than|took too long"):
        template.render(body="a" * 900_000)


def test_output_beyond_the_limit_fails_and_the_limit_can_be_set() -> None:
    with pytest.raises(TemplateFailure, match="makes 1001 characters, at most 1000 are allowed"):
        render("{{ 'x' * 1001 }}")
    assert len(render("{{ 'x' * 64000 }}", limit=64_000)) == 64_000


def test_blanks_around_an_output_do_not_count_against_the_limit() -> None:
    assert render("{% for i in range(2000) %}\n{% endfor %}alias") == "alias"


def test_what_values_cannot_be_used_is_said() -> None:
    with pytest.raises(TemplateFailure, match="object cannot be used"):
        render("{{ x }}", x=object())
    with pytest.raises(TemplateFailure, match="something that is not there: 'nothing' is undefined"):
        render("{{ nothing.x }}")
    with pytest.raises(TemplateFailure, match="ZeroDivisionError"):
        render("{{ 1 / 0 }}")


def test_a_template_is_rendered_by_several_threads_at_a_time() -> None:
    template = compile_template("{% for i in range(50) %}{{ x }}{% endfor %}", clock=lambda: 0.0)
    wrong: list[str] = []

    def work(x: str) -> None:
        wrong.extend(r for r in (template.render(x=x) for _ in range(50)) if r != x * 50)

    threads = [threading.Thread(target=work, args=(x,)) for x in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
