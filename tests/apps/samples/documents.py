"""Documents, by reportlab, ghostscript, cairo, Chromium, pikepdf, python-docx, openpyxl, python-pptx, odfpy and xlwt."""

import csv
import json
import xml.etree.ElementTree as Xml
from email.message import EmailMessage
from pathlib import Path

import docx
import odf.draw
import odf.opendocument
import odf.style
import odf.table
import odf.text
import openpyxl
import pikepdf
import pptx
import reportlab
import xlsxwriter
import xlwt
from images import base, photo
from PIL import Image
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from sample import Sample, run

POEM = (
    20
    * """门神守门，谁也进不来。
The guardian stands at the gate & lets nobody in.
price < 5 > 3, 5% of $_ and #!
"""
)


def pdf_plain(path: Path) -> None:
    canvas = Canvas(str(path), pagesize=A4, invariant=True)
    canvas.drawString(72, 700, "A page of text")
    canvas.drawImage(str(base(path.parent)), 72, 500)
    canvas.showPage()
    canvas.drawString(72, 700, "A second page")
    canvas.save()


def pdf_links(path: Path) -> None:
    """Links, an outline that opens, and a form to fill in."""
    canvas = Canvas(str(path), pagesize=A4, invariant=True)
    canvas.drawString(72, 720, "A form")
    canvas.bookmarkPage("top")
    canvas.addOutlineEntry("The top", "top")
    canvas.showOutline()
    canvas.linkURL("https://example.com/", (72, 690, 200, 710))
    canvas.linkAbsolute("to the top", "top", (72, 650, 200, 670))
    canvas.acroForm.textfield(name="name", x=72, y=600, width=200, height=20, value="your name")
    canvas.acroForm.checkbox(name="agree", x=72, y=560)
    canvas.acroForm.choice(name="choice", x=72, y=520, width=100, height=20, value="one", options=["one", "two"])
    canvas.save()


def made_from_plain(path: Path, **options: object) -> None:
    source = path.with_name(f"{path.stem}-source.pdf")
    pdf_links(source)
    with pikepdf.open(source) as document:
        document.Root.OpenAction = pikepdf.Array([document.pages[0].obj, pikepdf.Name.Fit])
        document.save(path, deterministic_id=True, **options)


def pdf_ghostscript(path: Path) -> None:
    script = path.with_suffix(".ps.txt")
    script.write_text("/Helvetica findfont 20 scalefont setfont 72 700 moveto (Set by PostScript) show showpage\n")
    run("gs", "-q", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pdfwrite", f"-sOutputFile={path}", script)


def pdf_cairo(path: Path) -> None:
    source = path.with_name("cairo-source.pdf")
    pdf_plain(source)
    run("pdftocairo", "-pdf", source, path)


def pdf_chromium(path: Path) -> None:
    page = path.with_suffix(".source.html")
    page.write_text(f"<!doctype html><title>Printed</title><h1>Printed</h1><p><a href='https://example.com/'>a</a>{POEM}")
    profile = path.with_suffix(".profile")
    run(
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-pdf-header-footer",
        f"--user-data-dir={profile}",
        f"--print-to-pdf={path}",
        page.as_uri(),
    )


def pdf_scan(path: Path) -> None:
    with Image.open(base(path.parent)) as picture:
        picture.convert("RGB").save(path)


def pdf_font(path: Path) -> None:
    """With a font of its own."""
    canvas = Canvas(str(path), pagesize=A4, invariant=True)
    pdfmetrics.registerFont(TTFont("Vera", "Vera.ttf"))
    canvas.setFont("Vera", 14)
    canvas.drawString(72, 700, "Words in a font that is in the file")
    canvas.save()


def pdf_photo(path: Path) -> None:
    """A photograph on a page, as ASCII85."""
    source = path.with_name("pdf-photo-source.jpg")
    photo(source)
    canvas = Canvas(str(path), pagesize=A4, invariant=True)
    canvas.drawImage(str(source), 36, 200, 500, 375)
    canvas.save()


def word(path: Path) -> None:
    document = docx.Document()
    document.add_heading("A report", 0)
    document.add_paragraph(POEM)
    document.add_picture(str(base(path.parent)))
    table = document.add_table(rows=2, cols=2)
    table.cell(0, 0).text = "a cell"
    document.save(str(path))


def word_linked(path: Path) -> None:
    """With a link to a page, which is a relationship that leads outside."""
    document = docx.Document()
    paragraph = document.add_paragraph("see ")
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink"
    link = document.part.relate_to("https://example.com/?a=1&b=2", kind, is_external=True)
    element = docx.oxml.OxmlElement("w:hyperlink")
    element.set(docx.oxml.ns.qn("r:id"), link)
    run_of_text = docx.oxml.OxmlElement("w:r")
    text = docx.oxml.OxmlElement("w:t")
    text.text = "this page"
    run_of_text.append(text)
    element.append(run_of_text)
    paragraph._p.append(element)
    document.save(str(path))


def sheet(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["name", "sum"])
    for row in range(200):
        book.active.append([f"row {row}", row])
    book.active["C1"] = "=SUM(B2:B201)"
    book.active["D1"].hyperlink = "https://example.com/"
    book.save(path)


def sheet_chart(path: Path) -> None:
    """By a second writer, with a chart and a picture."""
    book = xlsxwriter.Workbook(str(path))
    page = book.add_worksheet()
    page.write_column("A1", range(10))
    chart = book.add_chart({"type": "line"})
    chart.add_series({"values": "=Sheet1!$A$1:$A$10"})
    page.insert_chart("C1", chart)
    page.insert_image("C20", str(base(path.parent)))
    book.close()


def slides(path: Path) -> None:
    deck = pptx.Presentation()
    page = deck.slides.add_slide(deck.slide_layouts[5])
    page.shapes.title.text = "A slide"
    page.shapes.add_picture(str(base(path.parent)), 0, 0)
    deck.save(str(path))


def slides_chart(path: Path) -> None:
    """With a chart, whose numbers are a workbook inside the file."""
    deck = pptx.Presentation()
    page = deck.slides.add_slide(deck.slide_layouts[5])
    numbers = CategoryChartData()
    numbers.categories = ["a", "b"]
    numbers.add_series("series", (1.5, 2.5))
    page.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(1), Inches(4), Inches(3), numbers)
    deck.save(str(path))


def odt(path: Path) -> None:
    document = odf.opendocument.OpenDocumentText()
    for line in POEM.splitlines():
        document.text.addElement(odf.text.P(text=line))
    document.save(str(path))


def ods(path: Path) -> None:
    document = odf.opendocument.OpenDocumentSpreadsheet()
    table = odf.table.Table(name="A sheet")
    for number in range(20):
        row = odf.table.TableRow()
        cell = odf.table.TableCell(valuetype="float", value=number)
        cell.addElement(odf.text.P(text=str(number)))
        row.addElement(cell)
        table.addElement(row)
    document.spreadsheet.addElement(table)
    document.save(str(path))


def odp(path: Path) -> None:
    document = odf.opendocument.OpenDocumentPresentation()
    layout = odf.style.PageLayout(name="layout")
    document.automaticstyles.addElement(layout)
    master = odf.style.MasterPage(name="master", pagelayoutname=layout)
    document.masterstyles.addElement(master)
    page = odf.draw.Page(name="one", masterpagename=master)
    document.presentation.addElement(page)
    document.save(str(path))


def xls(path: Path) -> None:
    book = xlwt.Workbook()
    page = book.add_sheet("A sheet")
    for row in range(50):
        page.write(row, 0, f"row {row}")
        page.write(row, 1, row)
    book.save(str(path))


def table(delimiter: str):
    def write(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as out:
            rows = csv.writer(out, delimiter=delimiter)
            rows.writerow(["name", "城市", "note"])
            rows.writerows([f"n{row}", "北京", 'a "quoted", note'] for row in range(50))

    return write


def xml(path: Path) -> None:
    top = Xml.Element("orders")
    for number in range(20):
        order = Xml.SubElement(top, "order", id=str(number))
        Xml.SubElement(order, "item").text = "a & b"
    Xml.ElementTree(top).write(path, encoding="utf-8", xml_declaration=True)


def mail(path: Path) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "a letter"
    message["Date"] = "Mon, 01 Jan 2024 00:00:00 +0000"
    message.set_content("plain words\n")
    path.write_bytes(bytes(message))


def font(path: Path) -> None:
    path.write_bytes((Path(reportlab.__file__).parent / "fonts" / "Vera.ttf").read_bytes())


def write(text: str, encoding: str = "utf-8"):
    return lambda path: path.write_bytes(text.encode(encoding))


MARKDOWN = (
    '# A title\n\nSome *words*, a [link](https://example.com/) and\n\n```rust\nlet a: Vec<u8> = b"<b>".to_vec();\n```\n'
)

SAMPLES = [
    Sample("pdf-reportlab", "pdf", pdf_plain),
    Sample("pdf-links-and-form", "pdf", pdf_links),
    Sample(
        "pdf-object-streams",
        "pdf",
        lambda path: made_from_plain(path, object_stream_mode=pikepdf.ObjectStreamMode.generate),
    ),
    Sample("pdf-linearized", "pdf", lambda path: made_from_plain(path, linearize=True)),
    Sample("pdf-ghostscript", "pdf", pdf_ghostscript),
    Sample("pdf-cairo", "pdf", pdf_cairo),
    Sample("pdf-chromium", "pdf", pdf_chromium),
    Sample("pdf-scan", "pdf", pdf_scan),
    Sample("pdf-font", "pdf", pdf_font),
    Sample("pdf-photo", "pdf", pdf_photo),
    Sample("docx", "docx", word),
    Sample("docx-linked", "docx", word_linked),
    Sample("xlsx-openpyxl", "xlsx", sheet),
    Sample("xlsx-xlsxwriter", "xlsx", sheet_chart),
    Sample("pptx", "pptx", slides),
    Sample("pptx-chart", "pptx", slides_chart),
    Sample("odt", "odt", odt),
    Sample("ods", "ods", ods),
    Sample("odp", "odp", odp),
    Sample("xls", "xls", xls),
    Sample("ttf", "ttf", font),
    Sample("txt-utf-8", "txt", write(POEM)),
    Sample("txt-byte-order-mark", "txt", write("\ufeff" + POEM)),
    Sample("txt-gbk", "txt", write(POEM, "gbk")),
    Sample("txt-crlf", "txt", write(POEM.replace("\n", "\r\n"))),
    Sample("txt-empty", "txt", write("")),
    Sample("log", "log", write("2024-01-01T00:00:00Z INFO started pid=1 <none>\n" * 100)),
    Sample("md", "md", write(MARKDOWN)),
    Sample("csv", "csv", table(",")),
    Sample("tsv", "tsv", table("\t")),
    Sample("json", "json", write(json.dumps({"a": [1, 2.5, None, "文"], "b": {"c": True}}, indent=2))),
    Sample("xml", "xml", xml),
    Sample("yaml", "yaml", write('a: 1\nb:\n  - c: "d"\n  - 文: 1\n')),
    Sample("eml", "eml", mail),
    Sample("ics", "ics", write("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\nEND:VCALENDAR\r\n")),
    Sample("vcf", "vcf", write("BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Someone\r\nEND:VCARD\r\n")),
    Sample("rtf", "rtf", write("{\\rtf1\\ansi\\deff0{\\fonttbl{\\f0 Arial;}}\\f0 some words\\par}\n")),
]
