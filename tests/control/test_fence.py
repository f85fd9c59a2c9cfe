"""A document over the wire can't reach other secrets or send keys to another host: the attacks spelled out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_server.config.findings import Finding, InvalidRoutesError
from trunkline_server.config.load import parse
from trunkline_server.config.model import ProviderSettings, RoutesDocument
from trunkline_server.config.secret import Secret
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.control.fence import HARMLESS, check_wire
from trunkline_server.control.routes_reading import RoutesFile, RoutesReader

OURS = "https://api.openai.com/v1"
THEIRS = "https://evil.example/v1"

TRUSTED: dict[str, Any] = {
    "version": 1,
    "providers": {
        "openai": {
            "protocol": "openai",
            "base_url": OURS,
            "keys": [
                {"id": "a", "secret": "env:OPENAI_API_KEY_A"},
                {"id": "b", "secret": "file:openai/b"},
            ],
        },
        "other": {
            "protocol": "openai",
            "base_url": "https://other.example:8443/v1",
            "keys": [{"id": "o", "secret": "env:OTHER_API_KEY"}],
        },
        "local": {"protocol": "openai", "base_url": "http://localhost:1"},
    },
}

Edit = Callable[[dict[str, Any]], object]


def typed(document: dict[str, Any]) -> RoutesDocument:
    parsed = parse(yaml.safe_dump(document), name="x").document
    assert parsed is not None
    return parsed


def edited(*edits: Edit, base: dict[str, Any] = TRUSTED) -> dict[str, Any]:
    document = copy.deepcopy(base)
    for edit in edits:
        edit(document["providers"])
    return document


def check(
    document: dict[str, Any], running: dict[str, Any] = TRUSTED, on_file: dict[str, Any] | None = TRUSTED
) -> tuple[Finding, ...]:
    parsed = parse(yaml.safe_dump(document, allow_unicode=True), name="the document")
    return check_wire(parsed, typed(running), None if on_file is None else typed(on_file))


def put(path: str, value: Any) -> Edit:
    """Set a value: `openai.keys.0.secret`."""

    def edit(providers: dict[str, Any]) -> None:
        node: Any = providers
        *steps, last = path.split(".")
        for step in steps:
            node = node[int(step) if step.isdigit() else step]
        node[int(last) if last.isdigit() else last] = value

    return edit


def add_key(provider: str, reference: str, key_id: str = "new") -> Edit:
    return lambda providers: providers[provider].setdefault("keys", []).append({"id": key_id, "secret": reference})


def add_provider(name: str, url: str, *references: str, **more: Any) -> Edit:
    keys = [{"id": f"k{index}", "secret": reference} for index, reference in enumerate(references)]
    return put(name, {"protocol": "openai", "base_url": url, "keys": keys} | more)


def rename(old: str, new: str) -> Edit:
    return lambda providers: providers.update({new: providers.pop(old)})


def move(url: str) -> Edit:
    return put("openai.base_url", url)


SECRET, DESTINATION = "remote_secret", "remote_destination"

ATTACKS: list[tuple[str, list[Edit], str]] = [
    ("the keys of a provider are sent to another host", [move(THEIRS)], DESTINATION),
    (
        "and are sent there in the clear",
        [move("http://evil.example"), put("openai.allow_plaintext", value=True)],
        DESTINATION,
    ),
    ("TLS is turned off towards the same host", [move("http://api.openai.com/v1")], DESTINATION),
    (
        "plaintext is allowed first, to be used in a second step",
        [put("openai.allow_plaintext", value=True)],
        DESTINATION,
    ),
    ("the keys are sent to this machine, where somebody listens", [move("http://127.0.0.1:9")], DESTINATION),
    ("another port of the same host", [move("https://api.openai.com:444/v1")], DESTINATION),
    ("the port that is meant anyway, for readers that disagree", [move("https://api.openai.com:443/v1")], DESTINATION),
    ("another path of the same host, which may be another tenant's", [move("https://api.openai.com/v2")], DESTINATION),
    ("a path that climbs", [move("https://api.openai.com/v1/../x")], DESTINATION),
    ("a host that only looks the same in another case", [move("https://API.openai.com/v1")], DESTINATION),
    ("a scheme in another case", [move("HTTPS://api.openai.com/v1")], DESTINATION),
    ("a host with a final dot", [move("https://api.openai.com./v1")], DESTINATION),
    ("a host that only begins alike", [move("https://api.openai.com.evil.example/v1")], DESTINATION),
    ("the host as a user name of another one", [move("https://api.openai.com@evil.example/v1")], DESTINATION),
    ("a backslash, which readers of URLs take for different things", [move(f"{THEIRS}\\@api.openai.com")], DESTINATION),
    ("a letter of another alphabet that looks the same", [move("https://api.\u03bfpenai.com/v1")], DESTINATION),
    ("a query that swallows the path", [move(f"{THEIRS}?x=")], DESTINATION),
    ("a blank that is cut off by some", [move(f" {OURS}")], DESTINATION),
    ("a URL that is no text", [put("openai.base_url", ["https://evil.example"])], DESTINATION),
    ("the URL of another trusted provider", [move("https://other.example:8443/v1")], DESTINATION),
    ("another protocol, which may send keys in another way", [put("openai.protocol", "anthropic")], DESTINATION),
    ("a provider without keys is moved with all of its keys", [put("openai.keys", []), move(THEIRS)], DESTINATION),
    ("a key is kept while the others are dropped", [lambda p: p["openai"]["keys"].pop(), move(THEIRS)], DESTINATION),
    ("a new provider uses another one's secret", [add_provider("extra", THEIRS, "env:OPENAI_API_KEY_A")], SECRET),
    ("a new provider at a trusted host uses it", [add_provider("twin", OURS, "env:OPENAI_API_KEY_A")], SECRET),
    ("a provider is renamed", [rename("openai", "openai2")], SECRET),
    ("a provider is renamed by case", [rename("openai", "OpenAI")], SECRET),
    ("two providers change their names", [rename("openai", "x"), rename("other", "openai")], SECRET),
    ("a key of one provider uses another one's secret", [add_key("openai", "env:OTHER_API_KEY")], SECRET),
    (
        "under the id that the other one has for it",
        [put("openai.keys.0", {"id": "o", "secret": "env:OTHER_API_KEY"})],
        SECRET,
    ),
    ("a key's reference is changed", [put("openai.keys.0.secret", "env:AWS_API_KEY")], SECRET),
    ("a provider that had no keys gets one of another", [add_key("local", "env:OPENAI_API_KEY_A")], SECRET),
    ("any variable of this process is used", [add_key("openai", "env:TRUNKLINE_SECRET_STATE")], SECRET),
    ("a variable whose name only has another case", [add_key("openai", "env:openai_api_key_a")], SECRET),
    ("a variable's name with a blank", [add_key("openai", "env:OPENAI_API_KEY_A ")], SECRET),
    ("any file of the secrets' directory is used", [add_key("openai", "file:tls.key")], SECRET),
    ("a file above the directory", [add_key("openai", "file:../shadow")], SECRET),
    ("a file by its whole path", [add_key("openai", "file:/etc/shadow")], SECRET),
    ("the same file by another way, which a link may change", [add_key("openai", "file:./openai/b")], SECRET),
    ("the same file through a directory above", [add_key("openai", "file:openai/../openai/b")], SECRET),
    ("the same file with two slashes", [add_key("openai", "file:openai//b")], SECRET),
    ("a variable named as a file is", [add_key("openai", "env:openai/b")], SECRET),
    ("a reference with its scheme in another case", [add_key("openai", "ENV:OPENAI_API_KEY_A")], SECRET),
    ("a reference that is no reference", [add_key("openai", "OPENAI_API_KEY_A")], SECRET),
    ("an unknown setting hides the attack behind another error", [move(THEIRS), put("openai.x", 1)], DESTINATION),
    ("a missing protocol does", [add_key("openai", "env:X_API_KEY"), lambda p: p["openai"].pop("protocol")], SECRET),
]


@pytest.mark.parametrize(("attack", "edits", "code"), ATTACKS, ids=[attack for attack, _, _ in ATTACKS])
def test_an_attack_is_refused(attack: str, edits: list[Edit], code: str) -> None:
    """Each attack is an error with a place and a remedy, which repeats neither references nor URLs."""
    found = check(edited(*edits))
    assert code in {finding.code for finding in found}, attack
    for finding in found:
        assert finding.severity == "error"
        assert finding.line
        assert finding.path.startswith("providers.")
        assert "--remote-secrets" in finding.message
        assert not any(word in finding.message for word in ("API_KEY", "shadow", "evil", "http", "openai/b", "tls.key"))


ALLOWED: list[tuple[str, list[Edit]]] = [
    ("nothing is changed", []),
    ("weights and limits of keys are", [put("openai.keys.0.weight", 5), put("openai.keys.1.max_in_flight", 3)]),
    ("gates, timeouts and circuits are", [put("openai.gate", {"queue": 1}), put("openai.circuit", {"open_s": 2})]),
    ("the HTTP client is", [put("openai.transport", "httpx")]),
    ("a key goes", [lambda p: p["openai"]["keys"].pop()]),
    ("all keys go", [put("openai.keys", [])]),
    ("a provider goes", [lambda p: p.pop("openai")]),
    ("keys change their order", [lambda p: p["openai"]["keys"].reverse()]),
    ("a key has another id", [put("openai.keys.0.id", "renamed")]),
    ("a second key has the same secret, at the same provider", [add_key("openai", "env:OPENAI_API_KEY_A")]),
    ("a default is written out", [put("openai.allow_plaintext", value=False)]),
    ("the URL has a final slash, which is cut off", [move(f"{OURS}/")]),
    ("a provider without keys comes", [add_provider("lab", "http://localhost:2")]),
    ("a provider without keys goes elsewhere", [put("local.base_url", "http://localhost:3")]),
]


@pytest.mark.parametrize(("change", "edits"), ALLOWED, ids=[change for change, _ in ALLOWED])
def test_what_leaves_secrets_where_they_are_is_allowed(change: str, edits: list[Edit]) -> None:
    """The daily changes go over the wire."""
    assert check(edited(*edits)) == (), change


def test_taking_keys_away_first_leads_no_further() -> None:
    """Keys are removed, then the host is changed, then the keys come back: refused with and without the file."""
    bare = edited(put("openai.keys", []))
    assert check(bare) == ()
    moved = edited(move(THEIRS), base=bare)
    assert [finding.code for finding in check(moved, running=bare)] == [DESTINATION]
    # Without a file to hold it against, the second step is allowed; the third has no secrets left.
    assert check(moved, running=bare, on_file=None) == ()
    armed = edited(move(THEIRS))
    assert {finding.code for finding in check(armed, running=moved, on_file=None)} == {SECRET}
    assert {finding.code for finding in check(armed, running=moved)} == {DESTINATION}


def test_taking_a_provider_away_first_leads_no_further() -> None:
    """A provider is removed, and comes back at another host with its keys: refused."""
    gone = edited(lambda providers: providers.pop("openai"))
    assert {finding.code for finding in check(edited(move(THEIRS)), running=gone)} == {DESTINATION}
    assert check(TRUSTED, running=gone) == ()


def test_no_reference_of_one_document_goes_to_the_host_of_the_other() -> None:
    """The file moves a provider and changes its keys: old keys to the new host, or new ones to the old, are refused."""
    on_file = edited(move("https://new.example/v1"), put("openai.keys", [{"id": "n", "secret": "env:NEW_API_KEY"}]))
    assert check(on_file, on_file=on_file) == ()
    old_to_new = edited(move("https://new.example/v1"))
    assert {finding.code for finding in check(old_to_new, on_file=on_file)} == {DESTINATION}
    new_to_old = edited(put("openai.keys", on_file["providers"]["openai"]["keys"]))
    assert {finding.code for finding in check(new_to_old, on_file=on_file)} == {DESTINATION}


def test_what_the_file_has_may_be_sent_before_the_file_is_read() -> None:
    """A provider that stands in the file only may be published over the wire, as it stands there."""
    on_file = edited(add_provider("new", "https://new.example", "env:NEW_API_KEY"))
    assert check(on_file, on_file=on_file) == ()
    assert {finding.code for finding in check(on_file, on_file=None)} == {SECRET}


def test_plaintext_may_be_forbidden_again() -> None:
    """A provider that was allowed plaintext may lose that over the wire."""
    loose = edited(put("openai.allow_plaintext", value=True))
    assert check(TRUSTED, running=loose, on_file=loose) == ()


def test_places_are_told_by_path_and_line() -> None:
    """Each finding stands where the document has what is refused."""
    text = (
        "version: 1\nproviders:\n  openai:\n    protocol: openai\n    base_url: https://evil.example\n"
        "    keys:\n      - {id: a, secret: env:OPENAI_API_KEY_A}\n      - {id: z, secret: env:Z_API_KEY}\n"
    )
    found = check_wire(parse(text, name="x"), typed(TRUSTED), None)
    assert [(finding.line, finding.path) for finding in found] == [
        (5, "providers.openai.base_url"),
        (8, "providers.openai.keys[1].secret"),
    ]


def test_what_is_no_yaml_is_left_to_the_parser() -> None:
    """A text that can't be read has the parser's findings alone."""
    assert check_wire(parse("{", name="x"), typed(TRUSTED), None) == ()


def test_only_settings_known_to_be_harmless_may_change() -> None:
    """Of a provider's settings today's are known; one that is added is fenced in until somebody decides otherwise."""
    fenced = {"preset", "protocol", "base_url", "allow_plaintext", "region", "api_version", "deployments"}
    assert ProviderSettings.model_fields.keys() - HARMLESS == fenced
    assert ProviderSettings.model_fields.keys() >= HARMLESS


class Watched(SecretResolver):
    """Writes down what it is asked for."""

    asked: list[str] = []  # noqa: RUF012 - one list a test, see below

    def resolve(self, reference: str) -> Secret:
        self.asked.append(reference)
        return Secret("sk-x")


class File:
    name = "routes.yaml"

    def read(self) -> bytes:
        return yaml.safe_dump(TRUSTED).encode()


async def test_no_secret_is_looked_up_for_a_document_that_is_refused(tmp_path: Path) -> None:
    """The fence stands before the secrets: a refused document doesn't even learn whether a variable exists."""
    resolver = Watched(tmp_path, frozenset(), {})
    resolver.asked.clear()
    reader = RoutesReader(RoutesFile(File()), resolver, check_wire, lambda routes, _pause: routes)
    for _, edits, _ in ATTACKS:
        with pytest.raises(InvalidRoutesError):
            await reader.from_wire(yaml.safe_dump(edited(*edits)).encode(), typed(TRUSTED))
    assert resolver.asked == []
    await reader.from_wire(yaml.safe_dump(TRUSTED).encode(), typed(TRUSTED))
    assert len(resolver.asked) == 3


references = st.sampled_from(["env:OPENAI_API_KEY_A", "file:openai/b", "env:OTHER_API_KEY", "env:NEW_API_KEY"])
urls = st.sampled_from([OURS, THEIRS, "https://other.example:8443/v1"])
steps = st.lists(
    st.dictionaries(
        st.sampled_from(["openai", "other", "third"]),
        st.tuples(urls, st.lists(references, max_size=2)),
        min_size=1,
    ),
    max_size=6,
)


def pairs(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Which provider sends which secret where."""
    return {
        (name, provider["base_url"], key["secret"])
        for name, provider in document["providers"].items()
        for key in provider.get("keys", ())
    }


@settings(deadline=None, max_examples=150)
@given(steps)
def test_no_sequence_of_documents_sends_a_secret_elsewhere(
    sequence: list[dict[str, tuple[str, list[str]]]],
) -> None:
    """However many documents are sent one after another, each secret goes where the file has sent it."""
    running = TRUSTED
    for providers in sequence:
        document: dict[str, Any] = {"version": 1, "providers": {}}
        for name, (url, secrets) in providers.items():
            add_provider(name, url, *secrets)(document["providers"])
        if not check(document, running=running):
            running = document
        assert pairs(running) <= pairs(TRUSTED)
