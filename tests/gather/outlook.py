"""Writes messages as Outlook saves them (.msg), so that tests have some: [MS-CFB] and [MS-OXMSG]."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
APPOINTMENT = "00062002-0000-0000-c000-000000000046"
COMMON = "00062008-0000-0000-c000-000000000046"
PUBLIC = "00020329-0000-0000-c000-000000000046"
MEETING = "6ed8da90-450b-101b-98da-00aa003f1305"

Tree = Mapping[str, "bytes | Tree"]
Name = tuple[str, int | str]
Value = str | bytes | int | bool | datetime


def compound_file(tree: Tree) -> bytes:
    """An OLE compound file of streams (bytes) and storages (mappings)."""
    writer = _Writer()
    writer.directory.append(["Root Entry", 5, FREE, FREE, END, 0])
    writer.directory[0][3] = writer.children(tree)
    return writer.file()


@dataclass
class _Writer:
    """Streams below 4096 bytes in the mini stream, the others in sectors; siblings are a chain to the right."""

    directory: list[list[object]] = field(default_factory=list)
    sectors: list[bytes] = field(default_factory=list)
    fat: list[int] = field(default_factory=list)
    mini: bytearray = field(default_factory=bytearray)
    mini_fat: list[int] = field(default_factory=list)

    def children(self, tree: Tree) -> int:
        following = FREE
        for name, content in reversed(list(tree.items())):
            here = len(self.directory)
            if isinstance(content, bytes):
                begin = self.stream(content)
                self.directory.append([name, 2, following, FREE, begin, len(content)])
            else:
                self.directory.append([name, 1, following, FREE, 0, 0])
                self.directory[here][3] = self.children(content)
            following = here
        return following

    def stream(self, content: bytes) -> int:
        if not content:
            return END
        if len(content) >= 4096:
            return self.chain(content)
        begin, count = len(self.mini_fat), -(-len(content) // 64)
        self.mini += content.ljust(64 * count, b"\0")
        self.mini_fat += [*range(begin + 1, begin + count), END]
        return begin

    def chain(self, content: bytes) -> int:
        begin, count = len(self.sectors), -(-len(content) // 512)
        self.sectors += [content[at:at + 512].ljust(512, b"\0") for at in range(0, len(content), 512)]
        self.fat += [*range(begin + 1, begin + count), END]
        return begin

    def file(self) -> bytes:
        mini_fat = self.chain(struct.pack(f"<{len(self.mini_fat)}I", *self.mini_fat)
                              .ljust(-(-len(self.mini_fat) // 128) * 512, b"\xff")) if self.mini else END
        self.directory[0][4:] = [self.chain(bytes(self.mini)) if self.mini else END, len(self.mini)]
        directory = self.chain(b"".join(map(self.entry, self.directory)))
        fat_sectors = 1
        while len(self.sectors) + fat_sectors > 128 * fat_sectors:
            fat_sectors += 1
        first = len(self.sectors)
        self.fat += [FAT] * fat_sectors
        table = struct.pack(f"<{len(self.fat)}I", *self.fat).ljust(512 * fat_sectors, b"\xff")
        header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack(
            "<HHHHH6xIIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, fat_sectors, directory, 0, 4096, mini_fat,
            -(-len(self.mini_fat) // 128), END, 0, first)
        listed = struct.pack("<109I", *range(first, first + fat_sectors), *[FREE] * (109 - fat_sectors))
        return header[:76] + listed + b"".join(self.sectors) + table

    @staticmethod
    def entry(values: list[object]) -> bytes:
        name, kind, right, child, begin, size = values
        encoded = str(name).encode("utf-16-le") + b"\0\0"
        return struct.pack("<64sHBBIII16x4x8x8xIQ", encoded, len(encoded), kind, 1, FREE, right, child, begin,
                           size)


def saved_message(properties: Mapping[int | Name, Value], *, string8: str = "",
                  attached: tuple[Mapping[int | Name, Value] | tuple[str, bytes], ...] = ()) -> bytes:
    """A message with these properties, by number or by set and name.

    With `string8` texts are in this encoding. `attached` are messages, and files with their name.
    """
    names: list[Name] = []
    tree: dict[str, bytes | Tree] = {}
    for number, given in enumerate(attached):
        inside: dict[str, bytes | Tree] = {}
        if isinstance(given, tuple):
            inside |= _storage({0x3707: given[0], 0x3701: given[1]}, names, 8, "")
        else:
            inside |= _storage({}, names, 8, "") | {"__substg1.0_3701000D": _storage(given, names, 24, string8)}
        tree[f"__attach_version1.0_#{number:08X}"] = inside
    tree |= _storage(properties, names, 32, string8)
    tree["__nameid_version1.0"] = _name_table(names)
    return compound_file(tree)


def _storage(properties: Mapping[int | Name, Value], names: list[Name], header: int,
             string8: str) -> dict[str, bytes | Tree]:
    streams: dict[str, bytes | Tree] = {}
    fixed = bytes(header)
    for key, value in properties.items():
        if isinstance(key, tuple) and key not in names:
            names.append(key)
        number = 0x8000 + names.index(key) if isinstance(key, tuple) else key
        if isinstance(value, str):
            kind, content = (0x001E, value.encode(string8)) if string8 else (0x001F, value.encode("utf-16-le"))
            streams[f"__substg1.0_{number:04X}{kind:04X}"] = content
            inline = struct.pack("<Q", len(content))
        elif isinstance(value, bytes):
            kind = 0x0102
            streams[f"__substg1.0_{number:04X}0102"] = value
            inline = struct.pack("<Q", len(value))
        elif isinstance(value, datetime):
            kind = 0x0040
            inline = struct.pack("<Q", int((value - EPOCH).total_seconds()) * 10_000_000)
        else:
            kind, inline = (0x000B if isinstance(value, bool) else 0x0003), struct.pack("<q", int(value))
        fixed += struct.pack("<HHI", kind, number, 6) + inline
    return {"__properties_version1.0": fixed, **streams}


def _name_table(names: list[Name]) -> Tree:
    sets: list[str] = []
    entries, texts = b"", b""
    for number, (set_id, name) in enumerate(names):
        if set_id == PUBLIC:
            index = 2
        else:
            if set_id not in sets:
                sets.append(set_id)
            index = 3 + sets.index(set_id)
        identifier = name if isinstance(name, int) else len(texts)
        if isinstance(name, str):
            encoded = name.encode("utf-16-le")
            texts += struct.pack("<I", len(encoded)) + encoded + bytes(-len(encoded) % 4)
        entries += struct.pack("<IHH", identifier, index << 1 | isinstance(name, str), number)
    return {"__substg1.0_00020102": b"".join(uuid.UUID(s).bytes_le for s in sets),
            "__substg1.0_00030102": entries, "__substg1.0_00040102": texts}
