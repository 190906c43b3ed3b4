"""The origin and the proxies in front of it: their configurations, and starting and ending them.

All of them listen on free loopback ports and write only into one temporary folder. Each proxy keeps its connections
to the origin open, tells it the same things about the client (X-Real-IP, X-Forwarded-For, -Proto, -Host, -Port,
X-Request-Id) and appends one line a request to an access log.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

ANSWER = json.dumps(
    {
        "ok": True,
        "data": [{"id": number, "name": f"card-{number}", "views": number * 17} for number in range(1, 5)],
        "message": "hello from behind the gateway",
    }
)
PATH = "/api/v1/cards"
SCENARIOS = ("plain", "wecard")
PROXIES = ("nginx", "haproxy", "menshen")
START_LIMIT = 30.0  # seconds until a server that was started must accept; under valgrind it takes several
STOP_LIMIT = 10.0  # seconds until a server that was told to end is killed


class Failure(Exception):
    """Something that makes the measurement worthless; the text says what."""


def free_port():
    """A port nobody listens on now. Another program may take it before its user does: that is a start that fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server: its port, its processes, and its end."""

    def __init__(self, name, command, port, folder, environment=None):
        self.name = name
        self.port = port
        self.output = folder / f"{name}.out"
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        try:
            self._wait_until_it_accepts()
        except BaseException:
            self.stop()
            raise

    def _wait_until_it_accepts(self):
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        text = self.output.read_text(errors="replace").strip()[-2000:]
        raise Failure(f"{self.name} does not accept connections on port {self.port}: {text or 'it wrote nothing'}")

    def get(self, headers=None):
        """One request of the kind that is measured: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", PATH, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def stop(self):
        """Ends the process and everything it started."""
        group = self.process.pid
        for number, limit in ((signal.SIGTERM, STOP_LIMIT), (signal.SIGKILL, STOP_LIMIT)):
            if self.process.poll() is not None:
                break
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                continue
        try:
            os.killpg(group, signal.SIGKILL)  # children that outlived their parent
        except ProcessLookupError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def origin(folder):
    """The app behind the proxies: Nginx that answers at once, so that the proxy is what is measured."""
    port = free_port()
    site = f"""
        access_log off;
        server {{
            listen 127.0.0.1:{port} backlog=4096;
            location / {{ default_type application/json; return 200 '{ANSWER}'; }}
        }}"""
    return Server("origin", nginx_command(folder, "origin", 1, site), port, folder)


def proxy(name, scenario, upstream, folder, workers, binary, under=(), log_buffer=False):
    """Starts a proxy of `upstream`, a port. `under` is a command that runs it, such as valgrind with its options."""
    port = free_port()
    label = f"{scenario}-{name}"
    log = folder / f"{label}.access.log"
    environment = {}
    if name == "nginx":
        command = nginx_command(folder, label, workers, nginx_site(port, upstream, log, log_buffer))
    elif name == "haproxy":
        file = folder / f"{label}.cfg"
        file.write_text(haproxy_configuration(port, upstream, workers))
        command = ["haproxy", "-db", "-f", file]
        label = f"{label}.access"  # HAProxy writes no files: its log is its standard output, which is one here
    else:
        # In a folder of its own: it is watched, and every log line of anybody would wake the watcher.
        file = folder / label / "policy.yaml"
        file.parent.mkdir()
        file.write_text(menshen_policy(scenario, port, upstream, log, workers, folder))
        command = [Path(binary).resolve(), "run", "-c", file]
        environment = {"BENCH_JWT_KEY": JWT_KEY}
    return Server(label, [*under, *command], port, folder, environment)


def request_headers(name, scenario):
    """What the client adds to the measured request: a token where the proxy asks for one."""
    if name == "menshen" and scenario == "wecard":
        return {"Authorization": f"Bearer {token()}"}
    return {}


def verify(server, name, scenario):
    """Refuses to measure a proxy that does not do its work."""
    status, body = server.get(request_headers(name, scenario))
    if (status, body) != (200, ANSWER):
        raise Failure(f"{server.name} answers {status} with {body[:200]!r} instead of the origin's answer")
    if name == "menshen" and scenario == "wecard":
        status, body = server.get()
        if status != 401:
            raise Failure(f"{server.name} answers {status} instead of 401 to a request without a token")


# ---- Nginx ----------------------------------------------------------------------------------------------------


def nginx_command(folder, label, workers, http):
    """One worker runs as a single process: fewer to watch, and the way valgrind likes it."""
    temporary = folder / f"{label}.tmp"
    temporary.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    paths = "".join(
        f"{kind}_temp_path {temporary}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / f"{label}.conf"
    file.write_text(
        f"""{user}
daemon off;
master_process {"off" if workers == 1 else "on"};
worker_processes {workers};
pid {folder}/{label}.pid;
error_log {folder}/{label}.error.log warn;
events {{ worker_connections 4096; }}
http {{
    {paths}
    keepalive_requests 1000000000;
    {http}
}}
"""
    )
    return ["nginx", "-e", folder / f"{label}.error.log", "-p", folder, "-c", file]


def nginx_site(port, upstream, log, log_buffer):
    return f"""
    access_log {log} combined{" buffer=64k flush=200ms" if log_buffer else ""};
    upstream origin {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Request-Id $request_id;
        }}
    }}"""


# ---- HAProxy --------------------------------------------------------------------------------------------------


def haproxy_configuration(port, upstream, workers):
    return f"""
global
    nbthread {workers}
    maxconn 4096
    log fd@1 format raw local0 info
defaults
    mode http
    log global
    option httplog
    http-reuse always
    timeout client 60s
    timeout server 60s
    timeout connect 5s
    timeout http-keep-alive 60s
frontend edge
    bind 127.0.0.1:{port} backlog 4096
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Request-Id %[uuid]
    default_backend origin
backend origin
    server app 127.0.0.1:{upstream} pool-max-conn 1024
"""


# ---- Menshen --------------------------------------------------------------------------------------------------


def menshen_policy(scenario, port, upstream, log, workers, folder):
    head = f"""
version: 1
server: {{ workers: {workers} }}
listeners:
  - address: 127.0.0.1:{port}
log:
  level: warn
  access: {{ path: {log}, format: json }}
upstreams:
  origin: {{ servers: ["127.0.0.1:{upstream}"], keepalive: 64 }}
"""
    if scenario == "plain":
        return head + """
sites:
  - hosts: ["*"]
    routes:
      - path: /*
        upstream: origin
        auth: none
"""
    return head + f"""
audit: {{ path: {folder}/audit.jsonl }}
identities:
  user:
    jwt:
      keys: [{{ alg: HS256, secret: "@env:BENCH_JWT_KEY" }}]
      issuer: wecard
      leeway: 30s
    accept: [header, {{ cookie: auth._token.local }}]
    claims: {{ subject: sub, tenant: tenant_id, roles: role, permissions: permission }}
tenants:
  resolve: [claim, {{ header: X-Tenant-ID }}, {{ subdomain_of: card.example.com }}]
  directory:
    - {{ id: t-acme, name: acme }}
    - {{ id: t-beta, name: beta }}
sites:
  - hosts: ["*"]
    routes:
      - path: /api/v1/auth/login
        methods: [POST]
        upstream: origin
        auth: none
      - path: /api/*
        upstream: origin
        auth: {{ identity: user }}
        tenant: required
        limits:
          body: 1MB
          rate: [{{ by: ip, limit: 1000000/s, burst: 1000000 }}]
      - path: /*
        upstream: origin
        auth: none
        tenant: none
"""


JWT_KEY = secrets.token_hex(32)


def token():
    """An HS256 token (RFC 7515) that the wecard scenario accepts for an hour."""
    now = int(time.time())
    claims = {
        "iss": "wecard",
        "sub": "u-1001",
        "tenant_id": "t-acme",
        "role": "editor",
        "permission": ["asset:read", "asset:write"],
        "iat": now,
        "exp": now + 3600,
    }
    signed = b".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (signed + b"." + base64url(hmac.digest(JWT_KEY.encode(), signed, hashlib.sha256))).decode()


def base64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
