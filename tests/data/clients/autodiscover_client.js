// Autodiscover by Microsoft's managed API for EWS, in its JavaScript port: prints what it was told as JSON.
// usage: NODE_PATH=<node_modules> node autodiscover_client.js URL USER PASSWORD basic|ntlm MAILBOX
const ews = require("ews-javascript-api");
const { XhrApi } = require("@ewsjs/xhr");

const [url, user, password, scheme, mailbox] = process.argv.slice(2);

async function foundByHost(host) {
  const service = new ews.AutodiscoverService(ews.ExchangeVersion.Exchange2013);
  service.XHRApi = new XhrApi({ rejectUnauthorized: false });
  const found = {};
  return (await service.TryGetAutodiscoverEndpointUrl(host, found)) ? found.outValue.ToString() : null;
}

async function main() {
  const service = new ews.AutodiscoverService(new ews.Uri(url), null, ews.ExchangeVersion.Exchange2013);
  const transport = new XhrApi({ rejectUnauthorized: false });
  service.XHRApi = scheme === "ntlm" ? transport.useNtlmAuthentication(user, password) : transport;
  service.Credentials = new ews.WebCredentials(user, password);

  const wanted = [ews.UserSettingName.ExternalEwsUrl, ews.UserSettingName.EwsSupportedSchemas,
    ews.UserSettingName.UserDisplayName, ews.UserSettingName.MobileMailboxPolicy];
  const told = await service.GetUsersSettings([mailbox, "nobody@example.com"], ...wanted);
  const [own, other] = told.Responses;
  // one domain only: where there are no settings at all, this client stumbles
  const domain = await service.GetDomainSettings("example.com", null, ews.DomainSettingName.ExternalEwsUrl);
  console.log(JSON.stringify({
    error: ews.AutodiscoverErrorCode[told.ErrorCode],
    settings: wanted.map((name) => own.Settings.get(name) || null),
    missing: own.UserSettingErrors.map((e) => [ews.AutodiscoverErrorCode[e.ErrorCode], e.SettingName]),
    other: ews.AutodiscoverErrorCode[other.ErrorCode],
    domain: domain.Settings.get(ews.DomainSettingName.ExternalEwsUrl),
    found: await foundByHost(new ews.Uri(url).Host),
    server: [service.ServerInfo.MajorVersion, service.ServerInfo.VersionString],
  }));
}

main().catch((error) => {
  console.error(error && error.stack ? error.stack : error, JSON.stringify(error));
  process.exit(1);
});
