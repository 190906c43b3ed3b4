"""Makes the files that the upload matrix sends: `make.py FOLDER`.

FOLDER gets every sample and `list.json`, `[{"name", "file", "extension", "code"}]`: good files, made by the
programs that people make such files with, have an empty `code`; hostile ones the code they must be refused with.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import archives
import documents
import hostile_archives
import hostile_images
import hostile_office
import hostile_pdf
import images
import media
from sample import Sample

MODULES = [images, media, documents, archives, hostile_images, hostile_pdf, hostile_office, hostile_archives]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images.base(folder)
    samples = [sample for module in MODULES for sample in module.SAMPLES]
    doubled = {sample.file for sample in samples if sum(sample.file == other.file for other in samples) > 1}
    assert not doubled, f"named twice: {sorted(doubled)}"
    # The programs do the work: a thread a core waits for them. The longest go first.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        first = sorted(samples, key=lambda sample: sample.name != "pdf-chromium")
        made = {sample.name: pool.submit(sample.make, folder / sample.file) for sample in first}
    failed = [(name, future.exception()) for name, future in made.items() if future.exception()]
    for name, error in failed:
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    if failed:
        sys.exit(1)
    (folder / "list.json").write_text(json.dumps([described(sample) for sample in samples], indent=1))


def described(sample: Sample) -> dict[str, str]:
    return {
        "name": sample.name,
        "file": sample.file,
        "extension": sample.extension,
        "code": sample.code,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
