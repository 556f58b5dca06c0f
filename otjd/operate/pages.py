"""The operator's overview page: plain HTML without scripts, for a person without other tools."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from jinja2 import Environment, StrictUndefined

from otjd.operate.status import Snapshot, endpoints_document, status_document

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
table { border-collapse: collapse; margin: .5em 0 1.5em } th, td { text-align: left; padding: .2em 1em .2em 0 }
th { border-bottom: 1px solid #999; font-weight: 600 } td { border-bottom: 1px solid #ddd; vertical-align: top }
.error, .critical, .failed, .unauthorized { color: #a00 } .warning, .degraded { color: #850 }
"""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode() + "'")

_OVERVIEW = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{{ status.node.name }} - otjd</title><style>{{ style|safe }}</style></head>
<body>
<h1>{{ status.node.name }}</h1>
<p>otjd {{ status.node.version }}, location {{ status.node.location }},
running since {{ status.node.started_at }}</p>
<h2>Alarms</h2>
{% if status.alarms %}<table>
<tr><th>Level</th><th>Alarm</th><th>Of</th><th>Since</th><th>Details</th></tr>
{% for alarm in status.alarms %}<tr><td class="{{ alarm.level }}">{{ alarm.level }}</td><td>{{ alarm.name }}</td>
<td>{{ alarm.instance }}</td><td>{{ alarm.raised_at }}</td><td>{{ alarm.details }}</td></tr>
{% endfor %}</table>{% else %}<p>None.</p>{% endif %}
<h2>Integrations</h2>
<table>
<tr><th>Name</th><th>Kind</th><th>State</th><th>Last success</th><th>Last error</th></tr>
{% for one in status.integrations %}<tr><td>{{ one.name }}</td><td>{{ one.kind }}</td>
<td class="{{ one.state }}">{{ one.state }}</td><td>{{ one.last_success or "never" }}</td>
<td>{{ one.last_error or "" }}</td></tr>
{% endfor %}</table>
<h2>Rooms and meetings</h2>
<p>{{ status.rooms.total }} rooms: {{ status.rooms.fresh }} fresh, {{ status.rooms.stale }} stale,
{{ status.rooms.never_read }} never read. {{ status.meetings.total }} meetings, {{ status.meetings.joinable }}
of them joinable.</p>
<h2>Endpoints</h2>
<p>{{ status.endpoints.in_contact }} of {{ status.endpoints.total }} in contact.{% if silent %} The others
{%- if silent|length > limit %}, the first {{ limit }}{% endif %}:{% endif %}</p>
{% if silent %}<table>
<tr><th>Name</th><th>Type</th><th>Room</th><th>Last contact</th><th>Last error</th></tr>
{% for one in silent[:limit] %}<tr><td>{{ one.endpoint_name }}</td><td>{{ one.endpoint_type }}</td>
<td>{{ one.room_email }}</td><td>{{ one.last_contact_time or "never" }}</td>
<td>{{ one.last_error or "" }}</td></tr>
{% endfor %}</table>{% endif %}
<h2>More</h2>
<ul>{% for path in paths %}<li><a href="{{ path }}">{{ path }}</a></li>{% endfor %}</ul>
</body>
</html>
"""

SILENT_SHOWN = 50
"""Rows of endpoints without contact that the page shows; all of them are in /api/v1/endpoints."""

_overview = Environment(autoescape=True, undefined=StrictUndefined).from_string(_OVERVIEW)


def overview_page(snapshot: Snapshot, paths: Iterable[str]) -> bytes:
    """The page at `/`, as UTF-8: alarms, integrations, counts, endpoints without contact, and links to `paths`."""
    silent = [row for row in endpoints_document(snapshot)["endpoints"] if not row["in_contact"]]
    text = _overview.render(status=status_document(snapshot), silent=silent, limit=SILENT_SHOWN, style=STYLE,
                            paths=tuple(paths))
    return text.encode("utf-8", "replace")
