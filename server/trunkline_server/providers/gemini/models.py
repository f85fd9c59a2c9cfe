"""What has to be known of a model by its name alone: how it is asked to think, and whether it checks signatures.

Source: the pages on thinking and on thought signatures of ai.google.dev/gemini-api/docs and of docs.cloud.google.com,
as of 2026-11. Generations before 2.5 do not think; 2.5 takes a budget in tokens; from 3 on a level is asked for, and a
function call without a signature is refused. A name that tells no generation is taken for one of today's models.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

_NAME: Final = re.compile(r"(?:^|/)gemini-(?:(\d{1,3})(?:\.(\d{1,3}))?|[a-z-]*latest)(?![0-9.])")
_FIRST_WITH_BUDGET: Final = (2, 5)
_FIRST_WITH_LEVEL: Final = (3, 0)

_TAKES_MINIMAL: Final = re.compile(r"gemini-3(?:\.[0-6])?-flash")
"""Flash models up to 3.6, and their lite ones: the only ones that take the level below LOW."""

_PRO_BUDGET_MIN: Final = 128
_PRO_BUDGET_MAX: Final = 32_768
_FLASH_BUDGET_MAX: Final = 24_576


class Thinking(Enum):
    """How a model is asked to think."""

    NONE = "it does not think"
    BUDGET = "by a number of tokens"
    LEVEL = "by a level"


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What a model's name tells."""

    thinking: Thinking
    signs_calls: bool = False
    """Whether it refuses a conversation in which a step's first function call has no signature."""
    takes_minimal: bool = False
    """Whether it takes the level MINIMAL."""
    budget_min: int = 0
    """0: thinking can be turned off."""
    budget_max: int = _FLASH_BUDGET_MAX


@functools.lru_cache(maxsize=1024)
def traits_of(model: str) -> ModelTraits:
    """Return what the name of a model tells."""
    found = _NAME.search(model)
    if found is None:
        return ModelTraits(Thinking.LEVEL)
    if found[1] is None:
        return ModelTraits(Thinking.LEVEL, signs_calls=True)
    generation = (int(found[1]), int(found[2] or 0))
    if generation >= _FIRST_WITH_LEVEL:
        return ModelTraits(Thinking.LEVEL, signs_calls=True, takes_minimal=_TAKES_MINIMAL.search(model) is not None)
    if generation < _FIRST_WITH_BUDGET:
        return ModelTraits(Thinking.NONE)
    if "-pro" in model:
        return ModelTraits(Thinking.BUDGET, budget_min=_PRO_BUDGET_MIN, budget_max=_PRO_BUDGET_MAX)
    return ModelTraits(Thinking.BUDGET)
