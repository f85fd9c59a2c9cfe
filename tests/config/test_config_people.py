"""Callers and admins of a document: who they are, what they may use, and what is said of mistakes in them."""

from __future__ import annotations

import pytest

from trunkline_server.config.findings import Finding
from trunkline_server.config.load import parse
from trunkline_server.config.model import RoutesDocument
from trunkline_server.config.people_checks import RESERVED_IDS
from trunkline_server.control.types import Role
from trunkline_server.people import admin_table, caller_table, callers_of
from trunkline_server.routing.caller_limits import CallerLimits
from trunkline_server.rpc.auth import OPEN_ADMINS, OPEN_TABLE, UnauthenticatedError

ONE, TWO = "1" * 64, "ab" * 32
HEAD = """\
version: 1
providers: {p: {protocol: openai, base_url: "https://x"}}
models: {p/priced: {input_usd_per_million: 1, output_usd_per_million: 2}}
aliases: {a: {tiers: [[p/priced]]}, b: {tiers: [[p/priced], [p/free, p/other]]}}
"""


def findings(text: str) -> list[Finding]:
    """Return what is said of a document with these callers and admins."""
    return list(parse(HEAD + text, name="routes.yaml").findings)


def document(text: str) -> RoutesDocument:
    """Return a valid document with these callers and admins."""
    parsed = parse(HEAD + text, name="routes.yaml")
    assert parsed.document is not None, parsed.findings
    return parsed.document


def caller(more: str, name: str = "c") -> str:
    """Return the text of one caller."""
    return f"{{id: {name}, aliases: [a], {more}}}"


def test_limits_come_to_the_core_in_its_units() -> None:
    """Calls and tokens a minute, calls in flight, and the budget in 1e-9 USD; a caller without any has none."""
    limited = caller(
        f'token_sha256: "{ONE}", requests_per_minute: 0.5, tokens_per_minute: 10,'
        " max_in_flight: 3, budget_usd_per_day: 0.25"
    )
    found = callers_of(document(f"callers: [{limited}, {caller('mtls_san: x', 'free')}]\n"))
    assert found is not None
    assert [each.limits for each in found] == [CallerLimits(0.5, 10, 3, 250_000_000), None]


@pytest.mark.parametrize(
    ("given", "path", "code"),
    [
        ("requests_per_minute: 0", "requests_per_minute", "out_of_range"),
        ("tokens_per_minute: -1", "tokens_per_minute", "out_of_range"),
        ("max_in_flight: 0", "max_in_flight", "out_of_range"),
        ("max_in_flight: 1.5", "max_in_flight", "wrong_type"),
        ("budget_usd_per_day: 0", "budget_usd_per_day", "out_of_range"),
        ("budget_usd_per_day: .inf", "budget_usd_per_day", "out_of_range"),
        ("budget_usd_per_day: ", "budget_usd_per_day", "empty_value"),
        ("budget_usd_per_day: '5'", "budget_usd_per_day", "wrong_type"),
    ],
)
def test_limits_that_are_none_are_refused(given: str, path: str, code: str) -> None:
    """A limit of nothing, of no number, or without a value is told at its setting."""
    (found,) = findings(f"callers: [{caller(f'mtls_san: x, {given}')}]\n")
    assert (found.severity, found.path, found.code) == ("error", f"callers[0].{path}", code)


@pytest.mark.parametrize(
    "san", ["spiffe://prod/checkout", "ops@example.com", "checkout.internal", "x" * 256], ids=lambda san: san[:20]
)
def test_names_of_certificates_are_taken_whole(san: str) -> None:
    """URIs, e-mail addresses and host names are kept as they are written, and find their caller."""
    table = caller_table(document(f"callers: [{caller(f'mtls_san: {san!r}')}]\n"))
    assert table.identify([san]).id == "c"
    assert not table.is_open


@pytest.mark.parametrize("san", ["", "*.internal", "a b", "ü.example", "x" * 257, "a\\nb"], ids=lambda san: san[:20])
def test_names_that_no_certificate_should_have_are_refused(san: str) -> None:
    """Wildcards, blanks, nothing and what is too long are told with what is meant."""
    (found,) = findings(f'callers: [{caller(f"""mtls_san: "{san}" """)}]\n')
    assert (found.path, found.code) == ("callers[0].mtls_san", "bad_san")
    assert "spiffe://prod/checkout" in found.message


def test_somebody_may_have_a_token_and_a_certificate() -> None:
    """Either of the two then says who calls."""
    table = caller_table(document(f'callers: [{caller(f"""token_sha256: "{ONE}", mtls_san: x""")}]\n'))
    assert table.identify(["x"]).id == "c"
    with pytest.raises(UnauthenticatedError):
        table.authenticate([("authorization", "Bearer wrong")])


@pytest.mark.parametrize("base", ["callers", "admins"])
def test_somebody_without_token_and_certificate_is_refused(base: str) -> None:
    """Who could not be recognised is told, with both ways out."""
    entry = "{id: c, aliases: [a]}" if base == "callers" else "{id: d, role: viewer}"
    (found,) = [each for each in findings(f"{base}: [{entry}]\n") if each.severity == "error"]
    assert (found.path, found.code) == (f"{base}[0]", "no_identity")
    assert "token_sha256" in found.message
    assert "mtls_san" in found.message


@pytest.mark.parametrize(
    ("first", "second", "setting", "code"),
    [
        (f'id: x, token_sha256: "{ONE}"', f'id: x, token_sha256: "{TWO}"', "id", "duplicate_id"),
        (f'id: x, token_sha256: "{TWO}"', f'id: y, token_sha256: "{TWO.upper()}"', "token_sha256", "duplicate_token"),
        ("id: x, mtls_san: s", "id: y, mtls_san: s", "mtls_san", "duplicate_san"),
    ],
)
@pytest.mark.parametrize("across", [False, True])
def test_nothing_that_names_somebody_names_two(first: str, second: str, setting: str, code: str, across: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Ids, tokens and certificates belong to one alone, be it a caller or an admin."""
    if across:
        text = f"callers: [{{{first}, aliases: [a]}}]\nadmins: [{{{second}, role: viewer}}]\n"
        path = f"admins[0].{setting}"
    else:
        text = f"callers: [{{id: c, mtls_san: c, aliases: [a]}}]\nadmins: [{{{first}, role: viewer}}, {{{second}, role: operator}}]\n"  # noqa: E501 - one document
        path = f"admins[1].{setting}"
    (found,) = findings(text)
    assert (found.severity, found.path, found.code) == ("error", path, code)
    assert "is the same as in line" in found.message


@pytest.mark.parametrize("name", sorted(RESERVED_IDS))
def test_names_of_the_servers_own_are_refused(name: str) -> None:
    """Nobody can be called as versions and audits call the process itself, or somebody without a name."""
    found = [each for each in findings(f"admins: [{{id: {name}, mtls_san: d, role: viewer}}]\n") if each.path]
    assert ("admins[0].id", "reserved_id") in [(each.path, each.code) for each in found]


def test_admins_are_known_by_token_and_certificate_with_their_roles() -> None:
    """The admins' table has who stands in the document, each with its role."""
    text = f'admins: [{{id: v, token_sha256: "{ONE}", role: viewer}}, {{id: o, mtls_san: o@x, role: operator}}]\n'
    table = admin_table(document(text))
    assert not table.is_open
    assert (table.identify(["o@x"]).id, table.identify(["o@x"]).role) == ("o", Role.OPERATOR)


@pytest.mark.parametrize(
    ("entry", "path", "code"),
    [
        ("{id: d, mtls_san: d}", "admins[0].role", "missing_field"),
        ("{id: d, mtls_san: d, role: owner}", "admins[0].role", "bad_value"),
        ("{id: d, mtls_san: d, role: viewer, aliases: []}", "admins[0].aliases", "unknown_field"),
        ("{mtls_san: d, role: viewer}", "admins[0].id", "missing_field"),
    ],
)
def test_mistakes_in_admins_are_told(entry: str, path: str, code: str) -> None:
    """A missing or unknown role, and settings of callers, are told at their place."""
    found = [(each.path, each.code) for each in findings(f"admins: [{entry}]\n") if each.severity == "error"]
    assert found == [(path, code)]


def test_without_callers_and_admins_the_tables_are_open() -> None:
    """Nobody configured: whoever reaches a port."""
    nobody = document("")
    assert caller_table(nobody) is OPEN_TABLE
    assert admin_table(nobody) is OPEN_ADMINS
    assert callers_of(nobody) is None


def test_a_budget_that_cannot_see_prices_is_doubted() -> None:
    """The models that it does not count are named: a few of them, and how many more."""
    text = "callers: [{id: c, mtls_san: c, aliases: [b], models: [p/x, p/y], budget_usd_per_day: 1}]\n"
    (found,) = findings(text)
    assert (found.severity, found.path, found.code) == ("warning", "callers[0].budget_usd_per_day", "unpriced_budget")
    assert "p/free, p/other, p/x and 1 more" in found.message


def test_a_budget_whose_models_have_prices_is_not_doubted() -> None:
    """Where every target has its prices, nothing is said."""
    assert findings(f"callers: [{caller('mtls_san: x, budget_usd_per_day: 1')}]\n") == []


def test_tokens_of_people_never_show() -> None:
    """Neither a caller nor an admin shows its token's hash when it is printed."""
    text = f'callers: [{caller(f"""token_sha256: "{ONE}" """)}]\nadmins: [{{id: d, token_sha256: "{TWO}", role: viewer}}]\n'  # noqa: E501 - one document
    shown = repr(document(text))
    assert ONE not in shown
    assert TWO not in shown
