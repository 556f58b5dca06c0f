"""Who is shown what: [[profiles]], [[endpoint_groups]], [[endpoints]] and [[rules]]."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from otjd.config.keys import key
from otjd.config.secret import Secret
from otjd.config.services import (
    AUTHENTICATION_SCHEMES,
    INVITATION_TEXTS,
    TOKEN_FORMS,
    TOKEN_LINE_ENDINGS,
    TOKEN_WRAP_LIMITS,
)
from otjd.config.shapes import AUTHORITY, DOMAIN, EMAIL, HOST, LOGIN, NAME, URL
from otjd.meetings.model import EndpointType
from otjd.meetings.presentation import ReplaceSubject

MEETING_TYPES = (
    "pexipinfinity", "pexipservice", "teams", "teamssipguestjoin", "polyteamsbody", "ciscoteamsbody",
    "pexipserviceteamsbody", "pexipinfinityteamsbody", "hangouts", "googlemeetsipguestjoin", "s4b", "polys4bbody",
    "webex", "zoom", "gotomeeting", "domain", "regex", "regex_re2", "custom", "bluejeans", "bluejeansteamsbody")

AS_SERVICE = "absent: as [calendar_service] says."
DESCRIPTION_DOC = "What you want to note about it."


class GlobalYesNo(StrEnum):
    """A switch of an endpoint that may follow its profile (GLOBAL)."""

    GLOBAL = "GLOBAL"
    YES = "YES"
    NO = "NO"


class PolyFamily(StrEnum):
    """Families of Poly endpoints that need different treatment."""

    AUTO = "auto"
    HDX = "hdx"
    GROUP = "group"
    TRIO = "trio"
    VIDEOOS = "videoos"
    DEBUT = "debut"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What the endpoints of some groups show of the calendars of one integration."""

    name: str = field(metadata=key("Name of the profile.", longest=250, shape=NAME))
    description: str = field(default="", metadata=key(DESCRIPTION_DOC, longest=250))
    integration: str = field(metadata=key("Name of one integration of any kind."))
    start_buffer: int = field(default=5, metadata=key(
        "How long before its start a meeting can be joined.", unit="minutes", limits=(0, 180)))
    end_buffer: int = field(default=0, metadata=key(
        "How long after its end a meeting can be joined.", unit="minutes", limits=(0, 180)))
    display_upcoming_meetings: int = field(default=7, metadata=key(
        "How far ahead meetings are shown.", unit="days", limits=(0, 365)))
    enable_non_video_meetings: bool = field(default=True, metadata=key(
        "Show meetings that have nothing to dial, without a Join button."))
    enable_private_meetings: bool = field(default=True, metadata=key("Show private meetings."))
    process_alias_private_meetings: bool = field(default=True, metadata=key(
        "Give private meetings a Join button."))
    replace_subject_type: ReplaceSubject = field(default=ReplaceSubject.PRIVATE, metadata=key(
        "Whose subjects are replaced."))
    replace_subject_template: str = field(default="", metadata=key(
        "Jinja2 template of the replacement; empty: the organizer's name.", longest=512))
    replace_empty_subject: bool = field(default=True, metadata=key(
        "Show the organizer's name where there is no subject."))
    ep_username: str = field(default="", metadata=key(
        "User name for Cisco endpoints that have none of their own.", longest=100, shape=LOGIN))
    ep_password: Secret = field(default=Secret(), metadata=key(
        "Password for Cisco endpoints that have none of their own.", longest=100))
    ep_use_https: bool = field(default=True, metadata=key(
        "Reach Cisco endpoints by HTTPS, where the endpoint's `use_https` is GLOBAL."))
    ep_verify_certificate: bool = field(default=True, metadata=key(
        "Verify the certificates of Cisco endpoints, where the endpoint's `verify_cert` is GLOBAL."))
    use_webex: bool = field(default=False, metadata=key(
        "Serve WEBEX endpoints; needs `webex_client_id`, `webex_client_secret` and `webex_redirect_uri`."))
    webex_client_id: str = field(default="", metadata=key("Client ID of the Webex integration.", longest=100))
    webex_client_secret: Secret = field(default=Secret(), metadata=key("Its client secret.", longest=250))
    webex_redirect_uri: str = field(default="", metadata=key(
        "URL of the operator service that the sign-in comes back to.", longest=255, shape=URL))
    webex_api_domain: str = field(default="webexapis.com", metadata=key(
        "Where the Webex API is.", longest=192, shape=AUTHORITY))


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointGroup:
    """Endpoints of one location that share a profile."""

    name: str = field(metadata=key("Name of the group.", longest=250, shape=NAME))
    description: str = field(default="", metadata=key(DESCRIPTION_DOC, longest=250))
    location: str = field(default="", metadata=key(
        "The location whose nodes serve the group; empty: any.", longest=250, shape=NAME))
    profile: str = field(metadata=key("Name of the profile."))
    disable_proxy: bool = field(default=False, metadata=key(
        "Do not use the web proxy towards the Cisco endpoints of this group."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A video endpoint in a room. Several endpoints may be in one room."""

    name: str = field(metadata=key("Name of the endpoint.", longest=250, shape=NAME))
    description: str = field(default="", metadata=key(DESCRIPTION_DOC, longest=250))
    endpoint_type: EndpointType = field(default=EndpointType.CISCO, metadata=key(
        "CISCO endpoints are pushed to, POLY endpoints connect to the calendar service, WEBEX endpoints are "
        "pushed to through the Webex cloud."))
    api_address: str = field(default="", metadata=key(
        "Address of the endpoint's API; needed for CISCO.", longest=255, shape=HOST))
    api_port: int | None = field(default=None, metadata=key(
        "Port of its API; empty: 443 with HTTPS, otherwise 80.", limits=(1, 65535)))
    api_username: str = field(default="", metadata=key(
        "User name for its API; empty: the profile's `ep_username` and `ep_password`.", longest=100, shape=LOGIN))
    api_password: Secret = field(default=Secret(), metadata=key("Password for its API.", longest=100))
    poly_username: str = field(default="", metadata=key(
        "User name that the endpoint logs in with, unique and case-sensitive; needed for POLY.",
        longest=150, shape=LOGIN))
    poly_password: Secret = field(default=Secret(), metadata=key(
        "Password that the endpoint logs in with; needed for POLY.", longest=100))
    poly_raise_alarms_for_this_endpoint: bool = field(default=True, metadata=key(
        "Raise alarms about this endpoint, of whatever type it is."))
    webex_device_id: str = field(default="", metadata=key(
        "The device's identifier in the Webex cloud; needed for WEBEX.", longest=250, shape=NAME))
    verify_cert: GlobalYesNo = field(default=GlobalYesNo.GLOBAL, metadata=key(
        "Verify the endpoint's certificate; GLOBAL: as the profile says."))
    use_https: GlobalYesNo = field(default=GlobalYesNo.GLOBAL, metadata=key(
        "Reach its API by HTTPS; GLOBAL: as the profile says."))
    room_resource_email: str = field(metadata=key("Address of the room's mailbox.", longest=150, shape=EMAIL))
    mjx_endpoint_group_name: str = field(metadata=key("Name of its endpoint group."))
    authentication: tuple[str, ...] = field(default=(), metadata=key(
        "Authentication schemes offered to this Poly endpoint, in order; empty: those of [calendar_service].",
        choices=AUTHENTICATION_SCHEMES))
    poly_family: PolyFamily = field(default=PolyFamily.AUTO, metadata=key(
        "Family of a Poly endpoint; it chooses the template of the meeting body."))
    token_form: str | None = field(default=None, metadata=key(
        f"What the Polycom token says to this endpoint; {AS_SERVICE}", choices=TOKEN_FORMS))
    token_line_ending: str | None = field(default=None, metadata=key(
        f"The line ends inside its Polycom token; {AS_SERVICE}", choices=TOKEN_LINE_ENDINGS))
    token_wrap: int | None = field(default=None, metadata=key(
        f"How long a line of its Polycom token is; {AS_SERVICE}", unit="characters", limits=TOKEN_WRAP_LIMITS))
    invitation_text: str | None = field(default=None, metadata=key(
        f"The text of the invitation on this endpoint; {AS_SERVICE}", choices=INVITATION_TEXTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How the alias to dial is found in invitations of one type. Rules are tried in ascending priority."""

    name: str = field(metadata=key("Name of the rule.", longest=250, shape=NAME))
    description: str = field(default="", metadata=key(DESCRIPTION_DOC, longest=250))
    profile: str = field(metadata=key("Name of the profile."))
    priority: int = field(metadata=key("Place among the profile's rules, unique in it; the first match wins.",
                                       limits=(1, 200)))
    enabled: bool = field(default=True, metadata=key("False: the rule is passed over."))
    meeting_type: str = field(metadata=key("The type of invitation.", choices=MEETING_TYPES))
    default_processing_enabled: bool = field(default=True, metadata=key(
        "Make the alias as is usual for the type; false: by `transform_rule`."))
    transform_rule: str = field(default="", metadata=key(
        "Jinja2 template that makes the alias from the type's variables.", longest=512))
    custom_template: str = field(default="", metadata=key(
        "Jinja2 template that makes the alias from the whole event; needed for custom.", longest=10240))
    match_string: str = field(default="", metadata=key(
        "Regular expression to search for; needed for regex and regex_re2.", longest=250))
    replace_string: str = field(default="", metadata=key(
        r"What makes the alias from a match, with `\1` for its first group; empty: all of it.", longest=250))
    domain: str = field(default="", metadata=key(
        "Domain to search for or to append; needed for domain and teams.", longest=255, shape=DOMAIN))
    company_id: str = field(default="", metadata=key(
        "Customer id of the Pexip Service, for teamssipguestjoin and googlemeetsipguestjoin.", longest=36))
    include_pin: bool = field(default=False, metadata=key("Append the meeting password to the alias."))
