"""Records and words: what each request makes and looks up by the dozen."""

from __future__ import annotations

import copy
import pickle
from dataclasses import field, fields, replace

import pytest

from trunkline_server.routing.record import Word, record


@record
class Stop:
    """A place on a line."""

    name: str
    lines: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list, compare=False)


class Colour(Word):
    """Colours of lines."""

    RED = "red"
    BLUE = "blue"


def test_records_are_the_values_of_their_fields() -> None:
    """Equal ones are one key of a set, and `replace` and patterns know their fields."""
    stop = Stop("Mill", ("1",))
    assert stop == Stop("Mill", ("1",), ["new"])
    assert {stop, Stop("Mill", ("1",)), Stop("Quay")} == {stop, Stop("Quay")}
    assert replace(stop, name="Quay").lines == ("1",)
    assert [each.name for each in fields(Stop)] == ["name", "lines", "notes"]
    match stop:
        case Stop(name, lines):
            assert (name, lines) == ("Mill", ("1",))


def test_records_have_no_room_for_more_than_their_fields() -> None:
    """They have slots, and a default of their own where one can be changed."""
    stop = Stop("Mill")
    with pytest.raises(AttributeError):
        stop.line = "1"  # type: ignore[attr-defined]
    assert stop.notes is not Stop("Mill").notes


def test_the_type_checker_lets_nobody_change_a_record() -> None:
    """At run time nothing is in the way: if mypy said nothing here, it would say that its exception is not needed."""
    stop = Stop("Mill")
    stop.name = "Quay"  # type: ignore[misc]


def test_words_are_found_in_tables_by_what_they_are() -> None:
    """Also those that were copied or came out of a pickle: there is one of each."""
    table = {Colour.RED: 1, Colour.BLUE: 2}
    assert [table[word] for word in (Colour("blue"), copy.deepcopy(Colour.BLUE))] == [2, 2]
    assert table[pickle.loads(pickle.dumps(Colour.RED))] == 1  # noqa: S301  our own
    assert hash(Colour.RED) == object.__hash__(Colour.RED)
