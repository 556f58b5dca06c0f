"""Partial responses: the `fields` parameter, read strictly and applied to an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from otjd.simulate.google_errors import bad_parameter

Selection = Mapping[str, "Selection | None"]
"""Members that are wanted; None: with all that is in them."""

_TOKEN = re.compile(r"[A-Za-z0-9_.$@~-]+|[*(),/]")
_DEPTH = 20


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self.wrong(text[at:])
            self._tokens.append(found[0])
            at = found.end()
        self._tokens.append("")
        self._at = 0

    def wrong(self, part: str) -> Exception:
        return bad_parameter("fields", f"Invalid field selection {part or self._text}")

    def take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def accept(self, token: str) -> bool:
        if self._tokens[self._at] != token:
            return False
        self._at += 1
        return True

    def members(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            self._member(found, depth)
            if not self.accept(","):
                return found

    def _member(self, found: dict[str, Any], depth: int) -> None:
        name = self.take()
        if depth > _DEPTH or not name or name in "(),/":
            raise self.wrong(name)
        inner: dict[str, Any] | None = None
        if self.accept("/"):
            inner = {}
            self._member(inner, depth + 1)
        elif self.accept("("):
            inner = self.members(depth + 1)
            if not self.accept(")"):
                raise self.wrong("")
        if inner is None or (name in found and found[name] is None):
            found[name] = None
        else:
            _merge(found.setdefault(name, {}), inner)

    def ended(self) -> bool:
        return self._tokens[self._at] == ""


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, inner in more.items():
        if inner is None or into.get(name, {}) is None:
            into[name] = None
        else:
            _merge(into.setdefault(name, {}), inner)


def read_fields(text: str, shape: Selection) -> Selection | None:
    """What `fields` selects of an answer of this shape; None where it does not select.

    Such as `items(id,start/dateTime),nextPageToken`, with `*` for all members at its place.

    :raises GoogleError: it cannot be read, or names what there is not.
    """
    if not text:
        return None
    reader = _Reader(text)
    members = reader.members(0)
    if not reader.ended():
        raise reader.wrong("")
    _check(members, shape)
    return members


def _check(selection: Selection, shape: Selection) -> None:
    for name, inner in selection.items():
        if name == "*":
            for within in shape.values():
                if inner is not None and within is not None:
                    _check(inner, within)
            continue
        if name not in shape and "*" not in shape:
            raise bad_parameter("fields", f"Invalid field selection {name}")
        within = shape.get(name, shape.get("*"))
        if inner is not None:
            if within is None:
                raise bad_parameter("fields", f"Invalid field selection {next(iter(inner))}")
            _check(inner, within)


def select(answer: Any, selection: Selection | None) -> Any:
    """The part of an answer that is selected."""
    if selection is None:
        return answer
    if isinstance(answer, list):
        return [select(part, selection) for part in answer]
    if not isinstance(answer, dict):
        return answer
    every = "*" in selection
    return {name: select(part, selection.get(name, selection.get("*")))
            for name, part in answer.items() if every or name in selection}


def shape_of(text: str) -> Selection:
    """The shape of an answer, written as a selection of all its members."""
    return _Reader("".join(text.split())).members(0)


_TIME = "date,dateTime,timeZone"
_PERSON = "displayName,email,id,self"
_EVENT = f"""
anyoneCanAddSelf,attachments(fileId,fileUrl,iconLink,mimeType,title),
attendees(additionalGuests,asyncOperation,comment,displayName,email,id,optional,organizer,resource,responseStatus,self),
attendeesOmitted,birthdayProperties(contact,customTypeName,type),colorId,
conferenceData(conferenceId,conferenceSolution(iconUri,key(type),name),
  createRequest(conferenceSolutionKey(type),requestId,status(statusCode)),
  entryPoints(accessCode,entryPointFeatures,entryPointType,label,meetingCode,passcode,password,pin,regionCode,uri),
  notes,parameters(addOnParameters(parameters)),signature),
created,creator({_PERSON}),description,end({_TIME}),endTimeUnspecified,etag,eventLabelId,eventType,
extendedProperties(private,shared),focusTimeProperties(autoDeclineMode,chatStatus,declineMessage),
gadget(display,height,iconLink,link,preferences,title,type,width),
guestsCanInviteOthers,guestsCanModify,guestsCanSeeOtherGuests,hangoutLink,htmlLink,iCalUID,id,kind,location,locked,
organizer({_PERSON}),originalStartTime({_TIME}),outOfOfficeProperties(autoDeclineMode,declineMessage),privateCopy,
recurrence,recurringEventId,reminders(overrides(method,minutes),useDefault),sequence,source(title,url),start({_TIME}),
status,summary,transparency,updated,visibility,
workingLocationProperties(customLocation(label),homeOffice,
  officeLocation(buildingId,deskId,floorId,floorSectionId,label),type)"""

EVENTS_SHAPE = shape_of(f"accessRole,defaultReminders(method,minutes),description,etag,items({_EVENT}),kind,"
                        "nextPageToken,nextSyncToken,summary,timeZone,updated")
FREE_BUSY_SHAPE = shape_of("calendars(*(busy(start,end),errors(domain,reason))),groups(*(calendars,errors)),kind,"
                           "timeMax,timeMin")
CHANNEL_SHAPE = shape_of("address,expiration,id,kind,params,payload,resourceId,resourceUri,token,type")
