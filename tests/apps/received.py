"""What an app received, kept outside the app: the request log the tests read, and a request body with its hash."""

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator


class RequestLog:
    """One JSON object a line, in the file an environment variable names; without the variable nothing is written.

    A line is in the file before `append` returns, so whoever has seen a response can read its line.
    """

    def __init__(self, variable: str):
        path = os.environ.get(variable)
        self._file = open(path, "ab", buffering=0) if path else None
        self._lock = threading.Lock()

    def append(self, **fields: object) -> None:
        if self._file is None:
            return
        line = json.dumps(fields).encode() + b"\n"
        with self._lock:
            self._file.write(line)


class Body:
    """A request body: up to 1 MiB in memory, beyond it in a temporary file."""

    def __init__(self):
        self.length = 0
        self._sha256 = hashlib.sha256()
        self._spool = tempfile.SpooledTemporaryFile(max_size=1024 * 1024)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def write(self, chunk: bytes) -> None:
        self.length += len(chunk)
        self._sha256.update(chunk)
        self._spool.write(chunk)

    def rewound(self):
        """The body as a file, at its beginning."""
        self._spool.seek(0)
        return self._spool

    def chunks(self) -> Iterator[bytes]:
        spool = self.rewound()
        while chunk := spool.read(64 * 1024):
            yield chunk

    def close(self) -> None:
        self._spool.close()


def folded(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header fields by lower-case name. A name sent twice has its values joined by `, `, in order; `_` stays `_`."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        name = name.lower()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields
