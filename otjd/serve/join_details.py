"""What an endpoint is told about how to join: Location, and the Body made from a template."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from importlib import resources

from twisted.logger import Logger

from otjd.meetings.model import DialProtocol, Meeting
from otjd.protocol import poly_token
from otjd.protocol.ews_ids import CHANGE_KEY_BYTES
from otjd.protocol.ews_items import dial_uri
from otjd.rules.templates import Template, TemplateFailure, compile_template
from otjd.serve.join_style import APPEND, AUTO, DROP, USUAL, JoinStyle

BODY_LIMIT = 20_000
"""Characters of a body."""

_LINE_END = "\r\n"
_OWN_TEMPLATES = ("hdx", "trio")  # of the others nothing is known that asks for another text than the common one


def built_in_template(family: str = AUTO) -> str:
    """The template that endpoints of a family get where the operator has none for them."""
    name = f"poly_body_{family}.txt.j2" if family in _OWN_TEMPLATES else "poly_body.txt.j2"
    return resources.files("otjd").joinpath("templates", name).read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Details:
    """The join details of one meeting for endpoints of one style. Lines of `text` end with CRLF, as Exchange's do.

    All is empty where there is nothing to dial and the template says nothing about that. What few endpoints ask
    for is made when they do: the details of thousands of meetings are kept.
    """

    meeting: Meeting
    style: JoinStyle
    text: str

    @property
    def uri(self) -> str:
        """What to dial."""
        return dial_uri(self.meeting)

    @property
    def html(self) -> str:
        """The lines of `text` as a document."""
        return _html(self.text.split(_LINE_END)) if self.text else ""

    @property
    def tokens(self) -> Mapping[str, str]:
        """The POLYCOM-* properties."""
        alias = self.uri.partition(":")[2]
        return poly_token.vmr_values(alias, split=_is_split(self.uri, self.style.split)) if alias else {}


class _Family:
    """The templates of one family: the operator's, if any, and the built-in one that steps in for it."""

    _log = Logger()

    def __init__(self, family: str, own: tuple[str, str] | None, clock: Callable[[], float]) -> None:
        built_in = built_in_template(family)
        self._key, source = own or ("", built_in)
        self._built_in = compile_template(built_in, clock=clock, limit=BODY_LIMIT)
        self._own = None if own is None else compile_template(source, clock=clock, limit=BODY_LIMIT)
        self._warned = False
        self.source = source

    def render(self, variables: Mapping[str, object]) -> str:
        """The text of the template."""
        if self._own is not None:
            try:
                return self._own.render(**variables)
            except TemplateFailure as failure:
                self._warn(failure)
        return _render_built_in(self._built_in, variables)

    def _warn(self, failure: TemplateFailure) -> None:
        if not self._warned:
            self._warned = True
            self._log.warn("The template of calendar_service.{key} failed, the built-in one is used where it "
                           "does: {reason}", key=self._key, reason=str(failure))


class JoinDetails:
    """Makes the join details of meetings: from the operator's template for the family of an endpoint, else from
    that for all families (`source`), else from the built-in one of the family.

    `clock` gives monotonic seconds. Where an operator's template fails on a meeting, that meeting gets the text of
    the built-in one; the first time is logged.

    :raises TemplateFailure: an operator's template does not compile.
    """

    def __init__(self, source: str | None, *, clock: Callable[[], float],
                 by_family: Mapping[str, str] | None = None) -> None:
        own = {family: (f"join_details_by_family.{family}", text) for family, text in (by_family or {}).items()}
        self._for_all = None if source is None else ("join_details", source)
        self._clock = clock
        self._families = {family: _Family(family, own.get(family, self._for_all), clock)
                          for family in (AUTO, *_OWN_TEMPLATES, *own)}
        self._digests: dict[JoinStyle, int] = {}

    def digest(self, style: JoinStyle) -> int:
        """A number below 2**112 that changes when the same meeting could get other details than before."""
        known = self._digests.get(style)
        if known is None:
            settings = "\0".join((self._family(style).source, *style.settings()))
            digest = hashlib.sha256(settings.encode("utf-8", "surrogatepass")).digest()
            known = int.from_bytes(digest[:CHANGE_KEY_BYTES])
            self._digests[style] = known
        return known

    def of(self, meeting: Meeting, style: JoinStyle = USUAL) -> Details:
        """The details of `meeting` for endpoints of this style. Never raises."""
        uri = dial_uri(meeting)
        alias = uri.partition(":")[2]
        original = _original_text(meeting, style, is_joinable=bool(alias))
        if original and style.invitation_text != APPEND:
            lines = original
        else:
            lines = self._lines(meeting, style, uri, alias)
            lines += ([""] if lines and original else []) + original
        return Details(meeting, style, _LINE_END.join(lines))

    def _family(self, style: JoinStyle) -> _Family:
        return self._families.get(style.family) or self._families[AUTO]

    def _lines(self, meeting: Meeting, style: JoinStyle, uri: str, alias: str) -> list[str]:
        token, split_token = (poly_token.vmr_token(alias, split=_is_split(uri, split), wrap=style.wrap,
                                                   line_ending=style.line_ending) if alias else ""
                              for split in (style.split, True))
        rendered = self._family(style).render({
            "alias": alias, "uri": uri, "protocol": _protocol(uri), "subject": meeting.subject,
            "organizer": meeting.organizer.display_name, "start": meeting.start_time, "end": meeting.end_time,
            "token": token, "split_token": split_token, "family": style.family})
        return rendered.strip().splitlines()


def _original_text(meeting: Meeting, style: JoinStyle, *, is_joinable: bool) -> list[str]:
    """The lines of the invitation that are shown; none where they are dropped, or there are none."""
    text = "" if style.invitation_text == DROP else meeting.invitation_text
    if style.invitation_text == APPEND or not is_joinable:
        text = poly_token.without_tokens(text)  # ours alone counts, and without an alias there is none
    return text.strip().splitlines()


def _is_split(uri: str, split: bool) -> bool:
    """Only a SIP address can be put together from a token's parts (poly.md 7.1)."""
    return split and uri.lower().startswith("sip:")


def _protocol(uri: str) -> str:
    return str(DialProtocol.H323 if uri.lower().startswith("h323:") else DialProtocol.SIP)


def _render_built_in(template: Template, variables: Mapping[str, object]) -> str:
    try:
        return template.render(**variables)
    except TemplateFailure:  # a machine under load can exceed even this one's time
        return f"{variables['uri']}\n\n{variables['token']}"


def _html(lines: list[str]) -> str:
    """The same lines as a document."""
    inside = "<br>\r\n".join(escape(line, quote=False) for line in lines)
    return f"<html><body>{inside}</body></html>"
