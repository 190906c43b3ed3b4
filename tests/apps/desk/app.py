"""The desk's API. It trusts the gateway: who is asking is what the identity headers say, and no token is verified here."""

import re

from fastapi import FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from pydantic import BaseModel

from agents import AGENTS, TOKEN_SECONDS, login, token_for
from request_record import RequestRecord, raw_uri, text_headers

CLOSE_COMMAND = re.compile(r"close (\d{4})")

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, telemetry={"auto_configure": False})
app.add_middleware(RequestRecord)
sockets = {"/ws/agent": 0, "/ws/h5": 0}


class Login(BaseModel):
    user_id: str
    password: str
    otp: str | None = None


@app.get("/api/health")
async def health():
    return {"status": "up"}


@app.post("/api/agents/login")
async def log_in(given: Login):
    agent = login(given.user_id, given.password)
    if agent is None:
        raise HTTPException(401, "wrong user or password")
    return {
        "token": token_for(agent, given.otp),
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
        "agent": {"user_id": agent.user_id, "role": agent.role},
    }


@app.post("/api/agents/logout")
async def log_out():
    return {"status": "logged out"}


@app.get("/api/me")
async def me(request: Request):
    names = ["X-Tenant-Id", "X-Auth-Subject", "X-Auth-Identity", "X-Auth-Roles", "X-Auth-Permissions"]
    return {name: request.headers.get(name) for name in names}


@app.get("/api/admin/stats")
async def stats():
    return {"agents": len(AGENTS), "sockets": sockets}


@app.api_route("/api/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def echo(request: Request):
    body = request.scope["desk.body"]
    return {
        "method": request.method,
        "uri": raw_uri(request.scope),
        "headers": text_headers(request.scope["headers"]),
        "body": {"sha256": body.sha256, "length": body.length},
    }


@app.websocket("/ws/agent")
async def agent_socket(socket: WebSocket):
    await converse(socket, subprotocol_of(socket.scope["subprotocols"]))


@app.websocket("/ws/h5")
async def h5_socket(socket: WebSocket):
    await converse(socket, None)


def subprotocol_of(offered: list[str]) -> str | None:
    """The first one offered that is not a credential: neither a marker, nor the token after it, nor both in one."""
    offers = iter(offered)
    for offer in offers:
        if offer == "bearer":
            next(offers, None)
        elif not offer.startswith(("bearer.", "base64url.bearer.")):
            return offer
    return None


async def converse(socket: WebSocket, subprotocol: str | None):
    """Tells what the app saw of the handshake, then echoes. The text `close 4000` closes with that code instead."""
    scope = socket.scope
    path = scope["path"]
    await socket.accept(subprotocol=subprotocol)
    sockets[path] += 1
    try:
        await socket.send_json(
            {"uri": raw_uri(scope), "headers": text_headers(scope["headers"]), "subprotocols": scope["subprotocols"]}
        )
        while (message := await socket.receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text is None:
                await socket.send_bytes(message["bytes"])
            elif command := CLOSE_COMMAND.fullmatch(text):
                await socket.close(int(command[1]), "as asked")
                return
            else:
                await socket.send_text(text)
    except WebSocketDisconnect:
        pass
    finally:
        sockets[path] -= 1
