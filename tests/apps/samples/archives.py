"""Archives, by Info-ZIP, 7-Zip, tar, gzip and Python's zipfile and tarfile."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
from pathlib import Path

from sample import Sample, run


def tree(path: Path) -> Path:
    """A folder with text, pictures and folders in it, of its own for each archive."""
    folder = path.with_suffix(".tree")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "docs" / "empty").mkdir(parents=True)
    (folder / "readme.txt").write_text("read me\n" * 50)
    (folder / "docs" / "数据.csv").write_text("a,b\n1,2\n" * 500)
    (folder / "docs" / "notes.md").write_text("# Notes\n")
    (folder / "docs" / "noise.bin").write_bytes(bytes((n * n) >> 3 & 255 for n in range(5000)))
    return folder


def info_zip(*options: str):
    return lambda path: run("zip", "-q", "-X", "-r", *options, path, ".", cwd=tree(path))


def info_zip_streamed(path: Path) -> None:
    """To a pipe: sizes stand behind each member."""
    run("zip", "-q", "-X", "-r", "-", ".", cwd=tree(path), output=path)


def info_zip_extra(*options: str):
    """With the times and owners that it writes unless told not to."""
    return lambda path: run("zip", "-q", "-r", *options, path, ".", cwd=tree(path))


def gzip_named(path: Path) -> None:
    """By gzip itself, which keeps the file's name and time."""
    run("gzip", "-c", "readme.txt", cwd=tree(path), output=path)


def long_names(*options: str):
    """With a name over 100 bytes, for which each format of tar has a way of its own."""

    def make(path: Path) -> None:
        folder = tree(path) / ("a-long-folder-name-" * 5) / ("and-another-" * 5)
        folder.mkdir(parents=True)
        (folder / "a-file.txt").write_text("deep\n")
        run("tar", *options, "-czf", path, ".", cwd=path.with_suffix(".tree"))

    return make


def python_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in sorted(tree(path).rglob("*")):
            archive.write(one, one.name if one.is_file() else f"{one.name}/")


class Pipe(io.RawIOBase):
    """What cannot be sought in."""

    def __init__(self):
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.written += data
        return len(data)


def python_zip_streamed(path: Path) -> None:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "streamed\n" * 100)
        archive.writestr("b.txt", "streamed, too\n" * 100)
    path.write_bytes(pipe.written)


def zip_of_zip(path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", "inner\n" * 100)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.zip", inner.getvalue())
        archive.writestr("beside.txt", "beside\n")


def zip_of_office(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(_made(path, "xlsx"), "report.xlsx")
        archive.write(_made(path, "pdf"), "report.pdf")


def _made(path: Path, extension: str) -> Path:
    import documents  # only here: the two modules' samples are made side by side

    own = path.with_suffix(f".part.{extension}")
    {"xlsx": documents.sheet, "pdf": documents.pdf_plain}[extension](own)
    return own


def seven_zip(kind: str, *options: str):
    return lambda path: run("7z", "a", "-bso0", "-bsp0", f"-t{kind}", *options, path, ".", cwd=tree(path))


def tar(flag: str, *options: str):
    return lambda path: run("tar", *options, f"-c{flag}f", path, ".", cwd=tree(path))


def packed(pack):
    return lambda path: path.write_bytes(pack(("a line of text\n" * 1000).encode()))


def python_tar(path: Path) -> None:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.add(tree(path), "files")


SAMPLES = [
    Sample("zip-info-zip", "zip", info_zip()),
    Sample("zip-info-zip-extra", "zip", info_zip_extra()),
    Sample("zip-info-zip-64", "zip", info_zip_extra("-fz")),
    Sample("zip-stored", "zip", info_zip("-0")),
    Sample("zip-best", "zip", info_zip("-9")),
    Sample("zip-no-folders", "zip", info_zip("-D")),
    Sample("zip-info-zip-streamed", "zip", info_zip_streamed),
    Sample("zip-python", "zip", python_zip),
    Sample("zip-python-streamed", "zip", python_zip_streamed),
    Sample("zip-7-zip", "zip", seven_zip("zip")),
    Sample("zip-of-zip", "zip", zip_of_zip),
    Sample("zip-of-office", "zip", zip_of_office),
    Sample("7z", "7z", seven_zip("7z")),
    Sample("gz", "gz", packed(lambda data: gzip.compress(data, mtime=0))),
    Sample("gz-named", "gz", gzip_named),
    Sample("tgz", "tgz", tar("z")),
    Sample("tgz-long-names-gnu", "tgz", long_names("--format=gnu")),
    Sample("tgz-long-names-pax", "tgz", long_names("--format=pax")),
    Sample("tgz-long-names-ustar", "tgz", long_names("--format=ustar")),
    Sample("tgz-python", "tgz", python_tar),
    Sample("tar", "tar", tar("")),
    Sample("tar-pax", "tar", tar("", "--format=pax")),
    Sample("bz2", "bz2", packed(bz2.compress)),
    Sample("xz", "xz", packed(lzma.compress)),
]
