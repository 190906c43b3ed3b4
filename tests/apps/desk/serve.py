"""Starts the desk's API under uvicorn, on `HOST` (127.0.0.1) and `PORT` (8000; 0 takes a free one and prints it)."""

import os
import sys
from pathlib import Path

import uvicorn

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from request_record import RecordingHttp, RecordingWebSocket  # noqa: E402

if __name__ == "__main__":
    uvicorn.run(
        "app:app",
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ.get("PORT", "8000")),
        http=RecordingHttp,
        ws=RecordingWebSocket,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
