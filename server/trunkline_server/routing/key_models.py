"""Which models a key may serve."""

from __future__ import annotations

import re
from fnmatch import translate

from trunkline_server.routing.key_state import KeyState


class ModelSet:
    """The keys that have the same `models` and `block_models`, and what these say of a model."""

    __slots__ = ("_allow", "_block", "keys")

    def __init__(self, models: tuple[str, ...], block_models: tuple[str, ...]) -> None:
        """Shell-style patterns; none of them in `models` allows nothing."""
        self._allow = _pattern(models)
        self._block = _pattern(block_models)
        self.keys: list[tuple[int, KeyState]] = []
        """Each with its place in the configuration."""

    def allows(self, model: str) -> bool:
        """Return whether its keys may serve the model."""
        return self._allow.fullmatch(model) is not None and self._block.fullmatch(model) is None


def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    """Compile shell-style patterns into one; none of them matches nothing."""
    return re.compile("|".join(f"(?:{translate(glob)})" for glob in globs) or r"(?!)")
