from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from otjd.protocol import markup
from otjd.protocol.markup import DocumentLimits, UnreadableError, read_document


@pytest.mark.parametrize(("body", "content_type"), [
    ("<a>ö</a>".encode(), ""),
    ("<a>ö</a>".encode(), "text/xml"),
    ("\ufeff<a>ö</a>".encode(), "text/xml; charset=iso-8859-1"),
    ("<a>ö</a>".encode("latin-1"), 'text/xml; charset="ISO-8859-1"'),
    ('<?xml version="1.0" encoding="windows-1252"?><a>ö</a>'.encode("cp1252"), "text/xml"),
    ('<?xml version="1.0" encoding="utf-16"?><a>ö</a>'.encode(), "text/xml; charset=utf-8"),
    ('<?xml version="1.0" encoding="utf-8"?><a>ö</a>'.encode("utf-16"), "text/xml; charset=utf-8"),
    ("<a>ö</a>".encode("utf-16-le"), ""),
    ("<a>ö</a>".encode("utf-16-be"), ""),
    ('\r\n <?xml version="1.0"?><a>ö</a>'.encode(), ""),
])
def test_a_document_is_read_in_the_encoding_that_it_comes_in(body: bytes, content_type: str) -> None:
    assert read_document(body, content_type).text == "ö"


@pytest.mark.parametrize(("body", "content_type", "reason"), [
    (b"", "", ""),
    (b"<a><b></a>", "", "mismatch"),
    (b"\xff<a/>", "", "encoded as utf-8"),
    (b"<a/>", "text/xml; charset=rot13", "'rot13' is not supported"),
    (b"<a/>", "text/xml; charset=punycode", "'punycode' is not supported"),
    (b'<?xml version="1.0" encoding="utf-7"?><a/>', "", "'utf-7' is not supported"),
    (b"<a>\0</a>", "", ""),
    (b"<a>&nbsp;</a>", "", "nbsp"),
    (b"<a><b/></a><c/>", "", ""),
])
def test_what_is_not_well_formed_is_refused_with_its_reason(body: bytes, content_type: str, reason: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        read_document(body, content_type)
    assert reason in refused.value.violation
    assert refused.value.violation


def test_a_refusal_names_line_and_position_of_the_document_as_it_was_sent() -> None:
    with pytest.raises(UnreadableError) as refused:
        read_document(b'<?xml version="1.0"\n encoding="utf-8"?>\n<a>\n <b></c></a>')
    assert (refused.value.line, refused.value.position) == (4, 9)


ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize("declaration", [
    "<!DOCTYPE a>",
    '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd">',
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]>',
    f'<!DOCTYPE a [<!ENTITY e0 "ha">{ENTITIES}]>',
])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_declaration_is_refused_in_every_encoding(declaration: str, encoding: str) -> None:
    with pytest.raises(UnreadableError, match="document type declaration"):
        read_document(f'{declaration}<a b="&x;">&x;&e9;</a>'.encode(encoding))


def test_depth_is_limited() -> None:
    def nested(levels: int) -> bytes:
        return b"<a>" * levels + b"</a>" * levels

    assert read_document(nested(markup.DEPTH_LIMIT)).tag == "a"
    for levels in (markup.DEPTH_LIMIT + 1, 5000, 100_000):
        with pytest.raises(UnreadableError):
            read_document(nested(levels))


def test_comments_and_instructions_are_not_read() -> None:
    root = read_document(b"<a><!-- x --><b/><?php y ?></a>")
    assert [markup.local_name(e) for e in root] == ["b"]


def test_children_are_found_by_name_in_whatever_namespace() -> None:
    root = read_document(b'<a xmlns:t="urn:t"><t:b>1</t:b><b> 2 </b><c xmlns="urn:c"/></a>')
    assert [markup.content(e) for e in markup.children(root, "b")] == ["1", "2"]
    assert [markup.namespace(e) for e in root] == ["urn:t", "", "urn:c"]
    assert markup.child(root, "d") is None
    assert markup.child(None, "b") is None
    assert markup.content(None) == ""


@given(st.text())
def test_any_text_survives_or_loses_only_what_xml_cannot_hold(value: str) -> None:
    root = etree.fromstring(f'<a b="{markup.attribute(value)}">{markup.text(value)}</a>'.encode())
    kept = "".join(c for c in value if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd"
                   or c > "\uffff")
    assert (root.text or "") == kept
    assert root.get("b") == kept


def test_only_the_escapes_of_exchange_are_written() -> None:
    assert markup.text("a & b < c > d \"e\" 'f'\r\ng\x01\x0b") == "a &amp; b &lt; c &gt; d \"e\" 'f'&#xD;\ng"
    assert markup.attribute("a \"b\"\r\n\t'") == "a &quot;b&quot;&#xD;&#xA;&#x9;'"


def test_the_number_of_elements_is_limited_before_they_take_memory() -> None:
    limits = DocumentLimits(elements=5)
    assert len(read_document(b"<a><b/><c></c><d>1</d><e/></a>", limits=limits)) == 4
    assert len(read_document(b"<?xml version='1.0'?><a><!-- --><b/><c/><d/><e/></a>", limits=limits)) == 4
    for body in (b"<a><b/><c/><d/><e/><f/></a>", b"<a>" + b"<b/>" * 200_000, b"<a>" * 200_000):
        with pytest.raises(UnreadableError, match="more than 5 elements"):
            read_document(body, limits=limits)


@pytest.mark.parametrize("depth", [16, 200])
def test_depth_is_limited_as_asked(depth: int) -> None:
    limits = DocumentLimits(depth=depth)
    assert read_document(b"<a>" * depth + b"</a>" * depth, limits=limits).tag == "a"
    with pytest.raises(UnreadableError, match=f"more than {depth} levels"):
        read_document(b"<a>" * (depth + 1) + b"</a>" * (depth + 1), limits=limits)
