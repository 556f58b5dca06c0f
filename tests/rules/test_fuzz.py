"""Whatever an invitation holds, the engine answers."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from otjd.rules.engine import Engine
from tests.rules.support import invitation, rule

ENGINE = Engine([
    rule("domain", domain="vc.example.com"),
    rule("regex", match_string=r"room\s+(\S+)|(.)!", replace_string=r"\1@x"),
    rule("regex_re2", match_string=r"(?s)\[(.*?)\]"),
    rule("custom",
         custom_template="{% set g = pex_regex_search('id=(.+)', calendar_event.body) %}"
                         "{{ g[0] }}"),
], clock=time.thread_time)
PIECES = st.sampled_from([
    "sip:", "sips:", "h323:", "SIP: ", "@", "vc.example.com", "a", "1", ".", "-", " ", "\n", "\u00a0", "\u200b",
    "<", ">", "&lt;", "&#", "<a href='", "<a href=\"", "'>", "\">", "</a>", "<div>", "</div>", "<script>",
    "<!--", "-->", "%", "%40", "https://", "https://nam01.safelinks.protection.outlook.com/?url=",
    "https://urldefense.com/v3/__", "__;", "!!", "**", "https://urldefense.proofpoint.com/v2/url?u=", "> ", "[",
    "]", "room ", "id=", "\x00", "\ud800", "im:", "é", "会",
])
TEXT = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text())


@settings(max_examples=300, deadline=None)
@given(TEXT, TEXT, TEXT)
def test_no_invitation_makes_it_fail_and_no_alias_holds_blanks(text: str, html: str, location: str) -> None:
    match = ENGINE.match(invitation(text, html=html, location=location))
    if match is not None:
        assert match.alias
        assert len(match.alias) <= 1000
        assert not any(c.isspace() for c in match.alias)
        assert match.alias.isprintable()
