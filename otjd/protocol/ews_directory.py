"""Operations that look beyond the calendar: the mailbox's stored settings, and lists of rooms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from lxml import etree

from otjd.protocol import ews_ids, markup
from otjd.protocol.markup import attribute, text
from otjd.protocol.request_parts import FolderRef, folders, part, required
from otjd.protocol.soap import MESSAGES, TYPES, schema_violation

_PROPERTIES = frozenset({"Id", "Dictionary", "XmlData", "BinaryData", "All"})

WEB_OPTIONS = "OWA.UserOptions"
"""The one stored setting: some clients read the mailbox's time zone from it."""

_WEB_OPTIONS = {"timezone": "UTC"}


@dataclass(frozen=True, slots=True)
class GetUserConfiguration:
    """Tell of a setting that is stored in a folder; `properties` says which parts of it."""

    name: str
    folder: FolderRef
    properties: frozenset[str]


@dataclass(frozen=True, slots=True)
class GetRoomLists:
    """Tell the lists of rooms."""


@dataclass(frozen=True, slots=True)
class GetRooms:
    """Tell the rooms of a list."""


def read_get_user_configuration(element: etree._Element, _: tzinfo) -> GetUserConfiguration:
    """Read the request.

    :raises SoapFault: a part is missing or outside its type.
    """
    name = part(element, "UserConfigurationName")
    properties = frozenset(markup.content(part(element, "UserConfigurationProperties")).split())
    if not properties <= _PROPERTIES:
        raise schema_violation("The element 'UserConfigurationProperties' is invalid: only "
                               f"{', '.join(sorted(_PROPERTIES))} exist.", element)
    return GetUserConfiguration(required(name, "Name"), folders(element, "UserConfigurationName")[0], properties)


def read_get_room_lists(_element: etree._Element, _: tzinfo) -> GetRoomLists:
    """Read the request, which asks for nothing in particular."""
    return GetRoomLists()


def read_get_rooms(element: etree._Element, _: tzinfo) -> GetRooms:
    """Read the request.

    :raises SoapFault: it names no list.
    """
    part(element, "RoomList")
    return GetRooms()


def web_options(room_email: str, folder: str, properties: frozenset[str]) -> str:
    """What GetUserConfiguration answers for WEB_OPTIONS in `folder`."""
    item = dictionary = ""
    if properties & {"Id", "All"}:
        item_id = ews_ids.item_id(ews_ids.configuration_id(room_email, WEB_OPTIONS))
        key = ews_ids.change_key("configuration", room_email, *_WEB_OPTIONS, *_WEB_OPTIONS.values())
        item = f'<t:ItemId Id="{item_id}" ChangeKey="{key}"/>'
    if properties & {"Dictionary", "All"}:
        dictionary = f"<t:Dictionary>{_entries(_WEB_OPTIONS)}</t:Dictionary>"
    folder_id = ews_ids.folder_id(room_email, folder)
    return (f'<m:UserConfiguration><t:UserConfigurationName Name="{attribute(WEB_OPTIONS)}">'
            f'<t:FolderId Id="{folder_id}"/></t:UserConfigurationName>{item}{dictionary}</m:UserConfiguration>')


def _entries(dictionary: Mapping[str, str]) -> str:
    def written(kind: str, value: str) -> str:
        return f"<t:{kind}><t:Type>String</t:Type><t:Value>{text(value)}</t:Value></t:{kind}>"

    return "".join(f"<t:DictionaryEntry>{written('DictionaryKey', key)}{written('DictionaryValue', value)}"
                   "</t:DictionaryEntry>" for key, value in dictionary.items())


def empty_list(operation: str, container: str) -> str:
    """The body of the answer of GetRoomLists and GetRooms: there are none, and all went well."""
    return (f'<m:{operation}Response ResponseClass="Success" xmlns:m="{MESSAGES}" xmlns:t="{TYPES}">'
            f"<m:ResponseCode>NoError</m:ResponseCode><m:{container}/></m:{operation}Response>")
