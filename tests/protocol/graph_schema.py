"""Requests held against the description of Graph's API; see the tests' README for where it comes from."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from jsonschema import Draft7Validator
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest
from werkzeug.datastructures import ImmutableMultiDict

from otjd.protocol.graph_requests import GraphRequest

_EXPAND = re.compile(r"(\w+)\(\$filter=(.+)\)")
_PROPERTY = re.compile(r"id eq 'String \{[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\} Name [A-Za-z]+'")
FOLDER = next((found for found in (parent / "shared" / "schemas" for parent in Path(__file__).resolve().parents)
               if found.is_dir()), None)


def document() -> dict[str, Any]:
    """The description, as OpenAPI 3."""
    if FOLDER is None:
        pytest.skip("the folder shared/schemas is not beside this checkout")
    found: dict[str, Any] = json.loads((FOLDER / "graph-calendar.openapi3.json").read_text())
    # the metadata's keys are required there, also of what has none yet
    found["components"]["schemas"]["microsoft.graph.subscription-create"].pop("required")
    renewal = found["paths"]["/subscriptions"]["post"]["requestBody"]
    key = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    found["paths"]["/subscriptions/{id}"] = {  # not in the description, though in the documents
        "patch": {"parameters": [key], "requestBody": renewal, "responses": {"200": {"description": "renewed"}}},
        "delete": {"parameters": [key], "responses": {"204": {"description": "gone"}}}}
    return found


@lru_cache(1)
def _api() -> OpenAPI:
    return OpenAPI.from_dict(document())


@lru_cache(1)
def _event_validator() -> Draft7Validator:
    if FOLDER is None:
        pytest.skip("the folder shared/schemas is not beside this checkout")
    return Draft7Validator(json.loads((FOLDER / "graph-event.schema.json").read_text()))


def validated(request: GraphRequest) -> GraphRequest:
    """The request, as one that the description of the API allows."""
    parts = urlsplit(request.url)
    body = request.body
    if parts.path.endswith("/getSchedule"):  # spelt there as in the metadata; Graph reads both
        given = json.loads(body or b"")
        body = json.dumps({name[0].upper() + name[1:]: value for name, value in given.items()}).encode()
    elif parts.path.endswith("/calendarView"):
        assert {"startDateTime", "endDateTime"} <= dict(parse_qsl(parts.query)).keys()  # not required there
    arguments = dict(parse_qsl(parts.query))
    if "$expand" in arguments:  # the description knows nothing of options in brackets
        name, options = _EXPAND.fullmatch(arguments["$expand"]).groups()  # type: ignore[union-attr]
        assert all(map(_PROPERTY.fullmatch, options.split(" or ")))
        arguments["$expand"] = name
    mock = MockRequest(f"{parts.scheme}://{parts.netloc}", request.method.lower(), parts.path,
                       args=ImmutableMultiDict(arguments), headers=dict(request.headers), data=body)
    _api().validate_request(mock)
    return request


def valid_event(event: dict[str, Any]) -> dict[str, Any]:
    """The event, as one that Graph may answer."""
    _event_validator().validate({name: value for name, value in event.items() if not name.startswith("@")})
    return event
