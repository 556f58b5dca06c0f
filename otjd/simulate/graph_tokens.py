"""The token service beside a simulated Graph: client credentials, with the errors of Microsoft Entra."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from otjd.simulate.codec_http import Answer
from otjd.simulate.graph_errors import bad_token
from otjd.simulate.graph_settings import TENANT_ID, GraphApp, GraphSettings

JSON = b"application/json; charset=utf-8"
CLOUDS = ("graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn")
_KEPT_TOKENS = 1000
_DEFAULT = "/.default"
_NOT_INSTALLED = ("This can happen if the application has not been installed by the administrator of the tenant "
                  "or consented to by any user in the tenant. You may have sent your authentication request to "
                  "the wrong tenant.")


class _Refusal(Exception):  # noqa: N818 - an answer, not a mistake of ours
    def __init__(self, status: int, error: str, code: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.error = error
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class _Given:
    app: GraphApp
    ends: datetime


class Tokens:
    """Gives access tokens and knows them again."""

    def __init__(self, settings: GraphSettings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._apps = {app.client_id.lower(): app for app in settings.apps}
        self._given: dict[str, _Given] = {}
        self.given = 0

    def replace(self, app: GraphApp) -> None:
        """Have this registration from now on; tokens that were given to it before stay what they are."""
        self._apps[app.client_id.lower()] = app

    def revoke_all(self) -> None:
        """Let no token be good any more."""
        self._given.clear()

    def app_of(self, authorization: str) -> GraphApp:
        """The application that a header Authorization is of.

        :raises GraphError: 401.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise bad_token("Access token is empty.")
        if token.count(".") != 2:
            raise bad_token("IDX14100: JWT is not well formed, there are no dots (.).")
        given = self._given.get(token)
        if given is None:
            raise bad_token("Signing key is invalid.")
        if given.ends <= self._now():
            raise bad_token("Lifetime validation failed, the token is expired.")
        return given.app

    def is_tenant(self, tenant: str) -> bool:
        """Whether this is a name or the id of the tenant."""
        return tenant.lower() in (TENANT_ID, self._settings.tenant.lower())

    def configuration(self, tenant: str, base: str) -> Answer:
        """The document that tells clients where tokens are given; `base` is this service's address."""
        if not self.is_tenant(tenant):
            return self._refused(_unknown_tenant(tenant, "invalid_tenant"))
        at = f"{base}/{tenant}"
        return Answer(200, json.dumps({
            "token_endpoint": f"{at}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "jwks_uri": f"{at}/discovery/v2.0/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"], "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": f"{base}/{TENANT_ID}/v2.0", "authorization_endpoint": f"{at}/oauth2/v2.0/authorize",
            "tenant_region_scope": "EU", "cloud_instance_name": "microsoftonline.com"}).encode(), JSON)

    def token(self, tenant: str, body: bytes, host: str) -> Answer:
        """Answer a request for a token; `host` is the name and port under which Graph is asked here."""
        try:
            form = {name: values[-1] for name, values in
                    parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=50).items()}
        except ValueError:
            form = {}
        try:
            app, audience = self._checked(tenant, form, host)
        except _Refusal as refusal:
            return self._refused(refusal)
        token, life_s = self._new(app, audience), int(self._settings.token_life.total_seconds())
        return Answer(200, json.dumps({"token_type": "Bearer", "expires_in": life_s, "ext_expires_in": life_s,
                                       "access_token": token}).encode(), JSON,
                      headers=((b"Cache-Control", b"no-store, no-cache"), (b"Pragma", b"no-cache")))

    def _checked(self, tenant: str, form: Mapping[str, str], host: str) -> tuple[GraphApp, str]:
        if not self.is_tenant(tenant):
            raise _unknown_tenant(tenant, "invalid_request")
        for name in ("grant_type", "client_id", "scope"):
            if not form.get(name):
                raise _Refusal(400, "invalid_request", 900144,
                               f"The request body must contain the following parameter: '{name}'.")
        if form["grant_type"] != "client_credentials":
            raise _Refusal(400, "unsupported_grant_type", 70003,
                           f"The app requested an unsupported grant type '{form['grant_type']}'.")
        app = self._apps.get(form["client_id"].lower())
        if app is None:
            raise _Refusal(400, "unauthorized_client", 700016,
                           f"Application with identifier '{form['client_id']}' was not found in the directory "
                           f"'{tenant}'. {_NOT_INSTALLED}")
        if form.get("client_assertion"):
            raise _Refusal(401, "invalid_client", 700027,
                           "The certificate with identifier used to sign the client assertion is not registered "
                           "on application.")
        if not form.get("client_secret"):
            raise _Refusal(401, "invalid_client", 7000216,
                           "'client_assertion', 'client_secret' or 'request' is required for the "
                           "'client_credentials' grant type.")
        if not hmac.compare_digest(form["client_secret"].encode(), app.client_secret.encode()):
            raise _Refusal(401, "invalid_client", 7000215,
                           "Invalid client secret provided. Ensure the secret being sent in the request is the "
                           "client secret value, not the client secret ID, for a secret added to app "
                           f"'{app.client_id}'.")
        if app.secret_expired:
            raise _Refusal(401, "invalid_client", 7000222,
                           f"The provided client secret keys for app '{app.client_id}' are expired. Visit the "
                           "Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or "
                           "consider using certificate credentials for added security: https://aka.ms/certCreds.")
        return app, _audience(form["scope"], host, tenant)

    def _new(self, app: GraphApp, audience: str) -> str:
        now = self._now()
        ends = now + self._settings.token_life
        claims = {"aud": audience, "iss": f"https://sts.windows.net/{TENANT_ID}/", "iat": int(now.timestamp()),
                  "nbf": int(now.timestamp()), "exp": int(ends.timestamp()), "appid": app.client_id,
                  "idtyp": "app", "roles": sorted(app.roles), "tid": TENANT_ID, "ver": "1.0"}
        token = ".".join((_encoded({"typ": "JWT", "alg": "RS256", "kid": "simulated"}), _encoded(claims),
                          secrets.token_urlsafe(32)))
        if len(self._given) >= _KEPT_TOKENS:
            self._given = {t: g for t, g in self._given.items() if g.ends > now}
        self._given[token] = _Given(app, ends)
        self.given += 1
        return token

    def _refused(self, refusal: _Refusal) -> Answer:
        trace, correlation, now = str(uuid4()), str(uuid4()), f"{self._now():%Y-%m-%d %H:%M:%S}Z"
        return Answer(refusal.status, json.dumps({
            "error": refusal.error,
            "error_description": f"AADSTS{refusal.code}: {refusal.text} Trace ID: {trace} "
                                 f"Correlation ID: {correlation} Timestamp: {now}",
            "error_codes": [refusal.code], "timestamp": now, "trace_id": trace, "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={refusal.code}"}).encode(), JSON,
            outcome=refusal.error)


def _unknown_tenant(tenant: str, error: str) -> _Refusal:
    return _Refusal(400, error, 90002,
                    f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are "
                    "signing into the correct cloud. Check with your subscription administrator, this may happen "
                    "if there are no active subscriptions for the tenant.")


def _audience(scope: str, host: str, tenant: str) -> str:
    if " " in scope.strip() or not scope.endswith(_DEFAULT):
        raise _Refusal(400, "invalid_scope", 1002012,
                       f"The provided value for scope {scope} is not valid. Client credential flows must have a "
                       "scope value with /.default suffixed to the resource identifier (application ID URI).")
    resource = scope.removesuffix(_DEFAULT).rstrip("/")
    name = host.lower().partition(":")[0]  # the resource is Graph's name, whatever port it is asked at
    if urlsplit(resource).netloc.lower() not in (*CLOUDS, host.lower(), name):
        raise _Refusal(400, "invalid_resource", 500011,
                       f"The resource principal named {resource} was not found in the tenant named {tenant}. "
                       f"{_NOT_INSTALLED}")
    return resource


def _encoded(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
