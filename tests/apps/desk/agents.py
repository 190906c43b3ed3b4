"""The desk's built-in agents and the tokens they get."""

import os
import time
import uuid
from dataclasses import dataclass

import jwt

TOKEN_SECONDS = 3600
ONE_TIME_CODE = "123456"


@dataclass(frozen=True)
class Agent:
    user_id: str
    password: str
    role: str


AGENTS = {
    agent.user_id: agent
    for agent in [
        Agent("ada", "ada-password", "agent"),
        Agent("ben", "ben-password", "agent"),
        Agent("eve", "eve-password", "employee"),
        Agent("boss", "boss-password", "admin"),
    ]
}


def login(user_id: str, password: str) -> Agent | None:
    agent = AGENTS.get(user_id)
    return agent if agent and agent.password == password else None


def token_for(agent: Agent, one_time_code: str | None) -> str:
    """An HS256 token with the key of `DESK_JWT_KEY`, good for an hour; `otp` is true after the right one-time code."""
    claims = {
        "sub": agent.user_id,
        "role": agent.role,
        "jti": uuid.uuid4().hex,
        "exp": int(time.time()) + TOKEN_SECONDS,
    }
    if one_time_code == ONE_TIME_CODE:
        claims["otp"] = True
    return jwt.encode(claims, os.environ["DESK_JWT_KEY"], algorithm="HS256")
