"""Events of Graph, written by hand after Microsoft's documents."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from otjd.protocol.graph_requests import property_id


def uid(number: int, date: str = "00000000") -> str:
    """A global object id; `date` is that of the occurrence: year, month and day in hexadecimal."""
    return f"040000008200E00074C5B7101A82E008{date}B0AA4F6F2B5AD80100000000000000001000000{number:033X}"


def moment(time: datetime) -> dict[str, str]:
    return {"dateTime": f"{time:%Y-%m-%dT%H:%M:%S}.0000000", "timeZone": "UTC"}


def event(number: int, begin: datetime, /, *, version: int = 1, **members: Any) -> dict[str, Any]:
    """An event of an hour."""
    return {
        "@odata.etag": f'W/"{version}"', "id": f"AAkALg{number}=", "changeKey": f"CK{number}.{version}==",
        "iCalUId": uid(number), "seriesMasterId": None, "type": "singleInstance",
        "originalStart": None, "originalStartTimeZone": "W. Europe Standard Time", "subject": f"Meeting {number}",
        "start": moment(begin), "end": moment(begin + timedelta(hours=1)), "isAllDay": False, "isCancelled": False,
        "sensitivity": "normal", "showAs": "busy", "onlineMeeting": None, "onlineMeetingUrl": None,
        "location": {"displayName": "Board room", "locationType": "default", "uniqueIdType": "unknown"},
        "organizer": {"emailAddress": {"name": "Kim Berg", "address": "kim@example.com"}},
        "responseStatus": {"response": "accepted", "time": "2026-11-01T08:00:00Z"},
        "body": {"contentType": "html", "content": "<p>hello</p>"}, **members}


def named(**values: str) -> list[dict[str, str]]:
    return [{"id": property_id(name), "value": value} for name, value in values.items()]


def page(*events: Any, **members: Any) -> bytes:
    links = {f"@odata.{name}": value for name, value in members.items()}
    return json.dumps({"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#x", "value": events,
                       **links}).encode()
