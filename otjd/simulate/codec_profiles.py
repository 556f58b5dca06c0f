"""What tells one generation of Cisco endpoint software from another, as a table of flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LoginFailure = Literal["401", "page", "redirect"]
"""How a failed login is answered: plainly, with a sign-in page under status 200, or by a redirect to one."""

CE_PROTOCOLS = frozenset({"SIP", "H323", "ISDN", "IP", "Spark"})
ROOMOS_PROTOCOLS = CE_PROTOCOLS | {"WebRTC", "None"}
PLATFORMS = frozenset({"GoogleMeet", "MicrosoftTeams", "Zoom", "Webex", "Other", "None"})


@dataclass(frozen=True, slots=True)
class Profile:
    """One generation of software: what it can do and how it answers."""

    name: str
    software: str
    """The version string as `SystemUnit/Software/Version` reports it."""
    product: str
    bookings_put: bool = True
    """Has `xCommand Bookings Put` (CE 9.13 and later)."""
    put_protocols: frozenset[str] = CE_PROTOCOLS
    put_platforms: frozenset[str] = frozenset()
    """Values of `MeetingPlatform`; empty: the field is unknown and ignored."""
    list_element: str = "BookingsListResult"
    get_element: str = "BookingsGetResult"
    result_item: bool = False
    """Results carry `item="1"`."""
    sessions: bool = True
    rate_limit: bool = False
    """Counts requests a second and answers 503 to what does not fit its queue (RoomOS 10 and later)."""
    refuses_expect: bool = False
    """Answers 417 to `Expect: 100-continue`."""
    max_failed_logins: int = 0
    """Failed logins in a row after which the user is locked; 0 is never."""
    lockout_s: float = 3600.0
    current_booking: bool = True
    """Has `/Status/Bookings/Current/Id`."""
    availability: bool = False
    """Has `/Status/Bookings/Availability`, and lists MeetingId, MeetingPlatform and Cancellable."""
    schedule_type: bool = False
    """`Bookings List` takes ScheduleType (11.24 and later)."""
    teams_rooms: bool = False
    """May run Microsoft Teams Rooms, where `Bookings Put` is not available."""


PROFILES = {profile.name: profile for profile in (
    Profile("tc7", "TC7.3.9.b35a3be", "Cisco TelePresence SX20", bookings_put=False, list_element="Bookings",
            get_element="Bookings", sessions=False, refuses_expect=True, current_booking=False),
    Profile("ce9_6", "ce9.6.1.1d3a7a4c0ad", "Cisco TelePresence SX80", bookings_put=False, result_item=True),
    Profile("ce9", "ce9.15.3.25.7aad3ba5fb8", "Cisco Webex Room Kit", result_item=True),
    Profile("roomos11", "ce11.24.1.8.9fc3a4f9e21", "Cisco Room Bar", put_protocols=ROOMOS_PROTOCOLS,
            put_platforms=PLATFORMS, rate_limit=True, availability=True, schedule_type=True),
    Profile("roomos26", "ce26.7.1.12.67c6e508983", "Cisco Room Kit Pro", put_protocols=ROOMOS_PROTOCOLS,
            put_platforms=PLATFORMS, rate_limit=True, availability=True, schedule_type=True,
            max_failed_logins=5, lockout_s=300.0, teams_rooms=True),
)}
"""The generations by name; `ce9` is 9.15, `ce9_6` is from before `Bookings Put`, `roomos11` is 11.24."""
