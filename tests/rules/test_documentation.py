from __future__ import annotations

from pathlib import Path

import pytest

from otjd.rules.registry import KNOWN, supported

PAGE = (Path(__file__).parent.parent.parent / "docs" / "rules.md").read_text()


def test_every_type_that_may_be_configured_is_supported() -> None:
    assert set(supported()) == set(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_the_operators_page_tells_of_every_type_its_variables_and_transform(name: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert supported()[name].default_transform.replace("|", "\\|") in row
    assert all(f"`{variable}`" in row for variable in supported()[name].variables)
