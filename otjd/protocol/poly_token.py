"""The Polycom meeting token: a block of text from which endpoints take what to dial (poly.md 7.1)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping

BEGIN = "--=BEGIN POLYCOM VMR ENCODED TOKEN=--"
END = "--=END POLYCOM VMR ENCODED TOKEN=--"
CRLF = "\r\n"

_BLOCK = re.compile(f"{re.escape(BEGIN)}(.*?){re.escape(END)}", re.DOTALL)
_TAG = re.compile(r"<[^<>]*>")
_BLANK = re.compile(r"\s+")


def encode_token(values: Mapping[str, str], *, line_ending: str = CRLF, wrap: int = 0) -> str:
    """The block with these keys and values, on lines that end with `\\n`; without a line end after the last.

    `line_ending` ends each line of the encoded text, the last one too: readers lose an unterminated line. `wrap`
    is the number of base64 characters on a line, 0 for all on one.
    """
    pairs: Iterable[tuple[str, str]] = values.items()
    if _BLANK.search("".join((*values, *values.values()))):
        pairs = ((_BLANK.sub(" ", key), _BLANK.sub(" ", value)) for key, value in pairs)
    lines = "".join([f"{key}={value}{line_ending}" for key, value in pairs])
    encoded = base64.b64encode(lines.encode("utf-8", "replace")).decode("ascii")
    width = wrap if wrap > 0 else max(1, len(encoded))
    wrapped = [encoded[i:i + width] for i in range(0, len(encoded), width)]
    return "\n".join((BEGIN, *wrapped, END))


def decode_token(text: str) -> dict[str, str] | None:
    """What the first token in `text`, plain or HTML, says; None where there is none that can be read.

    Like the endpoints' readers it takes tags and line ends out of the block, and no other entities than `&lt;`,
    `&gt;` and `&#xD;`. Unlike them it keeps a last line without end and takes `\\r` off.
    """
    match = _BLOCK.search(text)
    if match is None:
        return None
    inside = match[1].replace("&#xD;", "").replace("&lt;", "<").replace("&gt;", ">")
    try:
        decoded = base64.b64decode(_BLANK.sub("", _TAG.sub("", inside)), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None
    pairs = (line.rstrip("\r").partition("=") for line in decoded.split("\n"))
    return {key: value for key, equals, value in pairs if equals}


def without_tokens(text: str) -> str:
    """The text without the tokens in it, whether they can be read or not."""
    kept, at = [], 0
    # one END after the last BEGIN is looked for once only: a hostile text may hold thousands of BEGINs
    while (begin := text.find(BEGIN, at)) >= 0 and (end := text.find(END, begin)) >= 0:
        kept.append(text[at:begin])
        at = end + len(END)
    return "".join((*kept, text[at:]))


def vmr_values(alias: str, *, split: bool = False) -> dict[str, str]:
    """The keys of a token for dialling `alias`.

    The whole alias is the number, with empty prefix and postfix; with `split`, for devices that put the address
    together themselves, `sip:`, number and domain are apart. A room in a token has no passwords: whoever needs one
    has it in the alias.
    """
    number, at, domain = alias.rpartition("@")
    is_split = split and bool(at)
    return {
        "POLYCOM-VERSION": "1",
        "POLYCOM-DIALINPREFIX": "",
        "POLYCOM-VMRNUMBER": number if is_split else alias,
        "POLYCOM-SIGNALINGPREFIX": "sip:" if is_split else "",
        "POLYCOM-SIGNALINGPOSTFIX": domain if is_split else "",
        "POLYCOM-MEETINGPASSWORD": "",
        "POLYCOM-CHAIRPASSWORD": "",
        "POLYCOM-CHAIRPASSWORDREQUIRED": "false",
        "POLYCOM-RECORDMEETING": "false",
        "POLYCOM-STREAMMEETING": "false",
        "POLYCOM-INVITATIONLANGUAGE": "en_US",
    }


def vmr_token(alias: str, *, split: bool = False, line_ending: str = CRLF, wrap: int = 0) -> str:
    """The block for dialling `alias`; see `vmr_values` and `encode_token`."""
    return encode_token(vmr_values(alias, split=split), line_ending=line_ending, wrap=wrap)
