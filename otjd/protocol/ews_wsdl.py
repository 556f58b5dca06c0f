"""The description of the emulated Exchange's service: WSDL 1.1 with the operations that are served.

The elements of requests and answers are named and not described: their types are Microsoft's.
"""

from __future__ import annotations

from collections.abc import Iterable

from otjd.protocol.markup import attribute
from otjd.protocol.soap import DECLARATION, MESSAGES


def description(operations: Iterable[str], address: str) -> bytes:
    """The WSDL of a service at `address`; operations are the names of their requests (`FindItem`)."""
    requests = {name.removesuffix("Request"): name for name in sorted(operations)}
    elements, messages, ports, bindings = "", "", "", ""
    for name, request in requests.items():
        answer = f"{name}Response"
        elements += "".join(f'<xs:element name="{element}" type="xs:anyType"/>' for element in (request, answer))
        messages += _message(f"{name}SoapIn", "request", request) + _message(f"{name}SoapOut", "result", answer)
        ports += (f'<wsdl:operation name="{name}"><wsdl:input message="tns:{name}SoapIn"/>'
                  f'<wsdl:output message="tns:{name}SoapOut"/></wsdl:operation>')
        bindings += (f'<wsdl:operation name="{name}"><soap:operation soapAction="{MESSAGES}/{name}"/>'
                     '<wsdl:input><soap:body use="literal"/></wsdl:input>'
                     '<wsdl:output><soap:body use="literal"/></wsdl:output></wsdl:operation>')
    return (f'{DECLARATION}<wsdl:definitions name="ExchangeServices" targetNamespace="{MESSAGES}" '
            f'xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" '
            f'xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:tns="{MESSAGES}">'
            f'<wsdl:types><xs:schema targetNamespace="{MESSAGES}" elementFormDefault="qualified">{elements}'
            f"</xs:schema></wsdl:types>{messages}"
            f'<wsdl:portType name="ExchangeServicePortType">{ports}</wsdl:portType>'
            '<wsdl:binding name="ExchangeServiceBinding" type="tns:ExchangeServicePortType">'
            f'<soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>{bindings}'
            '</wsdl:binding><wsdl:service name="ExchangeServices">'
            '<wsdl:port name="ExchangeServicePort" binding="tns:ExchangeServiceBinding">'
            f'<soap:address location="{attribute(address)}"/></wsdl:port></wsdl:service>'
            "</wsdl:definitions>").encode()


def _message(name: str, part: str, element: str) -> str:
    return f'<wsdl:message name="{name}"><wsdl:part name="{part}" element="tns:{element}"/></wsdl:message>'
