"""A request to a simulated Graph whose token is good, and the answers it can have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from otjd.simulate.codec_http import Answer
from otjd.simulate.graph_errors import bad_request
from otjd.simulate.graph_settings import GraphApp

JSON = b"application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
VERSION = "v1.0"


@dataclass(frozen=True, slots=True)
class Call:
    """`base` is the address of the service, `path` what comes after the version, as it was sent; `query` as
    `read_query` gives it, headers and preferences by names in lower case."""

    app: GraphApp
    method: str
    base: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    preferences: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def url(self) -> str:
        """Its address, without the query."""
        return f"{self.base}/{VERSION}/{self.path}"

    def context(self, what: str) -> str:
        """Where the metadata of an answer are said to be."""
        return f"{self.base}/{VERSION}/$metadata#{what}"

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object.

        :raises GraphError: it is none.
        """
        if not self.headers.get("content-type", "").lower().startswith("application/json"):
            raise bad_request("A Content-Type of application/json is required for a request with a body.")
        try:
            found = json.loads(self.body)
        except ValueError:
            raise bad_request("Unable to read JSON request payload. Please ensure Content-Type header is set and "
                              "payload is of valid JSON format.") from None
        if not isinstance(found, dict):
            raise bad_request("Unable to read JSON request payload: an object is expected.")
        return found


def answer(found: Mapping[str, Any], status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """An answer of JSON."""
    return Answer(status, json.dumps(found, separators=(",", ":")).encode(), JSON, headers)


def page(context: str, entries: list[str], link: str = "", *,
         headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """A page of entries that are JSON already; `link` is a member that says how to go on."""
    text = f'{{"@odata.context":{json.dumps(context)},"value":[{",".join(entries)}]{link}}}'
    return Answer(200, text.encode(), JSON, headers)
