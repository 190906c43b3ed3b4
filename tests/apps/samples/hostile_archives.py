"""Archives that harm who unpacks them: bombs, members that leave their folder, lists that lie, closed ones."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from archives import info_zip, tree
from hostile_office import ARCHIVE, EICAR, INFECTED
from sample import Sample, run

MEGABYTE = 1 << 20


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return out.getvalue()


def nested(levels: int, inside: bytes) -> bytes:
    for level in range(levels):
        inside = zipped((f"level-{level}.zip", inside))
    return inside


def quine_like() -> bytes:
    """As 42.zip: sixteen in each of four levels, over 6 GB at the bottom."""
    inside = zipped(("0.bin", bytes(100 * MEGABYTE)))
    for _ in range(4):
        inside = zipped(*((f"{number}.zip", inside) for number in range(16)))
    return inside


def tarred(mode: str, *members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Members without a content are filled with zeros."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{mode}") as archive:
        for one in members:
            info, content = one if isinstance(one, tuple) else (one, bytes(one.size))
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def local(name: bytes, content: bytes, **fields: int) -> bytes:
    """A local header (APPNOTE section 4.3.7)."""
    return struct.pack("<4sH", b"PK\3\4", 20) + described(name, content, **fields) + struct.pack("<H", 0) + name


def central(name: bytes, content: bytes, offset: int, **fields: int) -> bytes:
    """An entry of the central directory (section 4.3.12)."""
    start = struct.pack("<4s2H", b"PK\1\2", 20, 20) + described(name, content, **fields)
    return start + struct.pack("<4H2I", 0, 0, 0, 0, 0, offset) + name


def described(name: bytes, content: bytes, **fields: int) -> bytes:
    """What both say of a member: its flags, its method, its sum and sizes, the length of its name."""
    crc = fields.get("crc", zlib.crc32(content))
    packed, size = fields.get("packed", len(content)), fields.get("size", len(content))
    flags, method = fields.get("flags", 0), fields.get("method", 0)
    return struct.pack("<4H3IH", flags, method, 0, 0x21, crc, packed, size, len(name))


def end(count: int, length: int, offset: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, length, offset, 0)


def by_hand(members: list[tuple[bytes, bytes]], listed: list[bytes], gap: bytes = b"") -> bytes:
    body = b"".join(local(name, content) + content for name, content in members) + gap
    return body + ended(listed, len(body))


def ended(listed: list[bytes], offset: int) -> bytes:
    directory = b"".join(listed)
    return directory + end(len(listed), len(directory), offset)


A, B = (b"a.txt", b"content of a"), (b"b.txt", b"content of b")
BEHIND_A = len(local(*A)) + len(A[1])
FIRST, SECOND = central(*A, 0), central(*B, BEHIND_A)


def overlapping() -> bytes:
    """Two members in the list, and one in the file."""
    return by_hand([A], [FIRST, central(b"b.txt", A[1], 0)])


def quoted_overlap() -> bytes:
    """David Fifield's: each member quotes the header of the next and goes on into it, down to one kernel for all."""
    content = bytes(MEGABYTE)
    kernel = zlib.compress(content, 9)[2:-4]
    packed = len(kernel)
    body = local(b"00", content, method=8, packed=packed) + kernel
    members = [(b"00", content, packed, 0)]
    for number in range(1, 60):
        name, quoted = b"%02d" % number, body[:32]
        block = struct.pack("<BHH", 0, len(quoted), len(quoted) ^ 0xFFFF)
        content, packed = quoted + content, len(block) + len(quoted) + packed
        head = local(name, content, method=8, packed=packed) + block
        members = [(name, content, packed, 0)] + [(*member, offset + len(head)) for *member, offset in members]
        body = head + body
    listed = [central(name, content, offset, method=8, packed=packed) for name, content, packed, offset in members]
    return body + ended(listed, len(body))


def unicode_path(name: bytes, other: str) -> bytes:
    """A second name in an extra field (section 4.6.9), which some unpackers follow and some do not."""
    field = struct.pack("<BI", 1, zlib.crc32(name)) + other.encode()
    extra = struct.pack("<2H", 0x7075, len(field)) + field
    content = b"x"
    head = local(name, content)
    body = head[:28] + struct.pack("<H", len(extra)) + head[30:] + extra + content
    entry = central(name, content, 0)
    entry = entry[:30] + struct.pack("<H", len(extra)) + entry[32:] + extra
    return body + ended([entry], len(body))


def streamed_stored() -> bytes:
    """A stored member whose size stands behind it: where it ends is anybody's guess."""
    out = bytearray(local(b"a.txt", b"", flags=8))
    out += A[1] + struct.pack("<4s3I", b"PK\7\10", zlib.crc32(A[1]), len(A[1]), len(A[1]))
    return bytes(out) + ended([central(*A, 0, flags=8)], len(out))


def pax(**records: str) -> bytes:
    """A harmless header, and the other name or link that stands in front of it."""
    info = member("a.txt", size=1)
    info.pax_headers = dict(records)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"x"))
    return out.getvalue()


def long_name(name: str) -> bytes:
    """GNU's way of a long name, in front of a header with a short one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(member("x/" * 60 + name, size=0))
    return out.getvalue()


def broken_tar() -> bytes:
    """A first header whose sum is wrong: some readers pass over it and go on."""
    first = bytearray(tarred("", member("a.txt")))[:512]
    first[148:154] = b"000000"
    return bytes(first) + tarred("", member("../../evil.txt"))


def write(content: bytes | Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content() if callable(content) else content)


def with_link(path: Path) -> None:
    folder = tree(path)
    (folder / "link").symlink_to("/etc/passwd")
    run("zip", "-q", "-X", "-r", "-y", path, ".", cwd=folder)


def password(kind: str, *options: str):
    return lambda path: run("7z", "a", "-bso0", "-bsp0", f"-t{kind}", "-psecret", *options, path, ".", cwd=tree(path))


def password_inside(path: Path) -> None:
    info_zip("-P", "secret")(path)
    path.write_bytes(zipped(("inner.zip", path.read_bytes())))


def changed(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new, 1)


def refused(name: str, extension: str, make: Callable[[Path], object], code: str = ARCHIVE) -> Sample:
    return Sample(f"evil-{extension}-{name}", extension, make, code)


CLIMBING = {
    "up": "../../evil.txt",
    "up-inside": "a/../../evil.txt",
    "absolute": "/etc/evil.txt",
    "drive": "C:/evil.txt",
    "backslash": "..\\..\\evil.txt",
}
SMALL = zipped(("a.txt", b"a"))
A_TEXT = ("a.txt", b"a line of text\n" * 100)


def method_odd() -> bytes:
    return local(*A, method=96) + A[1] + ended([central(*A, 0, method=96)], BEHIND_A)


def end_in_comment() -> bytes:
    """A comment that ends in an end record of its own, with another list."""
    inner = end(0, 0, 0)
    return SMALL[:-2] + struct.pack("<H", len(inner)) + inner


SAMPLES = [
    refused("second-name", "zip", write(unicode_path(b"a.txt", "../../evil.txt"))),
    refused("second-name-harmless", "zip", write(unicode_path(b"a.txt", "b.php"))),
    refused("streamed-stored", "zip", write(streamed_stored())),
    refused("flags-differ", "zip", write(by_hand([A], [central(*A, 0, flags=0x800)]))),
    refused("method-differs", "zip", write(by_hand([A], [central(*A, 0, method=8)]))),
    refused("method-bzip2", "zip", write(zipped(A_TEXT, method=zipfile.ZIP_BZIP2))),
    refused("method-lzma", "zip", write(zipped(A_TEXT, method=zipfile.ZIP_LZMA))),
    refused("method-odd", "zip", write(method_odd())),
    refused("end-in-the-comment", "zip", write(end_in_comment())),
    refused("cut", "zip", write(SMALL[:-30])),
    refused("two-in-a-row", "zip", write(SMALL + zipped(("b.txt", b"b")))),
    refused("pax-path", "tgz", write(pax(path="../../evil.txt"))),
    refused("pax-absolute", "tgz", write(pax(path="/etc/evil.txt"))),
    refused("pax-size", "tgz", write(pax(size="99999999999"))),
    refused("long-name-up", "tgz", write(long_name("../" * 61 + "evil.txt"))),
    refused("sparse", "tgz", write(tarred("gz", member("a", tarfile.GNUTYPE_SPARSE)))),
    refused("odd-type", "tar", write(tarred("", member("a", b"Z")))),
    refused("block-device", "tar", write(tarred("", member("sda", tarfile.BLKTYPE)))),
    refused("wrong-sum", "tar", write(broken_tar())),
    refused("wrong-sum", "tgz", write(gzip.compress(broken_tar(), mtime=0))),
    refused("no-tar", "tgz", write(gzip.compress(b"no tar at all", mtime=0))),
    refused("no-tar-first", "tgz", write(gzip.compress(b"x" * 512 + tarred("", member("../evil.txt")), mtime=0))),
    refused("second-behind-the-end", "tar", write(tarred("", member("a.txt")) + tarred("", member("../evil.txt")))),
    refused("second-pack", "tgz", write(tarred("gz", member("a.txt")) + tarred("gz", member("../../evil.txt")))),
    refused("bytes-behind", "gz", write(gzip.compress(b"a", mtime=0) + b"<?php system($_GET[0]);")),
    refused("wrong-sum", "gz", write(gzip.compress(b"a", mtime=0)[:-8] + bytes(8))),
    refused("cut", "gz", write(gzip.compress(b"a line\n" * 100, mtime=0)[:-12])),
    refused("cut", "tar", write(tarred("", member("a.txt", size=2000))[:1500])),
    *(refused(f"name-{kind}", "zip", write(zipped((name, b"x")))) for kind, name in CLIMBING.items()),
    *(refused(f"name-{kind}", "tgz", write(tarred("gz", member(name)))) for kind, name in CLIMBING.items()),
    refused("name-up", "tar", write(tarred("", member("../../evil.txt")))),
    refused("name-nul", "zip", write(by_hand([(b"a\0.txt", b"x")], [central(b"a\0.txt", b"x", 0)]))),
    refused("symlink", "zip", with_link),
    refused("symlink", "tgz", write(tarred("gz", member("a", tarfile.SYMTYPE, "/etc/passwd")))),
    refused("hard-link", "tgz", write(tarred("gz", member("a", tarfile.LNKTYPE, "../../etc/passwd")))),
    refused("device", "tgz", write(tarred("gz", member("null", tarfile.CHRTYPE)))),
    refused("fifo", "tar", write(tarred("", member("pipe", tarfile.FIFOTYPE)))),
    refused("password", "zip", info_zip("-P", "secret")),
    refused("password-aes", "zip", password("zip", "-mem=AES256")),
    refused("password", "7z", password("7z")),
    refused("password-names", "7z", password("7z", "-mhe=on")),
    refused("bomb", "zip", write(lambda: zipped(("zero.bin", bytes(120 * MEGABYTE))))),
    refused("bomb-ratio", "zip", write(lambda: zipped(("zero.bin", bytes(20 * MEGABYTE))))),
    refused("bomb-total", "zip", write(lambda: zipped(*((f"{n}.bin", bytes(15 * MEGABYTE)) for n in range(12))))),
    refused("bomb", "gz", write(lambda: gzip.compress(bytes(120 * MEGABYTE), mtime=0))),
    refused("bomb-members", "gz", write(lambda: gzip.compress(bytes(20 * MEGABYTE), mtime=0) * 8)),
    refused("bomb", "tgz", write(lambda: tarred("gz", member("zero.bin", size=120 * MEGABYTE)))),
    refused("bomb-42", "zip", write(quine_like)),
    refused(
        "bomb-in-tgz", "zip", write(lambda: zipped(("a.tgz", tarred("gz", member("zero.bin", size=120 * MEGABYTE)))))
    ),
    refused("nested-20", "zip", write(lambda: nested(20, SMALL))),
    refused("nested-5", "zip", write(lambda: nested(5, SMALL))),
    refused(
        "nested-gz",
        "gz",
        write(lambda: gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"a")))), mtime=0)),
    ),
    refused("many-members", "zip", write(lambda: zipped(*((f"{number}.txt", b"") for number in range(5000))))),
    refused("many-members", "tgz", write(lambda: tarred("gz", *(member(f"{number}.txt") for number in range(5000))))),
    refused("overlapping", "zip", write(overlapping)),
    refused("overlapping-quoted", "zip", write(quoted_overlap)),
    refused("list-other-name", "zip", write(by_hand([A], [central(b"b.txt", A[1], 0)]))),
    refused("list-other-size", "zip", write(by_hand([A], [central(*A, 0, size=5)]))),
    refused("list-other-sum", "zip", write(by_hand([A], [central(*A, 0, crc=7)]))),
    refused("list-short", "zip", write(by_hand([A, B], [FIRST]))),
    refused("list-long", "zip", write(by_hand([A], [FIRST, SECOND]))),
    refused("list-hides-first", "zip", write(by_hand([A, B], [SECOND]))),
    refused("list-twice", "zip", write(by_hand([A, B], [FIRST, SECOND]) + by_hand([A], [FIRST]))),
    refused("doubled-name", "zip", write(by_hand([A, (b"a.txt", B[1])], [FIRST, central(b"a.txt", B[1], BEHIND_A)]))),
    refused("wrong-sum", "zip", write(changed(by_hand([A], [FIRST]), A[1], b"Content of a"))),
    refused("bytes-between", "zip", write(by_hand([A], [FIRST], gap=b"<?php system($_GET[0]);?>"))),
    refused("bytes-behind", "zip", write(SMALL + b"behind")),
    refused("member-rar", "zip", write(zipped(("a.rar", b"Rar!\x1a\x07\x01\0" + bytes(64))))),
    refused("member-password", "zip", password_inside),
    refused("eicar-stored", "zip", write(zipped(("e.com", EICAR), method=zipfile.ZIP_STORED)), INFECTED),
    refused("eicar-packed", "zip", write(zipped(("e.com", EICAR))), INFECTED),
    refused("eicar-nested", "zip", write(nested(2, zipped(("e.com", EICAR)))), INFECTED),
    refused("eicar", "gz", write(gzip.compress(EICAR, mtime=0)), INFECTED),
    refused("eicar", "tgz", write(tarred("gz", (member("e.com", size=len(EICAR)), EICAR))), INFECTED),
]
