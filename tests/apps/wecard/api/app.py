"""WeCard's API. It trusts the gateway: who is asking is what the identity headers say, and no token is verified here."""

import os
import time
from pathlib import Path

from flask import Flask, Response, abort, jsonify, request, send_from_directory
from werkzeug.exceptions import HTTPException

from assets import Assets
from request_record import RequestRecord
from users import CARDS, TENANTS, TOKEN_SECONDS, login, token_for

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
LONGEST_SLEEP_MS = 60_000

app = Flask(__name__)
app.wsgi_app = RequestRecord(app.wsgi_app)
assets = Assets(Path(os.environ["WECARD_STORE"]))


def answer(data: object, status: int = 200, message: str = "ok") -> tuple[Response, int]:
    return jsonify(code=status, message=message, data=data), status


def tenant() -> str:
    """The tenant the gateway named; 400 without one."""
    return request.headers.get("X-Tenant-Id") or abort(400, "no tenant")


@app.errorhandler(HTTPException)
def refuse(error: HTTPException):
    return answer(None, error.code, error.description)


@app.get("/api/health")
def health():
    return answer({"status": "up"})


@app.post("/api/v1/auth/login")
def log_in():
    given = request.get_json(silent=True)
    given = given if isinstance(given, dict) else {}
    user = login(given.get("username"), given.get("password")) or abort(401, "wrong user name or password")
    return answer(
        {
            "token": token_for(user),
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "user": {"username": user.name, "tenant_id": user.tenant, "role": user.role, "permission": user.permissions},
        }
    )


@app.get("/api/me")
def me():
    names = ["X-Tenant-Id", "X-Auth-Subject", "X-Auth-Roles", "X-Auth-Permissions"]
    return answer({name: request.headers.get(name) for name in names})


@app.get("/api/cards")
def cards():
    return answer(CARDS.get(tenant(), []))


@app.post("/api/v1/assets")
def store_assets():
    """Stores every file of the form. `?fail=STATUS` answers that status instead and stores nothing; `?wait=MS` answers late."""
    time.sleep(min(max(request.args.get("wait", 0, type=int), 0), LONGEST_SLEEP_MS) / 1000)
    if fail := request.args.get("fail", type=int):
        return answer(None, fail, "failed as asked")
    owner, body = tenant(), request.environ["wecard.body"]
    uploads = list(request.files.items(multi=True))
    if not uploads:
        abort(400, "no file in the form")
    return answer(
        {
            "files": [assets.store(owner, field, upload) for field, upload in uploads],
            "form": request.form.to_dict(flat=False),
            "upload_files_header": request.headers.get("X-Upload-Files"),
            "body": {"sha256": body.sha256, "length": body.length},
        },
        201,
    )


@app.get("/api/v1/assets")
def list_assets():
    return answer(assets.of(tenant()))


@app.delete("/api/v1/assets/<asset_id>")
def delete_asset(asset_id: str):
    """Says in `X-Freed-Bytes` how much less the tenant stores."""
    asset = assets.remove(tenant(), asset_id) or abort(404, "no such asset")
    response, status = answer(None)
    response.headers["X-Freed-Bytes"] = asset["size"]
    return response, status


@app.get("/uploads/<owner>/<path:path>")
def stored_file(owner: str, path: str):
    try:
        return send_from_directory(assets.folder(owner).resolve(), path)
    except ValueError:
        abort(404)


@app.get("/api/admin/tenants")
def tenants():
    return answer([{**each, "assets": len(assets.of(each["id"]))} for each in TENANTS])


@app.route("/api/echo", methods=METHODS)
def echo():
    body = request.environ["wecard.body"]
    return answer(
        {
            "method": request.method,
            "uri": request.environ["RAW_URI"],
            "headers": request.environ["wecard.headers"],
            "body": {"sha256": body.sha256, "length": body.length},
        }
    )


@app.get("/api/slow")
def slow():
    ms = min(max(request.args.get("ms", 0, type=int), 0), LONGEST_SLEEP_MS)
    time.sleep(ms / 1000)
    return answer({"slept_ms": ms})


@app.route("/api/status/<int:code>", methods=METHODS)
def status(code: int):
    if not 200 <= code <= 599:
        abort(400, "a status is 200 to 599")
    return ("", code) if code in (204, 304) else answer(None, code, "as asked")
