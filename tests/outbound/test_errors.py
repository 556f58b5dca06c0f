from __future__ import annotations

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost, DNSLookupError, NoRouteError, TCPTimedOutError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from otjd.outbound.errors import Remedies, RequestError, UntrustedError, explain


@pytest.mark.parametrize(("error", "words"), [
    (NoRouteError(), "no route"),  # type: ignore[no-untyped-call]
    (TCPTimedOutError(), "no connection within 10 s"),  # type: ignore[no-untyped-call]
    (DNSLookupError("x"), "not known to DNS"),
    (ResponseFailed([Failure(RequestError("the answer is bad"))]), "the answer is bad"),  # type: ignore[no-untyped-call]
    (ConnectionLost(), "the connection was lost before the answer was complete"),
    (SSL.Error([]), "TLS handshake failed: the far side broke it off"),
    (KeyError(), "the connection failed: KeyError"),
])
def test_causes_are_put_into_words(error: Exception, words: str) -> None:
    assert words in explain(error)


def test_what_to_do_about_a_certificate_is_said_by_whoever_knows() -> None:
    assert explain(UntrustedError(20)) == (
        "the certificate is not trusted by this machine, its authority is unknown: name the PEM "
        "file of its authority as ca_file")
    assert explain(UntrustedError(99), Remedies(trust="pray")).endswith("verification error 99: pray")
