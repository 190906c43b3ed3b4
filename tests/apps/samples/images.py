"""Pictures, by ImageMagick, libwebp, libheif, libjxl, cairo, reportlab and Pillow."""

from functools import partial
from pathlib import Path

from PIL import Image, ImageCms, PngImagePlugin
from reportlab.graphics import renderSVG
from reportlab.graphics.shapes import Circle, Drawing, Rect, String
from reportlab.pdfgen.canvas import Canvas
from sample import Sample, magick, run

XMP = """<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>
<rdf:Description rdf:about='' xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:format>image/jpeg</dc:format>
<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>A title &amp; more</rdf:li></rdf:Alt></dc:title></rdf:Description>
</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"""


def base(folder: Path) -> Path:
    """The picture all others are made of, and a second one for those that move."""
    first, second = folder / "base.png", folder / "base-2.png"
    if not second.exists():
        magick("-seed", 7, "-size", "160x120", "plasma:tomato-steelblue", "-depth", 8, first)
        magick(first, "-rotate", 180, second)
    return first


def converted(path: Path, *options: object, prefix: str = "") -> None:
    magick(base(path.parent), *options, f"{prefix}{path}")


def animated(path: Path, *options: object) -> None:
    first = base(path.parent)
    magick("-delay", 20, first, path.parent / "base-2.png", *options, path)


def photo(path: Path, width: int = 1200, height: int = 900) -> None:
    """A few megabytes of packed noise, in which any short marker would turn up by chance."""
    magick(
        "-seed", 11, "-size", f"{width}x{height}", "plasma:", "-attenuate", 1, "+noise", "Gaussian", "-quality", 95, path
    )


def jpg_camera(path: Path) -> None:
    """As a camera writes it: EXIF with a maker, a colour profile and XMP."""
    with Image.open(base(path.parent)) as picture:
        picture = picture.convert("RGB")
        exif = Image.Exif()
        exif[0x010E], exif[0x010F], exif[0x0110], exif[0x0131] = "a view", "Maker", "Model 1", "Firmware 1.0"
        exif[0x0132], exif[0x9286] = "2024:01:02 03:04:05", "a comment"
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        picture.save(path, quality=90, exif=exif, icc_profile=profile, xmp=XMP.encode(), comment=b"shot by hand")


def jpg_multi(path: Path) -> None:
    """Two pictures in one file (CIPA DC-007), as stereo cameras and phones write them."""
    first = base(path.parent)
    with Image.open(first) as one, Image.open(path.parent / "base-2.png") as two:
        one.convert("RGB").save(path, format="MPO", save_all=True, append_images=[two.convert("RGB")])


def jpg_motion(path: Path) -> None:
    """A motion photo: the film stands behind the picture."""
    film = path.parent / "motion-part.mp4"
    run(
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=10:duration=1",
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        film,
    )
    with Image.open(base(path.parent)) as picture:
        xmp = XMP.replace("<dc:format>", "<dc:source>MotionPhoto</dc:source><dc:format>").encode()
        picture.convert("RGB").save(path, quality=85, xmp=xmp)
    path.write_bytes(path.read_bytes() + film.read_bytes())


def png_text(path: Path) -> None:
    """With text of all three kinds, compressed and not."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "somebody")
    info.add_text("Comment", "a long comment, " * 40, zip=True)
    info.add_itxt("Title", "标题", lang="zh", zip=True)
    with Image.open(base(path.parent)) as picture:
        picture.save(path, pnginfo=info, dpi=(300, 300))


def png_animated(path: Path) -> None:
    first = base(path.parent)
    with Image.open(first) as one, Image.open(path.parent / "base-2.png") as two:
        one.save(path, save_all=True, append_images=[two], duration=200)


def svg_reportlab(path: Path) -> None:
    drawing = Drawing(200, 120)
    drawing.add(Rect(10, 10, 180, 100, fillColor=None))
    drawing.add(Circle(100, 60, 40))
    drawing.add(String(60, 55, "a drawing & more", fontSize=12))
    renderSVG.drawToFile(drawing, str(path))


def svg_cairo(path: Path) -> None:
    document = path.parent / "svg-source.pdf"
    with Image.open(base(path.parent)) as picture:
        picture.convert("RGB").save(document)
    run("pdftocairo", "-svg", document, path)


def svg_cairo_text(path: Path) -> None:
    """Letters are symbols that are used again and again."""
    document = path.with_suffix(".source.pdf")
    canvas = Canvas(str(document), invariant=True)
    for line in range(20):
        canvas.drawString(72, 700 - 20 * line, f"Line {line} of a page of text, in some letters")
    canvas.save()
    run("pdftocairo", "-svg", document, path)


SAMPLES = [
    Sample("jpg-baseline", "jpg", converted),
    Sample("jpg-progressive", "jpg", lambda path: converted(path, "-interlace", "JPEG", "-quality", 80)),
    Sample("jpg-grey", "jpeg", lambda path: converted(path, "-colorspace", "Gray")),
    Sample("jpg-cmyk", "jpg", lambda path: converted(path, "-colorspace", "CMYK")),
    Sample("jpg-camera", "jpg", jpg_camera),
    Sample("jpg-photo", "jpg", photo),
    Sample("png-photo", "png", lambda path: photo(path, 600, 450)),
    Sample("webp-photo", "webp", lambda path: photo(path, 600, 450)),
    Sample("jpg-multi-picture", "jpg", jpg_multi),
    Sample("jpg-motion-photo", "jpg", jpg_motion),
    Sample("png-rgb", "png", partial(converted, prefix="PNG24:")),
    Sample("png-palette", "png", partial(converted, prefix="PNG8:")),
    Sample("png-alpha-16-bit", "png", partial(converted, prefix="PNG64:")),
    Sample("png-interlaced", "png", lambda path: converted(path, "-interlace", "PNG")),
    Sample("png-grey", "png", lambda path: converted(path, "-colorspace", "Gray", "-depth", 4)),
    Sample("png-text", "png", png_text),
    Sample("png-animated", "png", png_animated),
    Sample("gif-still", "gif", converted),
    Sample("gif-animated", "gif", animated),
    Sample("webp-lossy", "webp", lambda path: run("cwebp", "-quiet", base(path.parent), "-o", path)),
    Sample("webp-lossless", "webp", lambda path: run("cwebp", "-quiet", "-lossless", base(path.parent), "-o", path)),
    Sample(
        "webp-animated", "webp", lambda path: run("img2webp", base(path.parent), path.parent / "base-2.png", "-o", path)
    ),
    Sample("bmp", "bmp", converted),
    Sample("bmp-3", "bmp", partial(converted, prefix="BMP3:")),
    Sample("tiff-lzw", "tiff", lambda path: converted(path, "-compress", "LZW")),
    Sample("tiff-big-endian", "tif", lambda path: converted(path, "-endian", "MSB")),
    Sample("ico", "ico", lambda path: converted(path, "-define", "icon:auto-resize=64,32,16")),
    Sample("avif", "avif", lambda path: run("heif-enc", "-A", "-q", 40, base(path.parent), "-o", path)),
    Sample("heic", "heic", lambda path: run("heif-enc", "-q", 40, base(path.parent), "-o", path)),
    Sample("jp2", "jp2", converted),
    Sample("jxl", "jxl", lambda path: run("cjxl", "--quiet", base(path.parent), path)),
    Sample("psd", "psd", converted),
    Sample("svg-reportlab", "svg", svg_reportlab),
    Sample("svg-cairo", "svg", svg_cairo),
    Sample("svg-cairo-text", "svg", svg_cairo_text),
]
