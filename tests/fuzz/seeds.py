#!/usr/bin/env python3
"""Writes the files that fuzzing begins with: FOLDER/TARGET/NAME, small and whole, with the standard library alone."""

import gzip
import io
import sys
import tarfile
import zipfile
from pathlib import Path

PNG = (Path(__file__).parent / "pixel.png").read_bytes()
TYPES = '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">{}</Types>'
RELATIONS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="a" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/{}" '
    'Target="{}"{}/></Relationships>'
)


def zipped(members, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def streamed(members):
    """As a program writes that cannot go back: sizes behind the data."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.bytes = bytearray()

        def writable(self):
            return True

        def write(self, data):
            self.bytes += data
            return len(data)

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return bytes(out.bytes)


def tarred(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return out.getvalue()


def office(folder, extra=None):
    members = {
        "[Content_Types].xml": TYPES.format(""),
        "_rels/.rels": RELATIONS.format("officeDocument", f"{folder}/document.xml", ""),
        f"{folder}/document.xml": "<w:document><w:body><w:p><w:r><w:t>hello</w:t></w:r></w:p></w:body></w:document>",
    }
    return zipped({**members, **(extra or {})})


def part(head, content):
    return b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n"


def pdf(extra=b""):
    return b"%PDF-1.5\n1 0 obj<</Type/Catalog/Pages 2 0 R" + extra + b">>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n" \
        b"trailer<</Root 1 0 R>>\n%%EOF\n"


def seeds():
    note = {"a.txt": b"hello " * 20, "b/c.bin": bytes(range(256))}
    inner = zipped(note)
    archives = {
        "zip": b"\0" + inner,
        "stored": b"\0" + zipped(note, zipfile.ZIP_STORED),
        "streamed": b"\0" + streamed(note),
        "nested": b"\0" + zipped({"inner.zip": inner, "c.tgz": gzip.compress(tarred(note), mtime=0)}),
        "gz": b"\1" + gzip.compress(b"hello " * 100, mtime=0),
        "tgz": b"\2" + gzip.compress(tarred(note), mtime=0),
        "tar": b"\3" + tarred(note),
        "bomb": b"\0" + zipped({"zeros": bytes(1 << 20)}),
    }
    external = RELATIONS.format("attachedTemplate", "http://example.com/a.dotm", ' TargetMode="External"')
    documents = {
        "docx": b"\0" + office("word"),
        "xlsx": b"\1" + office("xl"),
        "pptx": b"\2" + office("ppt"),
        "macro": b"\0" + office("word", {"word/vbaProject.bin": "x"}),
        "template": b"\0" + office("word", {"word/_rels/settings.xml.rels": external}),
        "ole": b"\3" + b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + b"\x3e\0\3\0\xfe\xff\x09\0\6\0" + bytes(474) + bytes(1024),
    }
    file = b'name="file"; filename="%s"\r\nContent-Type: image/png'
    forms = {
        "field": part(b'name="a"', b"hello") + b"--b--\r\n",
        "file": part(b'name="a"', b"hello") + part(file % b"a.png", PNG) + b"--b--\r\n",
        "star": part(b"name=\"file\"; filename=\"a.png\"; filename*=UTF-8''a%2epng", PNG) + b"--b--\r\n",
        "quoted": part(file % b'a\\"b%22.png', PNG) + part(file % b"", b"") + b"--b--",
    }
    head = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    pictures = {
        "plain": head + '<path d="M0 0L9 9" style="fill:url(#a)"/><use xlink:href="#a"/></svg>',
        "script": head + "<script>alert(1)</script></svg>",
        "event": head + '<a xlink:href="javascript:x" onload="x"/><!-- c --><![CDATA[ x ]]></svg>',
        "entity": '<!DOCTYPE svg [<!ENTITY x "y">]>' + head + "&x;</svg>",
    }
    stream = b"<</Type/ObjStm/N 1/First 4/Length 30/Filter/FlateDecode>>stream\n" + bytes(30) + b"\nendstream"
    pages = {
        "plain": pdf(),
        "script": pdf(b"/OpenAction<</S/JavaScript/JS(x)>>"),
        "escaped": pdf(b"/AA<</O<</S/J#61vaScript>>>>"),
        "stream": pdf().replace(b"trailer", b"3 0 obj" + stream + b"endobj\ntrailer"),
    }
    names = ["a.png", "a.php.png", "..%2fa.png", "a\u202egnp.png", "con.png", "a%2500.png", "\uff0ea.png"]
    return {
        "archive": archives,
        "office": documents,
        "multipart": forms,
        "svg": {name: text.encode() for name, text in pictures.items()},
        "pdf": pages,
        "name": {f"{at}": name.encode() for at, name in enumerate(names)},
    }


def main():
    folder = Path(sys.argv[1])
    for target, files in seeds().items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / target / f"seed-{name}").write_bytes(content)


if __name__ == "__main__":
    main()
