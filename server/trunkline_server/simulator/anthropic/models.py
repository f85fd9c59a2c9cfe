"""What the models of the service refuse, by their generation; names that tell none are refused nothing."""

from __future__ import annotations

import re

import msgspec

_NAME = re.compile(
    r"claude-(?:(?P<family>[a-z]+)-)?(?P<major>\d)(?:-(?P<minor>\d{1,2}))?(?![\d.])(?:-(?P<old>[a-z]+))?"
)
_ALWAYS_THINKING = frozenset({"fable", "mythos"})


class Model(msgspec.Struct, frozen=True):
    """A model by its family and version; without a version it takes everything."""

    family: str = ""
    version: tuple[int, int] | None = None

    def since(self, major: int, minor: int) -> bool:
        """Return whether the model is of this generation or a later one; False if it tells none."""
        return self.version is not None and self.version >= (major, minor)

    def before(self, major: int, minor: int) -> bool:
        """Return whether the model is of an earlier generation; False if it tells none."""
        return self.version is not None and self.version < (major, minor)

    @property
    def late(self) -> bool:
        """Whether it is one of the latest, which cannot be made to call a tool."""
        if self.family in _ALWAYS_THINKING:
            return self.since(5, 1)
        return self.family in {"opus", "sonnet"} and self.since(5, 5)

    @property
    def can_be_quiet(self) -> bool:
        """Whether `disabled` keeps it from thinking."""
        return self.family not in _ALWAYS_THINKING and not self.late

    @property
    def shows_thinking(self) -> bool:
        """Whether it shows its thinking without being asked to."""
        return not self.since(4, 7)


def model_of(name: str) -> Model:
    """Return what a model's name tells."""
    found = _NAME.search(name)
    if found is None:
        return Model()
    return Model(found["family"] or found["old"] or "", (int(found["major"]), int(found["minor"] or 0)))
