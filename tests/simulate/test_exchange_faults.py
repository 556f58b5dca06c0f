from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_twisted
import treq
from lxml import etree
from twisted.internet.error import ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed

from otjd.seam import deferred
from otjd.simulate.certificates import Certificates
from otjd.simulate.exchange_autodiscover import ACTION, ADDRESSING, NAMESPACE, Referral
from otjd.simulate.exchange_settings import Fault
from tests.serve.ews_support import NAMESPACES, codes, schema, texts
from tests.simulate.exchange_world import LOUNGE, ROOM, World, envelope, reactor, world
from tests.simulate.test_exchange import ids, item, view


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def served(server_certificates: Certificates) -> AsyncIterator[World]:
    async with world(server_certificates, groups=50) as made:
        yield made


async def test_a_busy_server_names_its_back_off_and_then_serves_again(served: World) -> None:
    served.server.faults.append(Fault("busy", back_off=timedelta(seconds=3)))
    code, fault = await served.fault(view())
    assert (code, texts(fault, ".//t:Value[@Name='BackOffMilliseconds']")) == ("ErrorServerBusy", ["3000"])
    assert codes((await served.ask(view()))[0]) == ["NoError"]
    assert served.server.faulted == {"ErrorServerBusy": 1}


async def test_a_fault_strikes_its_operation_and_room_as_often_as_it_is_told(served: World) -> None:
    served.server.faults.append(Fault("error", times=2, operation="FindItem", room=ROOM, after=1,
                                      code="ErrorInternalServerError"))
    booking = served.book()
    (found,) = ids(await served.ask(view()))
    assert codes((await served.ask(item(found)))[0]) == ["NoError"]
    for _ in range(2):
        assert (await served.fault(view()))[0] == "ErrorInternalServerError"
        assert codes((await served.ask(view(), room=LOUNGE))[0]) == ["NoError"]
    assert ids(await served.ask(view())) == [found]
    assert booking.subject == "Weekly"


@pytest.mark.parametrize(("kind", "status", "body"), [
    ("503", 503, b"Service Unavailable"), ("401", 401, b""), ("html", 200, b"<!DOCTYPE html>")])
async def test_something_in_between_answers(served: World, kind: Any, status: int, body: bytes) -> None:
    served.server.faults.append(Fault(kind))
    response = await served.request(envelope(view()))
    assert response.code == status
    assert (await treq.content(response)).startswith(body)


async def test_a_connection_is_reset_or_an_answer_breaks_off(served: World) -> None:
    served.server.faults.append(Fault("reset"))
    with pytest.raises((ResponseFailed, ConnectionClosed)):
        await served.request(envelope(view()))
    served.server.faults.append(Fault("truncated"))
    response = await served.request(envelope(view()))
    with pytest.raises(ResponseFailed):
        await treq.collect(response, lambda _: None)
    assert codes((await served.ask(view()))[0]) == ["NoError"]


async def test_a_slow_answer_comes_and_a_stalled_one_never(served: World) -> None:
    served.server.faults += [Fault("slow", delay_s=60), Fault("stall")]
    slow = deferred(served.ask(view()))
    while served.server.requests["FindItem"] < 1:
        await deferLater(reactor, 0.01)
    stalled = deferred(served.request(envelope(view())))
    while served.server.requests["FindItem"] < 2:
        await deferLater(reactor, 0.01)
    served.pass_time(timedelta(seconds=60))
    assert codes((await slow)[0]) == ["NoError"]
    served.pass_time(timedelta(minutes=10))
    assert not stalled.called
    stalled.addErrback(lambda _: None)
    stalled.cancel()


# --- Autodiscover ---

def user_settings(*mailboxes: str, settings: str = "ExternalEwsUrl InternalEwsUrl GroupingInformation Other",
                  action: str = ACTION) -> str:
    users = "".join(f"<a:User><a:Mailbox>{m}</a:Mailbox></a:User>" for m in mailboxes)
    asked = "".join(f"<a:Setting>{s}</a:Setting>" for s in settings.split())
    return (f'<s:Envelope xmlns:s="{NAMESPACES["s"]}" xmlns:a="{NAMESPACE}" xmlns:wsa="{ADDRESSING}"><s:Header>'
            f"<a:RequestedServerVersion>Exchange2013_SP1</a:RequestedServerVersion><wsa:Action>{action}</wsa:Action>"
            "<wsa:To>https://localhost/autodiscover/autodiscover.svc</wsa:To></s:Header><s:Body>"
            f"<a:GetUserSettingsRequestMessage><a:Request><a:Users>{users}</a:Users><a:RequestedSettings>{asked}"
            "</a:RequestedSettings></a:Request></a:GetUserSettingsRequestMessage></s:Body></s:Envelope>")


async def discover(served: World, asked: str) -> etree._Element:
    response = await served.request(asked, path="/autodiscover/autodiscover.svc")
    body = await treq.content(response)
    assert response.code == 200, body
    answer = etree.fromstring(body)[-1][0]
    if (validator := schema("autodiscover/autodiscover-soap.xsd")) is not None:
        validator.assertValid(answer)
    return answer


def told(answer: etree._Element, name: str) -> list[str | None]:
    return [e.text for e in answer.iter(f"{{{NAMESPACE}}}{name}")]


async def test_autodiscover_tells_the_settings_of_many_mailboxes_at_once(served: World) -> None:
    answer = await discover(served, user_settings(ROOM, LOUNGE, "nobody@example.com"))
    groups = [f"dag{served.server.group(room):02d}.example.com" for room in (ROOM, LOUNGE)]
    assert told(answer, "Value") == [served.url, served.url, groups[0], served.url, served.url, groups[1]]
    assert told(answer, "ErrorCode")[1:] == ["NoError", "SettingIsNotAvailable", "NoError",
                                             "SettingIsNotAvailable", "InvalidUser"]


async def test_autodiscover_sends_elsewhere_on_command(served: World) -> None:
    served.server.referrals[ROOM] = Referral("RedirectAddress", "room@elsewhere.example")
    served.server.referrals[LOUNGE] = Referral("ServerBusy")
    answer = await discover(served, user_settings(ROOM, LOUNGE))
    assert told(answer, "ErrorCode") == ["NoError", "RedirectAddress", "ServerBusy"]
    assert told(answer, "RedirectTarget") == ["room@elsewhere.example", None]


async def test_autodiscover_refuses_what_it_cannot_know(served: World) -> None:
    assert told(await discover(served, user_settings()), "ErrorCode") == ["InvalidRequest"]
    assert told(await discover(served, user_settings(*[ROOM] * 91)), "ErrorCode") == ["InvalidRequest"]
    response = await served.request(user_settings(ROOM, action="x"), path="/autodiscover/autodiscover.svc")
    assert response.code == 500
    await treq.content(response)
    response = await served.request(user_settings(ROOM), path="/autodiscover/autodiscover.svc", password="wrong")
    assert response.code == 401


async def test_plain_http_sends_who_asks_for_autodiscover_to_https(served: World) -> None:
    port = served.server.listen_http(reactor)
    url = f"http://127.0.0.1:{port}/Autodiscover/autodiscover.xml"
    response = await treq.get(url, allow_redirects=False, persistent=False)
    assert response.code == 302
    assert response.headers.getRawHeaders("Location") == [
        f"https://localhost:{served.port}/autodiscover/autodiscover.xml"]
    refused = await treq.post(url, b"<x/>", persistent=False)
    assert refused.code == 403
    for answer in (response, refused):
        await treq.content(answer)
