"""SOAP envelopes and faults as Exchange reads and writes them (ews.md sections 1 to 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from lxml import etree

from otjd.protocol import markup

TYPES = "http://schemas.microsoft.com/exchange/services/2006/types"
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"
ERRORS = "http://schemas.microsoft.com/exchange/services/2006/errors"
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'


@dataclass(frozen=True, slots=True)
class Dialect:
    """A version of SOAP: the namespace of its envelope and the content type of its messages."""

    envelope: str
    content_type: str


SOAP_11 = Dialect("http://schemas.xmlsoap.org/soap/envelope/", "text/xml; charset=utf-8")
SOAP_12 = Dialect("http://www.w3.org/2003/05/soap-envelope", "application/soap+xml; charset=utf-8")
_DIALECTS = {d.envelope: d for d in (SOAP_11, SOAP_12)}


def dialect_of(content_type: str) -> Dialect:
    """The version of SOAP that a content type announces; 1.1 unless it is that of 1.2."""
    return SOAP_12 if content_type.strip().lower().startswith("application/soap+xml") else SOAP_11


class SoapFault(Exception):  # noqa: N818 - SOAP's own word
    """A request that is answered with a Fault: one of Exchange's response codes and a sentence.

    `violation` with `line` and `position` says what the schema does not allow; `values` are the named values of
    MessageXml, in order; `is_ours` tells that the client did nothing wrong. `dialect` is set where the envelope
    could be read that far.
    """

    def __init__(self, code: str, message: str, *, violation: str = "", line: int = 0, position: int = 0,
                 values: Mapping[str, str] = MappingProxyType({}), status: int = 500, is_ours: bool = False,
                 dialect: Dialect | None = None) -> None:
        super().__init__(f"{code}: {violation or message}")
        self.code = code
        self.message = message
        self.violation = violation
        self.line = line
        self.position = position
        self.values = values
        self.status = status
        self.is_ours = is_ours
        self.dialect = dialect


def schema_violation(violation: str, element: etree._Element | None = None) -> SoapFault:
    """The fault for a request that lacks a required part or holds a value outside its type."""
    line = cast("int | None", element.sourceline) if element is not None else None
    return SoapFault("ErrorSchemaValidation", "The request failed schema validation.",
                     violation=violation[:markup.VIOLATION_LIMIT], line=line or 0)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request as it came: its version of SOAP, the Header if there is one, and the first child of Body."""

    dialect: Dialect
    header: etree._Element | None
    operation: etree._Element

    @property
    def name(self) -> str:
        """The operation that is asked for, such as `FindItem`."""
        return markup.local_name(self.operation)


def read_envelope(body: bytes, content_type: str = "", limits: markup.DocumentLimits = markup.USUAL) -> Envelope:
    """Read a request, whatever prefixes it uses.

    :raises SoapFault: it is no SOAP request; ErrorSchemaValidation.
    """
    try:
        root = markup.read_document(body, content_type, limits)
    except markup.UnreadableError as error:
        fault = schema_violation(error.violation)
        fault.line, fault.position = error.line, error.position
        raise fault from None
    dialect = _DIALECTS.get(markup.namespace(root))
    if dialect is None or markup.local_name(root) != "Envelope":
        raise schema_violation(f"The root element '{markup.local_name(root)}' is not a SOAP envelope.", root)
    inside = markup.child(root, "Body")
    operation = next(iter(inside), None) if inside is not None else None
    if operation is None:
        fault = schema_violation("The element 'Body' is missing or empty.", root)
        fault.dialect = dialect
        raise fault
    return Envelope(dialect, markup.child(root, "Header"), operation)


def write_envelope(dialect: Dialect, header: str, body: str) -> bytes:
    """An answer from its two parts, which are XML text; an empty header is left out."""
    head = f"<s:Header>{header}</s:Header>" if header else ""
    return (f'{DECLARATION}<s:Envelope xmlns:s="{dialect.envelope}">{head}<s:Body>{body}</s:Body></s:Envelope>'
            ).encode()


def write_fault(fault: SoapFault, dialect: Dialect) -> bytes:
    """The answer for a fault: without Header, as Exchange sends it from 2010 on."""
    reason = markup.text(f"The request failed schema validation: {fault.violation}"
                         if fault.violation else fault.message)
    detail = (f'<e:ResponseCode xmlns:e="{ERRORS}">{fault.code}</e:ResponseCode>'
              f'<e:Message xmlns:e="{ERRORS}">{markup.text(fault.message)}</e:Message>{_message_xml(fault)}')
    if dialect is SOAP_12:
        role = "s:Receiver" if fault.is_ours else "s:Sender"
        body = (f'<s:Fault><s:Code><s:Value>{role}</s:Value><s:Subcode><s:Value xmlns:a="{TYPES}">a:{fault.code}'
                f'</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang="en-US">{reason}</s:Text></s:Reason>'
                f"<s:Detail>{detail}</s:Detail></s:Fault>")
    else:
        body = (f'<s:Fault><faultcode xmlns:a="{TYPES}">a:{fault.code}</faultcode>'
                f'<faultstring xml:lang="en-US">{reason}</faultstring><detail>{detail}</detail></s:Fault>')
    return write_envelope(dialect, "", body)


def _message_xml(fault: SoapFault) -> str:
    inside = "".join(f'<t:Value Name="{markup.attribute(name)}">{markup.text(value)}</t:Value>'
                     for name, value in fault.values.items())
    if fault.violation:
        inside += (f"<t:LineNumber>{fault.line}</t:LineNumber><t:LinePosition>{fault.position}</t:LinePosition>"
                   f"<t:Violation>{markup.text(fault.violation)}</t:Violation>")
    return f'<t:MessageXml xmlns:t="{TYPES}">{inside}</t:MessageXml>' if inside else ""
