"""gunicorn's settings for WeCard's API. Start it in this folder; the address comes by `--bind`."""

import sys
from pathlib import Path

from gunicorn.workers.gthread import ThreadWorker

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from request_record import REQUEST_LOG, remember_headers  # noqa: E402


class RecordingWorker(ThreadWorker):
    """A gthread worker that also writes down what gunicorn refuses on its own, which the app never sees."""

    def handle_error(self, req, client, addr, exc):
        REQUEST_LOG.append(type="invalid", error=f"{type(exc).__name__}: {exc}")
        super().handle_error(req, client, addr, exc)


def pre_request(worker, req):
    remember_headers(req.headers)


chdir = str(HERE)
worker_class = RecordingWorker
workers = 1  # the users' assets live in this one process
threads = 16
keepalive = 75
graceful_timeout = 2
control_socket_disable = True

# As credulous as an app can be: the gateway is what protects it, and what it lets through must be visible here.
header_map = "dangerous"
limit_request_line = 0
limit_request_fields = 1000
limit_request_field_size = 65536
