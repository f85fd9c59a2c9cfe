"""What one setting says against another: references, repetitions, and combinations that can't work.

The checks read the document's plain values, not its types, so that they speak at once with the errors of single
settings: a misspelt field never hides a misspelt alias. What has the wrong shape is passed over here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from trunkline_server.config.built import CAPABILITIES
from trunkline_server.config.catalogue import shipped_catalogue
from trunkline_server.config.fields import is_loopback, split_target
from trunkline_server.config.findings import DocumentPath, Finding, format_path, shown
from trunkline_server.config.model import AdaptiveSettings, CircuitSettings, GateSettings, ServerSettings, may_use

if TYPE_CHECKING:
    from trunkline_server.config.near import NearNames
    from trunkline_server.config.tree import SourceTree, Value

_Found = Iterator[Finding]
_NO_MAPPING: Final[Mapping[str, Value]] = {}


def cross_check(tree: SourceTree, near: NearNames) -> list[Finding]:
    """Return every finding that takes more than one setting to see."""
    shipped_catalogue()  # whoever compiles the document on an event loop finds it read
    if not isinstance(tree.value, dict):
        return []
    document = _Document(tree, near)
    return [finding for check in _CHECKS for finding in check(document)]


class _Document:
    """Tolerant access to a document's values: what has another shape counts as absent."""

    def __init__(self, tree: SourceTree, near: NearNames) -> None:
        self._tree = tree
        self.near = near
        root = self.root = _mapping(tree.value)
        self.providers = _mapping(root.get("providers"))
        self.models = _mapping(root.get("models"))
        self.aliases = _mapping(root.get("aliases"))
        self.callers = _list(root.get("callers"))
        self.server = _mapping(root.get("server"))

    def error(self, path: DocumentPath, code: str, message: str) -> Finding:
        return Finding("error", format_path(path), self._tree.line(path), code, message)

    def warning(self, path: DocumentPath, code: str, message: str) -> Finding:
        return Finding("warning", format_path(path), self._tree.line(path), code, message)

    def line(self, path: DocumentPath) -> int:
        return self._tree.line(path)

    def alias_targets(self, alias: str) -> Iterator[tuple[DocumentPath, str]]:
        """Every target of an alias as text, in order, in whichever form it was written."""
        for index, tier in enumerate(_list(_mapping(self.aliases[alias]).get("tiers"))):
            base: DocumentPath = ("aliases", alias, "tiers", index)
            if isinstance(tier, dict):
                base, tier = (*base, "targets"), tier.get("targets")  # noqa: PLW2901 - the short form
            for position, target in enumerate(_list(tier)):
                if isinstance(target, str):
                    yield (*base, position), target
                elif isinstance(name := _mapping(target).get("target"), str):
                    yield (*base, position, "target"), name

    def fact(self, target: str, name: str) -> object:
        """Return a fact about a target's model: the document's, else the shipped catalogue's; None if it is unknown."""
        given = _mapping(self.models.get(target))
        if name in given:
            return given[name]
        provider, _, model = target.partition("/")
        settings = _mapping(self.providers.get(provider))
        protocol, base_url = settings.get("protocol"), settings.get("base_url")
        if not isinstance(protocol, str) or not isinstance(base_url, str):
            return None
        return getattr(shipped_catalogue().facts(protocol, base_url, model), name)

    def caller_names(self, setting: str) -> Iterator[tuple[DocumentPath, str]]:
        """Every text in the lists called `setting` of all callers."""
        for index, caller in enumerate(self.callers):
            for position, name in enumerate(_list(_mapping(caller).get(setting))):
                if isinstance(name, str):
                    yield ("callers", index, setting, position), name


def _mapping(value: Value) -> Mapping[str, Value]:
    return value if isinstance(value, dict) else _NO_MAPPING


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []


def _texts(value: Value, default: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else default


def _number(value: Value, default: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _known_targets(document: _Document) -> _Found:
    """Targets name known providers, each at most once in an alias."""
    for alias in document.aliases:
        lines: dict[str, int] = {}
        for path, target in document.alias_targets(alias):
            yield from _check_target(document, path, target)
            if target in lines:
                yield document.error(
                    path,
                    "repeated_target",
                    f"stands in this alias already, in line {lines[target]}: a target may be given once",
                )
            lines.setdefault(target, document.line(path))
    for path, target in document.caller_names("models"):
        yield from _check_target(document, path, target)


def _check_target(document: _Document, path: DocumentPath, target: str) -> _Found:
    parts = split_target(target)
    if parts is None:
        return  # told as a finding of that one setting
    provider, model = parts
    if provider not in document.providers:
        near = document.near.hint(provider, document.providers)
        yield document.error(path, "unknown_provider", f"names the unknown provider {shown(provider)}{near}")
        return
    keys = _list(_mapping(document.providers[provider]).get("keys"))
    if keys and not any(_may_serve(key, model) for key in keys):
        yield document.error(
            path,
            "no_key_for_model",
            f"can't be served: no key of provider {shown(provider)} may be used for this model"
            " (see their models and block_models)",
        )


def _may_serve(key: Value, model: str) -> bool:
    settings = _mapping(key)
    return may_use(model, _texts(settings.get("models"), ("*",)), _texts(settings.get("block_models"), ()))


def _known_aliases(document: _Document) -> _Found:
    """Callers' aliases exist."""
    for path, alias in document.caller_names("aliases"):
        if alias not in document.aliases:
            near = document.near.hint(alias, document.aliases)
            yield document.error(path, "unknown_alias", f"names the unknown alias {shown(alias)}{near}")


def _unique_ids(document: _Document) -> _Found:
    """Ids of keys are unique in their provider, ids and tokens of callers in the document."""
    for provider, settings in document.providers.items():
        base: DocumentPath = ("providers", provider, "keys")
        yield from _repeated(document, base, _list(_mapping(settings).get("keys")), "id", "duplicate_id")
    yield from _repeated(document, ("callers",), document.callers, "id", "duplicate_id")
    yield from _repeated(document, ("callers",), document.callers, "token_sha256", "duplicate_token")


def _repeated(document: _Document, base: DocumentPath, entries: list[Value], setting: str, code: str) -> _Found:
    lines: dict[str, int] = {}
    for index, entry in enumerate(entries):
        value = _mapping(entry).get(setting)
        if not isinstance(value, str):
            continue
        path = (*base, index, setting)
        same = value.lower() if setting == "token_sha256" else value
        if same in lines:
            yield document.error(path, code, f"is the same as in line {lines[same]}: each needs its own")
        lines.setdefault(same, document.line(path))


def _plaintext(document: _Document) -> _Found:
    """Plain http goes to this machine only, unless the provider allows it."""
    for provider, value in document.providers.items():
        settings = _mapping(value)
        url = settings.get("base_url")
        if not isinstance(url, str) or settings.get("allow_plaintext") is True:
            continue
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            continue  # told as a finding of that one setting
        if parts.scheme == "http" and host and not is_loopback(host):
            yield document.error(
                ("providers", provider, "base_url"),
                "plaintext",
                "would send keys and prompts readable over the network: use https,"
                " or say allow_plaintext: true if that is meant",
            )


def _circuits(document: _Document) -> _Found:
    """Circuits can open, and their first open time is no longer than the longest."""
    fallback = CircuitSettings()
    for provider, value in document.providers.items():
        settings = _mapping(_mapping(value).get("circuit"))
        base: DocumentPath = ("providers", provider, "circuit")
        recent = _number(settings.get("recent"), fallback.recent)
        failures = _number(settings.get("recent_failures"), fallback.recent_failures)
        if failures > recent:
            setting = "recent_failures" if "recent_failures" in settings else "recent"
            message = f"recent_failures ({failures:g}) must be at most recent ({recent:g})"
            yield document.error((*base, setting), "circuit_disagrees", message)
        first = _number(settings.get("open_s"), fallback.open_s)
        longest = _number(settings.get("open_max_s"), fallback.open_max_s)
        if first > longest:
            setting = "open_max_s" if "open_max_s" in settings else "open_s"
            message = f"open_max_s ({longest:g}) must be at least open_s ({first:g})"
            yield document.error((*base, setting), "circuit_disagrees", message)


def _gates(document: _Document) -> _Found:
    """Limits that move start within their bounds; warn of bursts of what has no pace."""
    fallback, bounds = GateSettings(), AdaptiveSettings()
    for provider, value in document.providers.items():
        gate = _mapping(_mapping(value).get("gate"))
        base: DocumentPath = ("providers", provider, "gate")
        if isinstance(gate.get("adaptive"), dict):
            adaptive = _mapping(gate["adaptive"])
            start = _number(gate.get("max_in_flight"), fallback.max_in_flight)
            lowest, highest = _number(adaptive.get("min"), bounds.min), _number(adaptive.get("max"), bounds.max)
            if lowest > start:
                message = f"adaptive.min ({lowest:g}) must be at most max_in_flight ({start:g}), where the limit starts"
                yield document.error((*base, "adaptive", "min"), "gate_disagrees", message)
            if highest < start:
                message = (
                    f"adaptive.max ({highest:g}) must be at least max_in_flight ({start:g}), where the limit starts"
                )
                yield document.error((*base, "adaptive", "max"), "gate_disagrees", message)
        if "burst" in gate and "dispatches_per_s" not in gate:
            message = "has no effect without dispatches_per_s, whose pace it is for"
            yield document.warning((*base, "burst"), "no_effect", message)
        for index, key in enumerate(_list(_mapping(value).get("keys"))):
            settings = _mapping(key)
            if "burst_s" in settings and not settings.keys() & {"requests_per_minute", "tokens_per_minute"}:
                message = "has no effect without requests_per_minute or tokens_per_minute"
                yield document.warning(("providers", provider, "keys", index, "burst_s"), "no_effect", message)


def _continuations(document: _Document) -> _Found:
    """Warn of streams that are to go on elsewhere, where nobody can."""
    for alias, value in document.aliases.items():
        settings = _mapping(value)
        if settings.get("on_break") != "CONTINUE" or settings.get("allow_prompted_continuation") is True:
            continue
        if not any(_can_prefill(document, target) for _, target in document.alias_targets(alias)):
            yield document.warning(
                ("aliases", alias, "on_break"),
                "nobody_continues",
                "no target is known to have the capability prefill: broken streams will start anew instead"
                " (say so under models if one has it, or allow_prompted_continuation: true)",
            )


def _can_prefill(document: _Document, target: str) -> bool:
    known = document.fact(target, "capabilities")
    return isinstance(known, list | tuple) and "prefill" in known


def _prices(document: _Document) -> _Found:
    """Warn of targets without a known price where the price decides."""
    for alias, value in document.aliases.items():
        settings = _mapping(value)
        tiers = _list(settings.get("tiers"))
        for path, target in document.alias_targets(alias):
            tier = tiers[path[3]] if isinstance(path[3], int) else None
            if "max_cost_usd" in settings:
                why = "max_cost_usd does not hold it back"
            elif _mapping(tier).get("strategy") == "lowest_cost":
                why = "lowest_cost can't compare it"
            else:
                continue
            prices = [document.fact(target, f"{way}_usd_per_million") for way in ("input", "output")]
            if None in prices:
                message = (
                    f"has no known price, so {why}: give input_usd_per_million and output_usd_per_million in models"
                )
                yield document.warning(path, "unpriced_target", message)


def _deadlines(document: _Document) -> _Found:
    """Default deadlines fit the largest one."""
    fallback = ServerSettings()
    longest = _number(document.server.get("max_deadline_s"), fallback.max_deadline_s)
    default = _number(document.server.get("default_deadline_s"), fallback.default_deadline_s)
    if longest < default:
        setting = "max_deadline_s" if "max_deadline_s" in document.server else "default_deadline_s"
        yield document.error(
            ("server", setting),
            "deadlines_disagree",
            f"max_deadline_s ({longest:g}) must be at least default_deadline_s ({default:g})",
        )
    for alias, settings in document.aliases.items():
        own = _number(_mapping(settings).get("default_deadline_s"), 0.0)
        if own > longest:
            path = ("aliases", alias, "default_deadline_s")
            yield document.warning(path, "deadline_cut", f"is cut to the server's max_deadline_s, {longest:g}")


def _doubtful(document: _Document) -> _Found:
    """Warn of what is allowed, but seldom meant."""
    if document.root.get("callers", []) == []:
        path: DocumentPath = ("callers",)
        yield document.warning(path, "no_callers", "there are none: whoever reaches the port may call")
    if document.root.get("aliases", {}) == {}:
        yield document.warning(
            ("aliases",), "no_aliases", "there are none: callers must name provider/model themselves"
        )
    for index, caller in enumerate(document.callers):
        settings = _mapping(caller)
        if settings and not settings.get("aliases") and not settings.get("models"):
            yield document.warning(
                ("callers", index), "caller_without_models", "may use nothing: give it aliases or models"
            )
    yield from _doubtful_facts(document)


def _doubtful_facts(document: _Document) -> _Found:
    for name, facts in document.models.items():
        parts = split_target(name)
        if parts is not None and parts[0] not in document.providers:
            near = document.near.hint(parts[0], document.providers)
            message = f"has facts for the unknown provider {shown(parts[0])}{near}"
            yield document.warning(("models", name), "unknown_provider", message)
        for position, capability in enumerate(_list(_mapping(facts).get("capabilities"))):
            if isinstance(capability, str) and capability not in CAPABILITIES:
                near = document.near.hint(capability, CAPABILITIES)
                path = ("models", name, "capabilities", position)
                yield document.warning(path, "unknown_capability", f"is no capability that routing knows{near}")


_CHECKS = (
    _known_targets,
    _known_aliases,
    _unique_ids,
    _plaintext,
    _circuits,
    _gates,
    _continuations,
    _prices,
    _deadlines,
    _doubtful,
)
