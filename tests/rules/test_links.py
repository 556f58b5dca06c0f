"""Rewritten links are undone."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.rules.links import original, restore_safe_links, restore_url_defense

TARGET = "https://vid.example.com/c/12345?x=a.b_c-d&y=1"
SAFE = "https://nam12.safelinks.protection.outlook.com/?url={}&data=05%7C02&sdata=q%3D&reserved=0"


def proofpoint_v2(link: str) -> str:
    u = quote(link, safe=".").replace("-", "%2D").replace("_", "%5F").replace("%2F", "_").replace("%", "-")
    return f"https://urldefense.proofpoint.com/v2/url?u={u}&d=DwM&c=V&e="


def sophos(link: str) -> str:
    return f"https://eu.protection.sophos.com/?d=x.example&u={quote(base64.b64encode(link.encode()))}&i=1"


@pytest.mark.parametrize("rewritten", [
    SAFE.format(quote(TARGET, safe="")),
    f"https://nam02.safelinks.protection.outlook.com/ap/t-59584e83/?url={quote(TARGET, safe='')}&reserved=0",
    f"https://usg02.safelinks.protection.office365.us/?url={quote(TARGET, safe='')}",
    proofpoint_v2(TARGET),
    f"https://urldefense.com/v3/__{TARGET}__;!!Kd9x!a7B$",
    f"https://urldefense.proofpoint.com/v3/__{TARGET.replace('https://', 'https:/')}__;!!Kd9x!a7B$",
    "https://urldefense.com/v3/__" + TARGET.replace("a.", "*.").replace("d&", "*&") + "__;YWQ!!Kd9x!a7B$",
    f"https://linkprotect.cudasvc.com/url?a={quote(TARGET, safe='')}&c=E,1,x&typo=1",
    f"https://secure-web.cisco.com/1kQ7vZ2n/{quote(TARGET, safe='')}",
    sophos(TARGET),
    f"https://protect.checkpoint.com/v2/r05/___{TARGET}___.YzJlOm",
    f"https://imsva91-ctp.trendmicro.com:443/wis/clicktime/v1/query?url={quote(TARGET, safe='').lower()}&umid=1",
    f"https://www.google.com/url?q={quote(TARGET, safe='')}&sa=D&source=calendar",
    SAFE.format(quote(proofpoint_v2(TARGET), safe="")),
    SAFE.format(quote(f"https://urldefense.com/v3/__{TARGET}__;!!K!a$", safe="")),
])
def test_a_rewritten_link_is_restored(rewritten: str) -> None:
    assert original(rewritten).lower() == TARGET.lower()


def test_runs_of_the_third_proofpoint_form_are_counted() -> None:
    link = "https://urldefense.com/v3/__https://x.example/j/9?pwd=Q1d**AFbG__;Kys!!Kd9xPqR2!a7Bc$"
    assert original(link) == "https://x.example/j/9?pwd=Q1d++FbG"


@pytest.mark.parametrize("link", [
    TARGET, "", "mailto:pat@example.com", "https://protect-us.mimecast.com/s/b1C2d3?domain=pexip.me",
    "https://nam12.safelinks.protection.outlook.com/?data=1", "https://evil.example/?url=https%3A%2F%2Fa.example",
    "https://safelinks.protection.outlook.com.evil.example/?url=https%3A%2F%2Fa.example",
    "https://nam12.safelinks.protection.outlook.com/?url=not-a-link", "https://[::1/?url=https://a.example",
    "https://eu.protection.sophos.com/?u=%%%", "https://eu.protection.sophos.com/?u=gIA",
    "https://eu.protection.sophos.com/",
    "https://urldefense.com/v3/nothing", "https://urldefense.com/v3/__https://a*b__;%%%!!x",
    "https://urldefense.com/x",
    "https://secure-web.cisco.com/1kQ7/plain", "https://protect.checkpoint.com/v2/x",
    "https://www.google.com/search?q=a",
    "https://x.trendmicro.com/other?url=https%3A%2F%2Fa.example",
])
def test_what_cannot_be_undone_stays(link: str) -> None:
    assert original(link) == link


def test_nesting_has_a_limit() -> None:
    link = TARGET
    for _ in range(8):
        link = SAFE.format(quote(link, safe=""))
    assert original(link).startswith("https://nam12")


def test_a_malformed_escape_neither_fails_nor_loops() -> None:
    assert original(SAFE.format("https%3A%2F%2Fzoom.us%2Fj%2") + "%ZZ%") == "https://zoom.us/j%2"


def test_links_in_a_text_are_restored_in_place() -> None:
    safe = SAFE.format(quote(TARGET, safe=""))
    assert restore_safe_links(f"a {safe} b <{safe}> {proofpoint_v2(TARGET)}") == (
        f"a {TARGET} b <{TARGET}> {proofpoint_v2(TARGET)}")
    assert restore_url_defense(f"a {proofpoint_v2(TARGET)} {safe}") == f"a {TARGET} {safe}"


@given(st.sampled_from([SAFE, "https://urldefense.com/v3/__{}__;{}!!",
                        "https://urldefense.proofpoint.com/v2/url?u={}",
                        "https://eu.protection.sophos.com/?u={}", "https://protect.checkpoint.com/___{}___{}",
                        "https://www.google.com/url?q={}", "{}"]), st.text())
def test_no_link_makes_it_fail(shape: str, inside: str) -> None:
    original(shape.format(inside, inside))
