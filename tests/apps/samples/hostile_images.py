"""Pictures that carry a script in packed text, where no search for letters finds it."""

from pathlib import Path

from images import base
from PIL import Image, PngImagePlugin
from sample import Sample

SCRIPTS = {
    "php": "<?php system($_GET['c']); ?>",
    "script": "<script>alert(document.domain)</script>",
    "jsp": '<%@ page import="java.util.*" %>',
}


def packed(script: str, international: bool):
    def make(path: Path) -> None:
        info = PngImagePlugin.PngInfo()
        # Enough around it that it is really packed.
        text = "a comment, " * 50 + script + " and more" * 50
        info.add_itxt("Comment", text, zip=True) if international else info.add_text("Comment", text, zip=True)
        with Image.open(base(path.parent)) as picture:
            picture.save(path, pnginfo=info)

    return make


def profile(script: str):
    """In a colour profile, which a PNG packs."""

    def make(path: Path) -> None:
        with Image.open(base(path.parent)) as picture:
            picture.save(path, icc_profile=("a profile, " * 50 + script).encode())

    return make


def refused(name: str, make) -> Sample:
    return Sample(f"evil-png-{name}", "png", make, "upload.content_denied")


SAMPLES = [
    *(refused(f"packed-text-{name}", packed(script, False)) for name, script in SCRIPTS.items()),
    *(refused(f"packed-international-text-{name}", packed(script, True)) for name, script in SCRIPTS.items()),
    *(refused(f"packed-profile-{name}", profile(script)) for name, script in SCRIPTS.items()),
]
