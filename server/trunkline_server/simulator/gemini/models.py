"""What the models of the service refuse, by their generation; names that tell none are refused nothing."""

from __future__ import annotations

import re

import msgspec

_NAME = re.compile(r"^gemini-(\d+)(?:\.(\d+))?(?:-([a-z]+))?")


class Model(msgspec.Struct, frozen=True):
    """A model by its generation and family; without a generation it takes everything."""

    generation: tuple[int, int] | None = None
    family: str = ""

    @property
    def old(self) -> bool:
        """Whether it is of a generation before the third."""
        return self.generation is not None and self.generation < (3, 0)

    @property
    def thinks(self) -> bool:
        """Whether it thinks at all."""
        return self.generation is None or self.generation >= (2, 5)

    @property
    def signs_calls(self) -> bool:
        """Whether it signs its calls, and wants the signatures back."""
        return self.generation is not None and self.generation >= (3, 0)

    @property
    def takes_minimal(self) -> bool:
        """Whether it can be told to think next to nothing."""
        return self.generation is None or (self.family == "flash" and self.generation < (3, 7))

    @property
    def budgets(self) -> tuple[int, int]:
        """The smallest and the largest number of tokens that it may be told to think."""
        if not self.old:
            return 0, 65_536
        return (128, 32_768) if self.family == "pro" else (0, 24_576)


def model_of(name: str) -> Model:
    """Return what a model's name tells."""
    found = _NAME.match(name)
    return Model() if found is None else Model((int(found[1]), int(found[2] or 0)), found[3] or "")
