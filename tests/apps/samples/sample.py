"""One sample: a file, what it is called, and how it comes to be."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """A good file when `code` is empty; else one that must be refused with it.

    `make` gets the path to write and nothing else: it may read the samples it was made for, by `Sample.file` in the
    same folder.
    """

    name: str
    extension: str
    make: Callable[[Path], object]
    code: str = ""

    @property
    def file(self) -> str:
        return f"{self.name}.{self.extension}"


def run(*command: object, cwd: Path | None = None, output: Path | None = None) -> bytes:
    """Runs a program; what it printed, which is also written to `output`. Its complaints end the run."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{said}")
    if output:
        output.write_bytes(done.stdout)
    return done.stdout


def magick(*arguments: object) -> None:
    """ImageMagick 7 as `magick`, 6 as Debian's `convert`."""
    run(shutil.which("magick") or "/usr/bin/convert", *arguments)
