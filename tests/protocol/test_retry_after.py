"""How long servers ask to be left alone."""

from __future__ import annotations

import pytest

from otjd.protocol.retry_after import MOST_RETRY_AFTER_S, retry_after_s


@pytest.mark.parametrize(("value", "seconds"), [
    ("120", 120.0), (" 0 ", 0.0), ("999999999999", MOST_RETRY_AFTER_S), ("", None), ("soon", None), ("-5", None),
    ("1.5", None), ("٣", None),
    ("Mon, 02 Mar 2026 08:02:00 GMT", 120.0), ("Mon, 02 Mar 2026 07:00:00 GMT", 0.0),
    ("Tue, 03 Mar 2026 08:00:00 GMT", MOST_RETRY_AFTER_S),
])
def test_retry_after_is_read_in_both_forms_and_bounded(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, "Mon, 02 Mar 2026 08:00:00 GMT") == seconds


def test_a_retry_after_date_without_the_date_of_the_answer_says_nothing() -> None:
    assert retry_after_s("Mon, 02 Mar 2026 08:02:00 GMT") is None
    assert retry_after_s("Mon, 02 Mar 2026 08:02:00 GMT", "Mon, 02 Mar 2026 08:00:00 -0000") is None
