// Microsoft's managed API for EWS, in its JavaScript port, against the service: prints what it read as JSON.
// usage: NODE_PATH=<node_modules> node ews_client.js URL USER PASSWORD basic|ntlm MAILBOX START END
const ews = require("ews-javascript-api");
const { XhrApi } = require("@ewsjs/xhr");

const [url, user, password, scheme, mailbox, start, end] = process.argv.slice(2);

async function main() {
  const service = new ews.ExchangeService(ews.ExchangeVersion.Exchange2013);
  const transport = new XhrApi({ rejectUnauthorized: false });
  service.XHRApi = scheme === "ntlm" ? transport.useNtlmAuthentication(user, password) : transport;
  service.Credentials = new ews.WebCredentials(user, password);
  service.Url = new ews.Uri(url);
  const folder = new ews.FolderId(ews.WellKnownFolderName.Calendar, new ews.Mailbox(mailbox));
  const span = [ews.DateTime.Parse(start), ews.DateTime.Parse(end)];

  const view = await service.FindAppointments(folder, new ews.CalendarView(...span));
  const shape = new ews.PropertySet(ews.BasePropertySet.FirstClassProperties);
  shape.RequestedBodyType = ews.BodyType.Text;
  const items = [];
  for (const found of view.Items) {
    const item = await ews.Appointment.Bind(service, found.Id, shape);
    items.push({
      subject: item.Subject, start: item.Start.ToISOString(), location: item.Location, body: item.Body.Text,
      organizer: item.Organizer.Address, type: item.AppointmentType, response: item.MyResponseType,
    });
  }

  const attendees = [new ews.AttendeeInfo(mailbox), new ews.AttendeeInfo("nobody@example.com")];
  const options = new ews.AvailabilityOptions();
  options.RequestedFreeBusyView = ews.FreeBusyViewType.DetailedMerged;
  const midnight = (text) => ews.DateTime.Parse(text.slice(0, 10) + "T00:00:00Z");
  const window = new ews.TimeWindow(midnight(start), midnight(end));
  const free = await service.GetUserAvailability(attendees, window, ews.AvailabilityData.FreeBusy, options);
  const [own, other] = [0, 1].map((n) => free.AttendeesAvailability.__thisIndexer(n));

  const changes = await service.SyncFolderItems(folder, ews.PropertySet.IdOnly, null, 100,
    ews.SyncFolderItemsScope.NormalItems, null);
  const again = await service.SyncFolderItems(folder, ews.PropertySet.IdOnly, null, 100,
    ews.SyncFolderItemsScope.NormalItems, changes.SyncState);
  const lists = await service.GetRoomLists();
  const settings = await ews.UserConfiguration.Bind(service, "OWA.UserOptions", ews.WellKnownFolderName.Root,
    ews.UserConfigurationProperties.Dictionary);
  console.log(JSON.stringify({
    items, isWhole: !view.MoreAvailable, busy: own.CalendarEvents.map((e) => e.Details.Subject),
    other: ews.ServiceError[other.ErrorCode], changes: changes.Items ? changes.Items.length : changes.Count,
    again: again.Items ? again.Items.length : again.Count, lists: lists.Items ? lists.Items.length : lists.Count,
    hasTimeZone: settings.Dictionary.ContainsKey("timezone"),
  }));
}

main().catch((error) => {
  console.error(error && error.stack ? error.stack : error, JSON.stringify(error));
  process.exit(1);
});
