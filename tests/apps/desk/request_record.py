"""Writes each request and socket down, before the app sees it."""

from received import Body, RequestLog, folded
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

REQUEST_LOG = RequestLog("DESK_REQUEST_LOG")


def text_headers(pairs) -> dict[str, str]:
    return folded((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs)


def raw_uri(scope) -> str:
    query = scope["query_string"]
    return (scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")


class RecordingHttp(H11Protocol):
    """uvicorn's HTTP/1.1, recording every asked-for upgrade, and what it refuses on its own."""

    def handle_websocket_upgrade(self, event):
        REQUEST_LOG.append(
            type="websocket",
            method=event.method.decode("latin-1"),
            uri=event.target.decode("latin-1"),
            headers=text_headers(self.headers),
            body_length=0,
            complete=True,
        )
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg):
        REQUEST_LOG.append(type="invalid", error=msg)
        super().send_400_response(msg)


class RecordingWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, recording the close code that came from the peer, `null` when none did.

    A Close frame without a code is 1005, as RFC 6455 section 7.1.5 has it.
    """

    def connection_lost(self, exc):
        if self.handshake_initiated:
            close = self.conn.close_rcvd
            REQUEST_LOG.append(
                type="websocket.close",
                uri=self.request.path,
                code=close.code if close else None,
                reason=close.reason if close else None,
            )
        super().connection_lost(exc)


class RequestRecord:
    """ASGI middleware. Reads a request whole, leaves the body in `scope["desk.body"]` and replays it to the app."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = Body()
        try:
            complete = await self._read(receive, body)
            REQUEST_LOG.append(
                type="request",
                method=scope["method"],
                uri=raw_uri(scope),
                headers=text_headers(scope["headers"]),
                body_length=body.length,
                complete=complete,
            )
            if complete:
                scope["desk.body"] = body
                await self._app(scope, self._replayed(body, receive), send)
        finally:
            body.close()

    @staticmethod
    async def _read(receive, body: Body) -> bool:
        """False when the client went away in the middle."""
        while (message := await receive())["type"] == "http.request":
            body.write(message.get("body", b""))
            if not message.get("more_body", False):
                return True
        return False

    @staticmethod
    def _replayed(body: Body, receive):
        chunks = body.chunks()
        ended = False

        async def replay():
            nonlocal ended
            if ended:
                return await receive()
            chunk = next(chunks, b"")
            ended = not chunk
            return {"type": "http.request", "body": chunk, "more_body": not ended}

        return replay
