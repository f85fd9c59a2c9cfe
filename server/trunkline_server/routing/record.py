"""What each request makes and looks up by the dozen: records, and the words that stand in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar, dataclass_transform

_Record = TypeVar("_Record")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[_Record]) -> type[_Record]:
    """Make a class a dataclass with slots that nobody changes, as the type checker sees to.

    `frozen=True` would see to it at run time too, by a call for each field: making one takes three times as long.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


class Word(Enum):
    """An enumeration whose members are looked up in tables: hashed as the objects that they are.

    Enum hashes a member's name, by a function in Python: a look-up takes seven times as long.
    """

    __hash__ = object.__hash__
