"""What scripts/bench sends, and what the simulator answers: the same for everything that is measured."""

from __future__ import annotations

from typing import Any

from trunkline.v1 import ROLE_SYSTEM, ROLE_USER, CompleteRequest, Message, Part

UNARY = "unary"
PACED = "paced"
FAST = "fast"
DOWN = "down"
SLOW = "slow"
FAILOVER = "failover"
"""Names of models at the simulator, and of aliases at the server; FAILOVER goes to DOWN first, then to FAST."""

CHUNKS = 100
CHUNK_GAP_S = 0.005
CHUNK_TEXT = "token "
SLOW_CHUNKS = 8
SLOW_GAP_S = 0.4
SLOW_STREAM_S = SLOW_CHUNKS * SLOW_GAP_S
"""How long a stream of SLOW lives."""
ANSWER = "A router decides who serves a request, spreads it over keys, and moves it when a provider fails. " * 3
PROMPT = "Say in three sentences what a router between services and language model providers is good for."

CALLER_TOKEN = "bench-caller-token"  # noqa: S105  of the caller in ROUTES, known to both sides
KEYS = 8
NEVER_OPENS = 10_000
"""More calls than a bench sends to DOWN: its circuit must not open, or nobody would be sent there any more."""

SCENARIO: dict[str, Any] = {
    "models": {
        UNARY: {"content": ANSWER},
        PACED: {"chunks": CHUNKS, "chunk_text": CHUNK_TEXT, "chunk_gap_s": CHUNK_GAP_S},
        FAST: {"chunks": CHUNKS, "chunk_text": CHUNK_TEXT},
        SLOW: {"chunks": SLOW_CHUNKS, "chunk_text": CHUNK_TEXT, "chunk_gap_s": SLOW_GAP_S},
        DOWN: {"status": 503},
    }
}


def request(model: str) -> bytes:
    """Return the message of one call."""
    messages = [
        Message(role=ROLE_SYSTEM, parts=[Part(text="You answer briefly.")]),
        Message(role=ROLE_USER, parts=[Part(text=PROMPT)]),
    ]
    return CompleteRequest(model=model, messages=messages, request_id="bench").SerializeToString()


def routes(upstream: str, token_sha256: str) -> dict[str, Any]:
    """Return the server's routes: two targets an alias, eight keys each, one target that fails, one caller."""
    keys = [{"id": f"key-{number}", "secret": "env:TRUNKLINE_SECRET_BENCH"} for number in range(KEYS)]
    provider = {"protocol": "openai", "base_url": upstream, "keys": keys}
    both = ("one", "two")
    counts = dict.fromkeys(("recent", "recent_failures", "failures_in_row", "min_calls"), NEVER_OPENS)
    providers = {**dict.fromkeys(both, provider), "failing": {**provider, "circuit": counts}}
    aliases: dict[str, Any] = {
        model: {"tiers": [[{"target": f"{name}/{model}"} for name in both]]} for model in (UNARY, PACED, FAST)
    }
    aliases[FAILOVER] = {"tiers": [[{"target": f"failing/{DOWN}"}], [{"target": f"two/{FAST}"}]]}
    caller = {"id": "bench", "token_sha256": token_sha256, "aliases": [*aliases]}
    return {"version": 1, "providers": providers, "aliases": aliases, "callers": [caller]}
