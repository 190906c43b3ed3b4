"""WeCard's built-in users and the tokens they get."""

import os
import time
from dataclasses import dataclass, field

import jwt

TOKEN_SECONDS = 3600


@dataclass(frozen=True)
class User:
    name: str
    password: str
    tenant: str | None
    role: str = "member"
    permissions: list[str] = field(default_factory=list)


USERS = {
    user.name: user
    for user in [
        User("alice", "alice-password", "t-acme", permissions=["asset:write"]),
        User("bob", "bob-password", "t-beta", permissions=["asset:write"]),
        User("carol", "carol-password", "t-acme"),
        User("root", "root-password", None, role="platform_admin"),
        User("gone", "gone-password", "t-gone", permissions=["asset:write"]),
    ]
}

TENANTS = [
    {"id": "t-acme", "name": "acme", "plan": "pro"},
    {"id": "t-beta", "name": "beta", "plan": "free"},
    {"id": "t-gone", "name": "gone", "plan": "free"},
]

CARDS = {
    "t-acme": [
        {"id": "c-1", "name": "Alice Chen", "title": "Sales Director", "company": "Acme"},
        {"id": "c-2", "name": "Carol Wu", "title": "Engineer", "company": "Acme"},
    ],
    "t-beta": [{"id": "c-3", "name": "Bob Li", "title": "Founder", "company": "Beta"}],
    "t-gone": [{"id": "c-4", "name": "Gone Zhao", "title": "Former customer", "company": "Gone"}],
}


def login(name: object, password: object) -> User | None:
    user = USERS.get(name) if isinstance(name, str) else None
    return user if user and user.password == password else None


def token_for(user: User) -> str:
    """An HS256 token with the key of `WECARD_JWT_KEY`, good for an hour."""
    claims = {
        "iss": "wecard",
        "sub": user.name,
        "role": user.role,
        "permission": user.permissions,
        "exp": int(time.time()) + TOKEN_SECONDS,
    }
    if user.tenant:
        claims["tenant_id"] = user.tenant
    return jwt.encode(claims, os.environ["WECARD_JWT_KEY"], algorithm="HS256")
