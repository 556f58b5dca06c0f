"""Several requests in one (JSON batching) for a simulated Graph; each is judged as if it had come alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from otjd.seam import deferred
from otjd.simulate.codec_http import Answer
from otjd.simulate.graph_call import Call, answer
from otjd.simulate.graph_errors import bad_request

LIMIT = 20
AT_ONCE = 4
"""So many of a batch are under way at a time."""

Step = dict[str, Any]
Ask = Callable[[Call, str, str, Mapping[str, str], bytes], Awaitable[Answer]]
"""Answers one request: the batch, method, URL relative to the version, headers by names in lower case, body."""


async def batch(call: Call, ask: Ask) -> Answer:
    """Answer a batch.

    :raises GraphError: it is no batch.
    """
    told: dict[str, Step] = {}
    turns = DeferredSemaphore(AT_ONCE)

    async def run(step: Step) -> None:
        if any(told[before]["status"] >= 400 for before in step.get("dependsOn") or ()):
            told[step["id"]] = {"id": step["id"], "status": 424, "headers": {}, "body": {"error": {
                "code": "FailedDependency", "message": "A request that this one depends on has failed."}}}
            return
        headers = {str(name).lower(): str(value) for name, value in (step.get("headers") or {}).items()}
        body = json.dumps(step["body"]).encode() if "body" in step else b""
        await turns.acquire()
        try:
            found = await ask(call, step["method"].upper(), step["url"].lstrip("/"), headers, body)
        finally:
            turns.release()
        told[step["id"]] = _told(step["id"], found)

    waiting = _steps(call.json())
    while waiting:
        ready = [s for s in waiting if told.keys() >= set(s.get("dependsOn") or ())]
        running: list[Deferred[None]] = [deferred(run(step)) for step in ready]
        await gatherResults(running, consumeErrors=True)
        waiting = [s for s in waiting if s["id"] not in told]
    return answer({"responses": list(told.values())})


def _steps(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    steps = body.get("requests")
    if not isinstance(steps, list) or not steps:
        raise bad_request("Invalid batch payload format.")
    if len(steps) > LIMIT:
        raise bad_request(f"Number of batch request steps exceeds the maximum value of {LIMIT}.")
    seen: set[str] = set()
    for step in steps:
        if not isinstance(step, dict) or not all(isinstance(step.get(k), str) for k in ("id", "method", "url")):
            raise bad_request("Invalid batch payload format.")
        headers, before = step.get("headers") or {}, step.get("dependsOn") or []
        if not isinstance(headers, dict) or not isinstance(before, list) or not all(
                isinstance(one, str) for one in before):
            raise bad_request("Invalid batch payload format.")
        if step["id"] in seen:
            raise bad_request(f"Request Id {step['id']} is duplicated in the batch.")
        if not set(before) <= seen:
            raise bad_request(f"Request {step['id']} depends on a request that does not come before it.")
        if "body" in step and "content-type" not in {name.lower() for name in headers}:
            raise bad_request(f"The Content-Type header is missing in the request with id {step['id']}.")
        if step["url"].startswith(("http:", "https:")):
            raise bad_request(f"The URL of the request with id {step['id']} must be relative.")
        seen.add(step["id"])
    return steps


def _told(identity: str, found: Answer) -> dict[str, Any]:
    headers = {name.decode(): value.decode() for name, value in found.headers}
    told: dict[str, Any] = {"id": identity, "status": found.status, "headers": headers}
    if found.status != 204:
        headers["Content-Type"] = found.content_type.decode()
        told["body"] = json.loads(found.body) if b"json" in found.content_type else base64.b64encode(
            found.body).decode()
    return told
