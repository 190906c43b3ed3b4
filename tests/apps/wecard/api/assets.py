"""The tenants' stored files."""

import hashlib
import re
import shutil
import threading
import uuid
from pathlib import Path

from werkzeug.datastructures import FileStorage
from werkzeug.utils import secure_filename

TENANT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Assets:
    """Files under `ROOT/TENANT/ID/NAME`, and the list of them in memory."""

    def __init__(self, root: Path):
        self._root = root
        self._lock = threading.Lock()
        self._stored: dict[str, dict[str, dict]] = {}

    def folder(self, tenant: str) -> Path:
        if not TENANT_ID.fullmatch(tenant):
            raise ValueError(f"{tenant!r} is no tenant id")
        return self._root / tenant

    def store(self, tenant: str, field: str, upload: FileStorage) -> dict:
        """Stores one file under a new id. `filename` is what the client said, the name on disk is a safe form of it."""
        asset_id = uuid.uuid4().hex
        name = secure_filename(upload.filename or "") or "file"
        path = self.folder(tenant) / asset_id / name
        path.parent.mkdir(parents=True)
        sha256, size = hashlib.sha256(), 0
        with path.open("wb") as out:
            while chunk := upload.stream.read(64 * 1024):
                sha256.update(chunk)
                size += len(chunk)
                out.write(chunk)
        asset = {
            "id": asset_id,
            "field": field,
            "filename": upload.filename,
            "content_type": upload.content_type,
            "size": size,
            "sha256": sha256.hexdigest(),
            "path": f"/uploads/{tenant}/{asset_id}/{name}",
        }
        with self._lock:
            self._stored.setdefault(tenant, {})[asset_id] = asset
        return asset

    def of(self, tenant: str) -> list[dict]:
        with self._lock:
            return list(self._stored.get(tenant, {}).values())

    def remove(self, tenant: str, asset_id: str) -> dict | None:
        """What was removed; None when the tenant had no such asset."""
        with self._lock:
            asset = self._stored.get(tenant, {}).pop(asset_id, None)
        if asset:
            shutil.rmtree(self.folder(tenant) / asset_id)
        return asset
