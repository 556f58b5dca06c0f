"""Google's own description of its Calendar API, as its client library bundles it, to hold bodies and URLs to."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema

_LEFT_OUT = ("description", "id", "annotations", "default", "readOnly", "enumDescriptions", "required",
             "deprecated")


@cache
def description() -> dict[str, Any]:
    return dict(json.loads(files("googleapiclient.discovery_cache.documents").joinpath("calendar.v3.json")
                           .read_text("utf-8")))


def _strict(schema: Any) -> Any:
    """A discovery schema as JSON Schema, with no member that is not described."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": f"#/definitions/{schema['$ref']}"}
    out = {name: _strict(value) for name, value in schema.items() if name not in (*_LEFT_OUT, "properties")}
    if "properties" in schema:
        out["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        out.setdefault("additionalProperties", False)
    if out.get("type") == "any":
        del out["type"]
    return out


@cache
def validator(schema: str) -> Any:
    """What checks a body against a schema of the description, such as `Events`."""
    definitions = {name: _strict(value) for name, value in description()["schemas"].items()}
    return jsonschema.Draft7Validator({"$ref": f"#/definitions/{schema}", "definitions": definitions})


def _methods(resources: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for resource in resources.values():
        found |= {method["id"]: method for method in resource.get("methods", {}).values()}
        found |= _methods(resource.get("resources", {}))
    return found


_INTEGER = re.compile(r"-?[0-9]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def _check_parameter(name: str, value: str, known: dict[str, Any]) -> None:
    match known["type"]:
        case "boolean":
            assert value in ("true", "false"), f"{name}={value}"
        case "integer":
            assert _INTEGER.fullmatch(value), f"{name}={value}"
            assert int(known.get("minimum", value)) <= int(value) <= int(known.get("maximum", value)), name
    if known.get("format") == "date-time":
        assert _TIME.fullmatch(value), f"{name}={value}"
    if "enum" in known:
        assert value in known["enum"], f"{name}={value}"


def check_request(verb: str, url: str, body: bytes | None = None) -> tuple[str, dict[str, str]]:
    """The id of the method that a request is for and its parameters; an AssertionError where Google's description
    does not have it so. The path of the API is `/calendar/v3`."""
    parts = urlsplit(url)
    for method in _methods(description()["resources"]).values():
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(method["path"]))
        match = re.fullmatch(rf"/calendar/v3/{pattern}", parts.path)
        if match and method["httpMethod"] == verb:
            break
    else:
        raise AssertionError(f"there is no {verb} {parts.path}")
    known = {**description()["parameters"], **method.get("parameters", {})}
    given = {name: unquote(value) for name, value in match.groupdict().items()}
    for name, values in parse_qs(parts.query, strict_parsing=True, keep_blank_values=True).items():
        assert name in known, f"{method['id']} has no parameter {name}"
        assert known[name].get("location") == "query"
        assert len(values) == 1 or known[name].get("repeated"), f"{name} is given twice"
        _check_parameter(name, values[0], known[name])
        given[name] = values[0]
    required = {name for name, one in known.items() if one.get("required")}
    assert required <= given.keys(), f"{required - given.keys()} is missing"
    assert ("request" in method) == (body is not None)
    if body is not None:
        validator(method["request"]["$ref"]).validate(json.loads(body))
    return method["id"], given
