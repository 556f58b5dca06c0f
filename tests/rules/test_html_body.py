"""The HTML of a body as one string with marks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from otjd.rules.html_body import BLOCK, LINE, LINKS_LIMIT, TARGET, read_html


def test_blocks_and_lines_are_marked_and_links_stand_apart() -> None:
    read = read_html("<div>a<br>b</div><a href='https://x.example/1'>One</a> <a href='https://y.example/'>"
                     "https://y.example/</a><a href='#top'>top</a>")
    assert read.text == f"{BLOCK}{BLOCK}a{LINE}b{BLOCK}One{TARGET} https://y.example/top{BLOCK}"
    assert read.shown == ("https://x.example/1",)
    assert read.targets == ("https://x.example/1", "https://y.example/")


def test_marks_in_the_source_do_not_count() -> None:
    assert read_html(f"a{BLOCK}b").text.strip(BLOCK) == "a\x81b"
    assert read_html("a\x8d\x8f\x90\x9db &#143;&#144;c").text.strip(BLOCK) == "ab c"
    forged = read_html("a&#144; &#143;b<a href='https://x.example/'>c&#157;d&#143;</a>e&#157;")
    assert forged.text.strip(BLOCK) == f"a bcd{TARGET}e"
    assert forged.shown == ("https://x.example/",)


def test_a_tag_with_thousands_of_attributes_is_not_given_to_the_parser() -> None:
    attributes = " ".join(f"a{n}=1" for n in range(20_000))
    hidden_ends = " ".join(f"a{n}='>'" for n in range(20_000))
    for source in (attributes, hidden_ends):
        read = read_html(f"<b {source}>Join</b> <a href='https://x.example/'>here</a>")
        assert read.targets == ("https://x.example/",)
        assert "Join" in read.text


def test_links_and_tags_beyond_the_limits_are_left_out_and_their_labels_stay() -> None:
    many = read_html("<a href='https://x.example/'>y</a>" * (LINKS_LIMIT + 500))
    assert len(many.targets) == LINKS_LIMIT
    assert many.text.count("y") == LINKS_LIMIT + 500
    deep = read_html("<b>" * 60_000 + "too far")
    assert "too far" not in deep.text


def test_several_threads_read_at_a_time() -> None:
    sources = [f"<p>{n}<a href='https://x.example/{n}'>y</a></p>" * 200 for n in range(40)]
    alone = [read_html(source) for source in sources]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read_html, sources * 3)) == alone * 3
