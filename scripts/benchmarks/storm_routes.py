"""Routes documents for drills with reloads: ten providers of twenty keys, drawn anew each time, and broken ones."""

from __future__ import annotations

import random
from typing import Final

import yaml

PROVIDERS: Final = 10
KEYS: Final = 20
ENVIRONMENT: Final = {f"STORM_{number}_API_KEY": f"sk-storm-{number:04d}-canary" for number in range(KEYS)}


def on_file(base_url: str, rng: random.Random) -> str:
    """Return a document with every key, as text for `serve`: what others may use over the wire stands there."""
    return document(base_url, rng, fewest_keys=KEYS).replace("{", "{{").replace("}", "}}")


def document(base_url: str, rng: random.Random, fewest_keys: int = KEYS - 4) -> str:
    """Return a valid document. Weights, keys and limits differ from draw to draw; none of them holds a call back."""
    providers = {f"p{number}": _provider(base_url, rng, fewest_keys) for number in range(PROVIDERS)}
    aliases = {
        name: {"tiers": [[{"target": f"p{number}/{name}", "weight": rng.randint(1, 9)} for number in range(PROVIDERS)]]}
        for name in ("fast", "slow")
    }
    return yaml.safe_dump({"version": 1, "providers": providers, "aliases": aliases})


def _provider(base_url: str, rng: random.Random, fewest_keys: int) -> dict[str, object]:
    used = sorted(rng.sample(range(KEYS), rng.randint(fewest_keys, KEYS)))
    return {
        "protocol": "openai",
        "base_url": base_url,
        "keys": [
            {
                "id": f"k{number}",
                "secret": f"env:STORM_{number}_API_KEY",
                "weight": rng.randint(1, 9),
                "requests_per_minute": rng.randint(60_000, 90_000),
                "max_in_flight": rng.randint(200, 400),
            }
            for number in used
        ],
        "gate": {"max_in_flight": rng.randint(300, 600), "queue": rng.randint(100, 500)},
        "timeouts": {"stall_s": rng.randint(20, 40)},
    }


BROKEN: Final = {
    "no YAML": "version: 1\nproviders: [",
    "an unknown setting": "version: 1\nproviders: {p0: {protocol: openai, base_uri: x}}\n",
    "another version": "version: 2\n",
    "a target of nobody": (
        "version: 1\nproviders: {p0: {protocol: openai, base_url: 'http://127.0.0.1:1'}}\n"
        "aliases: {fast: {tiers: [[nobody/model]]}}\n"
    ),
    "nothing": "",
}
"""Documents that are refused, by what is wrong with them."""
