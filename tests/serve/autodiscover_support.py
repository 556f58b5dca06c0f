"""Requests to Autodiscover's SOAP service."""

from __future__ import annotations

from otjd.protocol.autodiscover_soap import ADDRESSING, AUTODISCOVER
from tests.serve.ews_support import ACCOUNT, SOAP_11


def envelope(operation: str, *, header: str = "", soap: str = SOAP_11, version: str = "Exchange2013") -> str:
    asked = f"<a:RequestedServerVersion>{version}</a:RequestedServerVersion>" if version else ""
    return (f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{soap}" xmlns:a="{AUTODISCOVER}" '
            f'xmlns:w="{ADDRESSING}"><s:Header>{asked}{header}</s:Header><s:Body>{operation}</s:Body>'
            "</s:Envelope>")


def message(operation: str, request: str) -> str:
    return f"<a:{operation}RequestMessage><a:Request>{request}</a:Request></a:{operation}RequestMessage>"


def settings(*names: str) -> str:
    return f"<a:RequestedSettings>{''.join(f'<a:Setting>{n}</a:Setting>' for n in names)}</a:RequestedSettings>"


def users(*mailboxes: str) -> str:
    inside = "".join(f"<a:User><a:Mailbox>{mailbox}</a:Mailbox></a:User>" for mailbox in mailboxes)
    return f"<a:Users>{inside}</a:Users>"


def domains(*names: str) -> str:
    return f"<a:Domains>{''.join(f'<a:Domain>{n}</a:Domain>' for n in names)}</a:Domains>"


GET_URL = message("GetUserSettings", users(ACCOUNT.room.email) + settings("ExternalEwsUrl"))
