"""What callers and admins say against each other: who is who, and limits that cannot hold.

No id, token or certificate belongs to two, not even to a caller and an admin: a caller's token that leaks must not
open the admin port, and a log line must not leave open who it speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from trunkline_server.config.findings import DocumentPath, shown
from trunkline_server.config.plain import Found, PlainDocument, listed, mapping

if TYPE_CHECKING:
    from trunkline_server.config.tree import Value

RESERVED_IDS: Final = frozenset({"anonymous", "file", "signal", "guard"})
"""What versions, logs and audits call somebody without a name, and the process itself."""

_UNPRICED_SHOWN: Final = 3


def repeated(
    document: PlainDocument, groups: Sequence[tuple[DocumentPath, list[Value]]], setting: str, code: str
) -> Found:
    """Yield an error for every text of a setting that an earlier entry of these lists has already."""
    lines: dict[str, int] = {}
    for base, entries in groups:
        for index, entry in enumerate(entries):
            value = mapping(entry).get(setting)
            if not isinstance(value, str):
                continue
            path = (*base, index, setting)
            same = value.lower() if setting == "token_sha256" else value
            if same in lines:
                yield document.error(path, code, f"is the same as in line {lines[same]}: each needs its own")
            lines.setdefault(same, document.line(path))


def _groups(document: PlainDocument) -> Sequence[tuple[DocumentPath, list[Value]]]:
    return ((("callers",), document.callers), (("admins",), document.admins))


def _nobody_twice(document: PlainDocument) -> Found:
    """Ids, tokens and certificates are unique in the document."""
    groups = _groups(document)
    yield from repeated(document, groups, "id", "duplicate_id")
    yield from repeated(document, groups, "token_sha256", "duplicate_token")
    yield from repeated(document, groups, "mtls_san", "duplicate_san")


def _known_by_something(document: PlainDocument) -> Found:
    """Everybody has a token, a certificate, or both; and a name that nobody else goes by."""
    for base, entries in _groups(document):
        for index, entry in enumerate(entries):
            settings = mapping(entry)
            path = (*base, index)
            if settings and not settings.keys() & {"token_sha256", "mtls_san"}:
                yield document.error(
                    path, "no_identity", "can't be recognised: give token_sha256, mtls_san, or both of them"
                )
            name = settings.get("id")
            if isinstance(name, str) and name in RESERVED_IDS:
                yield document.error((*path, "id"), "reserved_id", f"{shown(name)} is a name of the server's own")


def _useful_callers(document: PlainDocument) -> Found:
    """Warn of callers that may use nothing."""
    for index, caller in enumerate(document.callers):
        settings = mapping(caller)
        if settings and not settings.get("aliases") and not settings.get("models"):
            yield document.warning(
                ("callers", index), "caller_without_models", "may use nothing: give it aliases or models"
            )


def _priced_budgets(document: PlainDocument) -> Found:
    """Warn of budgets that cannot see what some of their caller's models cost."""
    for index, caller in enumerate(document.callers):
        settings = mapping(caller)
        if "budget_usd_per_day" not in settings:
            continue
        aliases = [name for name in listed(settings.get("aliases")) if isinstance(name, str)]
        targets = [target for name in aliases if name in document.aliases for _, target in document.alias_targets(name)]
        targets += [name for name in listed(settings.get("models")) if isinstance(name, str)]
        unpriced = [target for target in dict.fromkeys(targets) if not _has_price(document, target)]
        if unpriced:
            named = ", ".join(shown(target) for target in unpriced[:_UNPRICED_SHOWN])
            more = f" and {len(unpriced) - _UNPRICED_SHOWN} more" if len(unpriced) > _UNPRICED_SHOWN else ""
            yield document.warning(
                ("callers", index, "budget_usd_per_day"),
                "unpriced_budget",
                f"does not count what has no known price, {named}{more}:"
                " give input_usd_per_million and output_usd_per_million in models",
            )


def _has_price(document: PlainDocument, target: str) -> bool:
    return None not in [document.fact(target, f"{way}_usd_per_million") for way in ("input", "output")]


PEOPLE_CHECKS: Final = (_nobody_twice, _known_by_something, _useful_callers, _priced_budgets)
"""The checks of callers and admins."""
