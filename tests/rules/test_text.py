"""Bodies become text and links."""

from __future__ import annotations

import pytest

from otjd.meetings.model import Invitation
from otjd.rules.event import MeetingEvent
from otjd.rules.text import HTML_LIMIT, read_body
from tests.rules.support import invitation

SAFE = "https://nam01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fa.example%2Fx%3Fb%3D1&amp;data=1"


def whole(meeting: Invitation) -> str:
    return MeetingEvent(meeting).whole_text


def test_blocks_break_lines_and_inline_elements_do_not() -> None:
    body = read_body(invitation(html="<div>Meeting <b>ID</b>:&nbsp;<span>12</span><span>3</span></div>"
                                     "<p>a<br>b</p><table><tr><td>SIP:</td><td>x@y.z</td></tr>"
                                     "<tr><td>q</td></tr></table>"
                                     "<ul><li>one\nline</li></ul>c<o:p>d</o:p>"))
    assert [line for line in body.text.split("\n") if line] == [
        "Meeting ID: 123", "a", "b", "SIP: x@y.z", "q", "one line", "cd"]


def test_what_nobody_sees_is_in_no_link_and_no_location() -> None:
    body = read_body(invitation(html="<a href='https://a.exam\u200bple/\u00ad1'>x</a><a href='"
                                     "https://nam01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fa.example%2F"
                                     "%E2%80%8B2&amp;data=1'>y</a>"))
    assert body.links == ("https://a.example/1", "https://a.example/2")
    assert MeetingEvent(invitation(location="\ufeff pexip://\u200bx@a.example ")).location == "pexip://x@a.example"


def test_preformatted_lines_stay() -> None:
    assert read_body(invitation(html="<pre>a\nb</pre>c\nd")).text == "a\nb\nc d"


def test_invisible_parts_are_left_out() -> None:
    body = read_body(invitation(html="<head><title>t</title><style>p {}</style></head><p>a\u200bb"
                                     "<script>x()</script>"
                                     "<!-- c -->\u00ad</p>"))
    assert body.text == "ab"


def test_targets_of_links_are_collected_in_their_order() -> None:
    body = read_body(invitation(
        html=f"<a href='https://one.example/?a=1&amp;b=2'>One</a> <a name=x>none</a> <a href='#top'>top</a>"
             f'<a href="{SAFE}" originalsrc="https://two.example/">Two</a> <a href="{SAFE}">Three</a>'
             '<a href="sip:board@vc.example.com">sip:board@vc.example.com</a> bare https://four.example/x.'))
    assert body.links == ("https://one.example/?a=1&b=2", "https://two.example/", "https://a.example/x?b=1",
                          "sip:board@vc.example.com", "https://four.example/x")
    assert "One<https://one.example/?a=1&b=2> none top" in body.marked
    assert "One none" in body.text
    assert body.html.startswith("<a href=")


def test_links_of_outlooks_text_form_end_where_the_delimiter_stands() -> None:
    body = read_body(invitation("Join<https://a.example/?x=1&amp;prefix=mfa.> or (see https://b.example/q). "
                                "x@y.z<mailto:x@y.z>\r\nhttps://c.example/a(b)"))
    assert body.links == ("https://a.example/?x=1&prefix=mfa.", "https://b.example/q", "mailto:x@y.z",
                          "https://c.example/a(b)")
    assert body.text == body.marked


def test_quoted_lines_stand_apart() -> None:
    body = read_body(invitation("Fine.\n\n> Room: 12\n>> https://old.example/\n> end\nhttps://new.example/"))
    assert body.text == "Fine.\n\nhttps://new.example/"
    assert body.links == ("https://new.example/",)
    assert body.quoted is not None
    assert body.quoted.text == "Room: 12\nhttps://old.example/\nend"
    assert body.quoted.links == ("https://old.example/",)


def test_quoted_lines_of_html_stand_apart_with_their_links() -> None:
    body = read_body(invitation(html="<p>Yes</p><p>&gt; <a href='https://old.example/'>Join</a></p>"))
    assert (body.text, body.links) == ("Yes", ())
    assert body.quoted is not None
    assert body.quoted.links == ("https://old.example/",)


def test_the_whole_text_has_quoted_lines_in_their_place_and_the_targets_of_links() -> None:
    assert whole(invitation("Fine.\n> Room: 12\nYes")) == "Fine.\n> Room: 12\nYes"
    html = "<p>Yes <a href='https://new.example/'>Join</a></p><p>&gt; No</p><p>Bye</p>"
    assert whole(invitation("plain", html=html)) == "Yes Join<https://new.example/>\n> No\nBye"
    assert whole(invitation("plain", html="<p>&nbsp;</p>")) == "plain"


def test_html_goes_before_text_unless_it_holds_nothing() -> None:
    assert read_body(invitation("plain", html="<p>rich</p>")).text == "rich"
    assert read_body(invitation("plain", html="<html><body><p>&nbsp;</p></body></html>")).text == "plain"
    assert read_body(invitation(html="<html></html>")).text == ""
    assert read_body(invitation()).text == ""


def test_html_that_came_as_text_is_read_as_html() -> None:
    body = read_body(invitation('Join:<br><a href="https://a.example/1">here</a>'))
    assert body.text == "Join:\nhere"
    assert body.links == ("https://a.example/1",)
    assert read_body(invitation("a <b c> d<https://x.example/> <br>")).links == ("https://x.example/",)


@pytest.mark.parametrize("html", [
    "<div>" * 5000 + "text <a href=\"https://a.example/?x=1&amp;y=2\">x</a><script>no</script><style>no</style>"
    "<p>more</p>" + "</div>" * 5000,
    "<b>" * 3000 + "text <a originalsrc='https://a.example/?x=1&y=2' href='https://wrapped.example'>x</a><br>more",
])
def test_html_that_no_parser_takes_is_read_all_the_same(html: str) -> None:
    body = read_body(invitation(html=html))
    assert body.text.split() == ["text", "x", "more"]
    assert body.links == ("https://a.example/?x=1&y=2",)


@pytest.mark.parametrize("html", ["<", "<a href=", "<?xml version='1.0' encoding='utf-16'?><p>x</p>",
                                  "\x00<p>x</p>",
                                  "<![CDATA[x]]>", "<a href='https://[bad'>x</a>", "\ud800<p>x</p>", "</a></p>x",
                                  "<!DOCTYPE x SYSTEM 'file:///etc/passwd'><p>x&y;</p>", "<style>",
                                  "&#0;&#xD800;x"])
def test_broken_html_does_not_fail(html: str) -> None:
    assert "passwd" not in read_body(invitation(html=html)).text


def test_a_huge_body_is_cut() -> None:
    body = read_body(invitation(html="<p>x</p>" * (HTML_LIMIT // 8 + 1000)))
    assert len(body.html) == HTML_LIMIT
    assert body.text.startswith("x\n")


@pytest.mark.parametrize("piece", ["<a href='https://x", "((((", "https://x.example/))))", "<sip:", "> > > ",
                                   "&lt;",
                                   "<https://" + "a" * 100, "<!--", "<script>", "sip:", "im:<", "@"])
def test_reading_is_linear(piece: str) -> None:
    read_body(invitation(html=piece * 20_000))
    read_body(invitation(piece * 20_000))
