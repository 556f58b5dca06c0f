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
from otjd.rules.templates import Template, TemplateFailure, compile_template

BODY_LIMIT = 20_000
"""Characters of a body."""

_SCHEMES = ("sip:", "sips:", "h323:", "tel:")


def built_in_template() -> str:
    """The template that is used where the operator has none."""
    return resources.files("otjd").joinpath("templates/poly_body.txt.j2").read_text("utf-8")


def dial_uri(meeting: Meeting) -> str:
    """What to dial as a URI, such as `sip:room@video.example.com`; empty where there is nothing to dial."""
    if not meeting.alias:
        return ""
    if meeting.alias.lower().startswith(_SCHEMES):
        return meeting.alias
    return f"{'h323' if meeting.dial_protocol is DialProtocol.H323 else 'sip'}:{meeting.alias}"


@dataclass(frozen=True, slots=True)
class Details:
    """The join details of one meeting. Lines of `text` end with CRLF, as Exchange's do; `html` is a document.

    All is empty where there is nothing to dial and the template says nothing about that.
    """

    uri: str
    text: str
    html: str
    tokens: Mapping[str, str]


class JoinDetails:
    """Makes the join details of meetings from the operator's template; from the built-in one where that is None.

    `clock` gives monotonic seconds. `line_ending` and `wrap` are those of the Polycom token. Where the operator's
    template fails on a meeting, that meeting gets the built-in one's text; the first time is logged.

    :raises TemplateFailure: the operator's template does not compile.
    """

    _log = Logger()

    def __init__(self, source: str | None, *, clock: Callable[[], float], line_ending: str = poly_token.CRLF,
                 wrap: int = 0) -> None:
        built_in = built_in_template()
        self._built_in = compile_template(built_in, clock=clock, limit=BODY_LIMIT)
        self._own = None if source is None else compile_template(source, clock=clock, limit=BODY_LIMIT)
        self._line_ending = line_ending
        self._wrap = wrap
        self._warned = False
        settings = "\0".join((source or built_in, line_ending, str(wrap)))
        self.digest = hashlib.sha256(settings.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        """Changes when the same meeting could get other details than before."""

    def of(self, meeting: Meeting) -> Details:
        """The details of `meeting`. Never raises."""
        uri = dial_uri(meeting)
        alias = uri.partition(":")[2]
        token, split_token = (self._token(alias, split) if alias else "" for split in (False, True))
        rendered = self._render({
            "alias": alias, "uri": uri, "protocol": _protocol(uri), "subject": meeting.subject,
            "organizer": meeting.organizer.display_name, "start": meeting.start_time, "end": meeting.end_time,
            "token": token, "split_token": split_token})
        lines = rendered.strip().splitlines()
        return Details(uri, "\r\n".join(lines), _html(lines), poly_token.vmr_values(alias) if alias else {})

    def _token(self, alias: str, split: bool) -> str:
        return poly_token.vmr_token(alias, split=split, line_ending=self._line_ending, wrap=self._wrap)

    def _render(self, variables: Mapping[str, object]) -> str:
        if self._own is not None:
            try:
                return self._own.render(**variables)
            except TemplateFailure as failure:
                self._warn(failure)
        return _render_built_in(self._built_in, variables)

    def _warn(self, failure: TemplateFailure) -> None:
        if not self._warned:
            self._warned = True
            self._log.warn("The template of calendar_service.join_details failed, the built-in one is used where "
                           "it does: {reason}", reason=str(failure))


def _protocol(uri: str) -> str:
    return str(DialProtocol.H323 if uri.lower().startswith("h323:") else DialProtocol.SIP)


def _render_built_in(template: Template, variables: Mapping[str, object]) -> str:
    try:
        return template.render(**variables)
    except TemplateFailure:  # a machine under load can exceed even this one's time
        return f"{variables['uri']}\n\n{variables['token']}"


def _html(lines: list[str]) -> str:
    """The same lines as a document; empty for none."""
    if not lines:
        return ""
    inside = "<br>\r\n".join(escape(line, quote=False) for line in lines)
    return f"<html><body>{inside}</body></html>"
