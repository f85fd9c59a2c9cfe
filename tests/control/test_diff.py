"""What differs between two documents is told once, where it is, and without secrets."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_server.config.load import parse
from trunkline_server.config.model import RoutesDocument
from trunkline_server.control.diff import MAX_CHANGES, MAX_VALUE_CHARS, diff
from trunkline_server.control.types import Change, ChangeOp

HASH_A = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
HASH_B = "0f" * 32
OPPOSITE = {ChangeOp.ADD: ChangeOp.REMOVE, ChangeOp.REMOVE: ChangeOp.ADD, ChangeOp.REPLACE: ChangeOp.REPLACE}

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "providers": {
        "openai": {
            "protocol": "openai",
            "base_url": "https://api.openai.com/v1",
            "keys": [
                {"id": "team-a", "secret": "env:PLANTED_API_KEY_A", "weight": 3},
                {"id": "team-b", "secret": "env:PLANTED_API_KEY_B"},
            ],
        },
        "local": {"protocol": "openai", "base_url": "http://localhost:1"},
    },
    "aliases": {"default": {"tiers": [["openai/gpt-4o", "openai/gpt-4o-mini"], ["local/m"]]}},
    "callers": [{"id": "c", "token_sha256": HASH_A, "aliases": ["default"]}],
    "admins": [{"id": "oncall", "token_sha256": HASH_B, "role": "operator"}],
}


def typed(document: dict[str, Any]) -> RoutesDocument:
    parsed = parse(yaml.safe_dump(document), name="x")
    assert parsed.document is not None, parsed.findings
    return parsed.document


def edited(**sections: Any) -> dict[str, Any]:
    return copy.deepcopy(DOCUMENT) | sections


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(change.op.value, change.path, change.before, change.after) for change in diff(typed(before), typed(after))]


def test_the_same_document_has_no_changes() -> None:
    """Nothing differs from itself."""
    assert changes(DOCUMENT, DOCUMENT) == []


def test_values_are_told_by_path_as_json() -> None:
    """A changed setting is one change, entries of lists by their id or target, numbers as people write them."""
    after = edited()
    after["providers"]["openai"]["keys"][0]["weight"] = 4.5
    after["providers"]["openai"]["gate"] = {"queue": 7}
    after["aliases"]["default"]["tiers"][0][0] = {"target": "openai/gpt-4o", "weight": 9}
    after["callers"][0]["aliases"] = []
    after["callers"][0]["models"] = ["local/m"]
    assert changes(DOCUMENT, after) == [
        ("REPLACE", "providers.openai.keys[team-a].weight", "3", "4.5"),
        ("REPLACE", "providers.openai.gate.queue", "500", "7"),
        ("REPLACE", "aliases.default.tiers[0].targets[openai/gpt-4o].weight", "1", "9"),
        ("REPLACE", "callers[c].aliases", '["default"]', "[]"),
        ("REPLACE", "callers[c].models", "[]", '["local/m"]'),
    ]


def test_an_optional_setting_comes_and_goes() -> None:
    """What has no default is added and removed, not replaced by null."""
    after = edited()
    after["aliases"]["default"]["max_cost_usd"] = 0.5
    assert changes(DOCUMENT, after) == [("ADD", "aliases.default.max_cost_usd", "", "0.5")]
    assert changes(after, DOCUMENT) == [("REMOVE", "aliases.default.max_cost_usd", "0.5", "")]


def test_an_insertion_is_one_change() -> None:
    """A key or a target put in front of others changes nothing about those."""
    after = edited()
    after["aliases"]["default"]["tiers"][0].insert(0, {"target": "local/x", "weight": 2})
    assert changes(DOCUMENT, after) == [
        ("ADD", "aliases.default.tiers[0].targets[local/x]", "", '{"target":"local/x","weight":2}')
    ]


def test_a_new_order_is_one_change() -> None:
    """Entries that change places are told by their names alone."""
    after = edited()
    after["aliases"]["default"]["tiers"][0].reverse()
    assert changes(DOCUMENT, after) == [
        (
            "REPLACE",
            "aliases.default.tiers[0].targets",
            '["openai/gpt-4o","openai/gpt-4o-mini"]',
            '["openai/gpt-4o-mini","openai/gpt-4o"]',
        )
    ]


def test_writing_out_a_default_or_the_long_form_is_no_change() -> None:
    """What means the same is the same."""
    after = edited()
    after["providers"]["local"] |= {"keys": [], "transport": "aiohttp", "gate": {"queue": 500}}
    after["aliases"]["default"]["tiers"][1] = {"strategy": "weighted", "targets": [{"target": "local/m", "weight": 1}]}
    assert changes(DOCUMENT, after) == []


def test_a_secret_reference_is_told_to_have_changed_and_not_shown() -> None:
    """References and hashes of tokens are sensitive: a path without values."""
    after = edited()
    after["providers"]["openai"]["keys"][1] |= {"secret": "file:planted"}
    after["callers"][0]["token_sha256"] = "1" * 64
    assert diff(typed(DOCUMENT), typed(after)) == (
        Change(ChangeOp.REPLACE, "providers.openai.keys[team-b].secret", "", "", sensitive=True),
        Change(ChangeOp.REPLACE, "callers[c].token_sha256", "", "", sensitive=True),
    )


def test_a_whole_provider_comes_as_it_was_written_but_for_its_secrets() -> None:
    """An added entry is shown with what was given, and each of its secrets as a sensitive change of its own."""
    before = edited(aliases={}, callers=[])
    after = copy.deepcopy(before)
    before["providers"].pop("openai")
    found = diff(typed(before), typed(after))
    assert [(change.path, change.sensitive) for change in found] == [
        ("providers.openai", False),
        ("providers.openai.keys[team-a].secret", True),
        ("providers.openai.keys[team-b].secret", True),
    ]
    assert json.loads(found[0].after) == {
        "protocol": "openai",
        "base_url": "https://api.openai.com/v1",
        "keys": [{"id": "team-a", "weight": 3}, {"id": "team-b"}],
    }


def test_an_alias_may_be_called_like_a_secret() -> None:
    """Only entries of lists have secrets; names that people chose hide nothing."""
    after = edited(aliases=DOCUMENT["aliases"] | {"secret": {"tiers": [["local/m"]]}})
    (change,) = diff(typed(DOCUMENT), typed(after))
    assert change.path == "aliases.secret"
    assert not change.sensitive
    assert change.after


def test_a_long_value_is_not_shown() -> None:
    """A value beyond the bound is told by its length."""
    after = edited()
    after["callers"][0]["models"] = [f"local/model-{number}" for number in range(200)]
    (change,) = diff(typed(DOCUMENT), typed(after))
    assert len(change.after) <= MAX_VALUE_CHARS
    assert json.loads(change.after).startswith("too long to show: ")


def test_too_many_changes_are_counted() -> None:
    """At most a thousand are told, and one more says how many were left out."""
    after = edited(models={f"local/{number}": {"context_tokens": 1} for number in range(MAX_CHANGES + 5)})
    found = diff(typed(DOCUMENT), typed(after))
    assert len(found) == MAX_CHANGES + 1
    assert json.loads(found[-1].after) == "5 more changes are not shown"


def test_names_that_look_like_secrets_are_not_shown() -> None:
    """A key pasted in the place of an id becomes a question mark in the path."""
    pasted = "sk-live-Zq81xv7Kd02mW95tRb34"
    after = edited()
    after["callers"].append({"id": pasted, "token_sha256": "2" * 64, "aliases": ["default"]})
    found = diff(typed(DOCUMENT), typed(after))
    assert [change.path for change in found] == ["callers[?]", "callers[?].token_sha256"]


ids = st.sampled_from(["a", "b", "c", "d"])
hashes = st.sampled_from(["0", "1", "2", "3"])
keys = st.lists(
    st.fixed_dictionaries(
        {"id": ids, "secret": st.sampled_from(["env:PLANTED_API_KEY", "file:planted"])},
        optional={"weight": st.integers(0, 3), "max_in_flight": st.integers(1, 3), "models": st.just(["*", "m"])},
    ),
    unique_by=lambda key: str(key["id"]),
    max_size=3,
)
providers = st.dictionaries(
    ids,
    st.fixed_dictionaries(
        {"protocol": st.just("openai"), "base_url": st.sampled_from(["https://x.example", "https://y.example"])},
        optional={"keys": keys, "gate": st.fixed_dictionaries({}, optional={"queue": st.integers(0, 2)})},
    ),
    min_size=1,
    max_size=3,
)
callers = st.lists(
    st.fixed_dictionaries({"id": ids, "token_sha256": hashes.map(lambda digit: f"{digit}{HASH_B[1:]}")}),
    unique_by=(lambda caller: caller["id"], lambda caller: caller["token_sha256"]),
    max_size=3,
)
aliases = st.dictionaries(
    ids,
    st.fixed_dictionaries(
        {
            "tiers": st.lists(
                st.lists(
                    st.fixed_dictionaries(
                        {"target": st.sampled_from(["z/m", "z/n", "z/o"])}, optional={"weight": st.integers(0, 2)}
                    ),
                    unique_by=lambda target: str(target["target"]),
                    min_size=1,
                ),
                min_size=1,
                max_size=1,
            )
        },
        optional={"max_cost_usd": st.integers(1, 2)},
    ),
    max_size=2,
)
LAST = {"z": {"protocol": "openai", "base_url": "https://z.example"}}
documents = st.builds(
    lambda provided, aliased, called: typed(
        {"version": 1, "providers": provided | LAST, "aliases": aliased, "callers": called}
    ),
    providers,
    aliases,
    callers,
)


@settings(deadline=None, max_examples=60)
@given(documents, documents)
def test_there_and_back_are_mirrored_and_hold_no_secret(one: RoutesDocument, other: RoutesDocument) -> None:
    """The way back has the same paths with the values swapped; nothing is told of equals, nor twice, nor secret."""
    there, back = diff(one, other), diff(other, one)
    assert [
        Change(OPPOSITE[change.op], change.path, change.after, change.before, change.sensitive) for change in there
    ] == list(back)
    assert (one == other) == (not there)
    assert diff(one, one) == ()
    assert len({change.path for change in there}) == len(there)
    told = repr(there)
    assert "PLANTED" not in told
    assert "planted" not in told
    assert HASH_B[1:] not in told
