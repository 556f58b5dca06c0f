"""What Google and Microsoft publish of their APIs, as documents that Prism takes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.interop.servers import MODULES, node
from tests.protocol.google_discovery import description
from tests.protocol.graph_schema import document

_CONVERT = """const {convert} = require(process.argv[1]);
process.stdin.on("data", part => text = (globalThis.text ?? "") + part);
process.stdin.on("end", () => console.log(JSON.stringify(convert(JSON.parse(text), {}))));"""
EXPANDED = r"^singleValueExtendedProperties\(\$filter=id eq 'String \{.+\} Name \w+'( or id eq '.+')*\)$"


def google(path: Path) -> Path:
    """Google's discovery document as Swagger 2, by a converter of another make."""
    program = node("google-discovery-to-swagger", "package.json")[0]
    converted = subprocess.run([program, "-e", _CONVERT, str(MODULES / "google-discovery-to-swagger")],
                               input=json.dumps(description()).encode(), stdout=subprocess.PIPE, check=True).stdout
    swagger: dict[str, Any] = json.loads(converted)
    swagger["produces"] = swagger["consumes"] = ["application/json"]  # which Prism needs to take and give bodies
    del swagger["definitions"]["Events"]["properties"]["nextPageToken"]  # there would always be one
    return _written(path, swagger, swagger["basePath"])


def graph(path: Path) -> Path:
    """Graph's metadata as OpenAPI 3, corrected where Microsoft's documents know better."""
    api = document()
    api["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    api["security"] = [{"token": []}]
    for method in _methods(api):
        for parameter in method.get("parameters", ()):
            if parameter.get("name") == "$expand":  # which has no options in brackets there
                parameter["schema"] = {"type": "string", "pattern": EXPANDED}
    body = api["paths"]["/users/{id}/calendar/getSchedule"]["post"]["requestBody"]
    (content,) = body["content"].values()
    schema = content["schema"]
    schema["properties"] = {name[0].lower() + name[1:]: one for name, one in schema["properties"].items()}
    schema["required"] = ["schedules", "startTime", "endTime"]
    schema["additionalProperties"] = False
    return _written(path, api, "/v1.0")


def _methods(api: dict[str, Any]) -> list[dict[str, Any]]:
    return [method for path in api["paths"].values() for name, method in path.items()
            if name in ("get", "post", "patch", "delete")]


def _written(path: Path, api: dict[str, Any], base: str) -> Path:
    """The document with whole paths: Prism serves those of a document without their base."""
    api["paths"] = {f"{base}{name}": one for name, one in api["paths"].items()}
    path.write_text(json.dumps(api))
    return path
