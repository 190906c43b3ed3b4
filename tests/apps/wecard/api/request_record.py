"""Reads each request whole and writes it down before the app sees it."""

import threading

from received import Body, RequestLog, folded

REQUEST_LOG = RequestLog("WECARD_REQUEST_LOG")

_CURRENT = threading.local()


def remember_headers(pairs: list[tuple[str, str]]) -> None:
    """Keeps the head's fields for this thread's request: WSGI itself folds `X-A` and `X_A` into one."""
    _CURRENT.headers = folded(pairs)


class RequestRecord:
    """WSGI middleware. Leaves the fields as received in `wecard.headers` and the body in `wecard.body`."""

    def __init__(self, app):
        self._app = app

    def __call__(self, environ, start_response):
        headers = _CURRENT.headers
        body = Body()
        complete = False
        try:
            while chunk := environ["wsgi.input"].read(64 * 1024):
                body.write(chunk)
            complete = body.length == int(headers.get("content-length", body.length))
        finally:
            REQUEST_LOG.append(
                type="request",
                method=environ["REQUEST_METHOD"],
                uri=environ["RAW_URI"],
                headers=headers,
                body_length=body.length,
                complete=complete,
            )
        if not complete:
            body.close()
            start_response("400 Bad Request", [("Content-Length", "0"), ("Connection", "close")])
            return [b""]
        environ["wecard.headers"] = headers
        environ["wecard.body"] = body
        environ["wsgi.input"] = body.rewound()
        environ["CONTENT_LENGTH"] = str(body.length)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        return self._app(environ, start_response)
