"""What one setting says against another: references, repetitions, and combinations that can't work.

The checks read the document's plain values, not its types, so that they speak at once with the errors of single
settings: a misspelt field never hides a misspelt alias. What has the wrong shape is passed over here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trunkline_server.config.built import CAPABILITIES
from trunkline_server.config.catalogue import shipped_catalogue
from trunkline_server.config.fields import is_loopback, split_target
from trunkline_server.config.findings import DocumentPath, Finding, shown
from trunkline_server.config.model import AdaptiveSettings, CircuitSettings, GateSettings, ServerSettings, may_use
from trunkline_server.config.people_checks import PEOPLE_CHECKS, repeated
from trunkline_server.config.plain import Found, PlainDocument, listed, mapping, number, texts
from trunkline_server.config.presets import preset_of, shipped_presets
from trunkline_server.config.protocol_checks import PROTOCOL_CHECKS

if TYPE_CHECKING:
    from trunkline_server.config.near import NearNames
    from trunkline_server.config.tree import SourceTree, Value


def cross_check(tree: SourceTree, near: NearNames) -> list[Finding]:
    """Return every finding that takes more than one setting to see."""
    shipped_catalogue()  # whoever compiles the document on an event loop finds both read
    shipped_presets()
    if not isinstance(tree.value, dict):
        return []
    document = PlainDocument(tree, near)
    return [finding for check in (*_CHECKS, *PROTOCOL_CHECKS, *PEOPLE_CHECKS) for finding in check(document)]


def _known_targets(document: PlainDocument) -> Found:
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


def _check_target(document: PlainDocument, path: DocumentPath, target: str) -> Found:
    parts = split_target(target)
    if parts is None:
        return  # told as a finding of that one setting
    provider, model = parts
    if provider not in document.providers:
        near = document.near.hint(provider, document.providers)
        yield document.error(path, "unknown_provider", f"names the unknown provider {shown(provider)}{near}")
        return
    keys = listed(mapping(document.providers[provider]).get("keys"))
    if keys and not any(_may_serve(key, model) for key in keys):
        yield document.error(
            path,
            "no_key_for_model",
            f"can't be served: no key of provider {shown(provider)} may be used for this model"
            " (see their models and block_models)",
        )


def _may_serve(key: Value, model: str) -> bool:
    settings = mapping(key)
    return may_use(model, texts(settings.get("models"), ("*",)), texts(settings.get("block_models"), ()))


def _known_aliases(document: PlainDocument) -> Found:
    """Callers' aliases exist."""
    for path, alias in document.caller_names("aliases"):
        if alias not in document.aliases:
            near = document.near.hint(alias, document.aliases)
            yield document.error(path, "unknown_alias", f"names the unknown alias {shown(alias)}{near}")


def _unique_key_ids(document: PlainDocument) -> Found:
    """Ids of keys are unique in their provider."""
    for provider, settings in document.providers.items():
        keys = listed(mapping(settings).get("keys"))
        yield from repeated(document, [(("providers", provider, "keys"), keys)], "id", "duplicate_id")


def _presets(document: PlainDocument) -> Found:
    """Presets exist; warn of what one does not go with."""
    for provider, value in document.providers.items():
        settings = mapping(value)
        name, preset = settings.get("preset"), preset_of(settings)
        path: DocumentPath = ("providers", provider, "preset")
        if isinstance(name, str) and preset is None:
            near = document.near.hint(name, shipped_presets())
            yield document.error(path, "unknown_preset", f"is no preset{near} (`trunkline presets` lists them)")
        if preset is None:
            continue
        if settings.get("protocol") != preset.protocol:
            message = f"speaks {preset.protocol}: with another protocol only its other settings are used, no quirks"
            yield document.warning(path, "preset_protocol", message)
        elif preset.key and settings.get("keys", []) == [] and settings.get("base_url") == preset.base_url:
            message = f"wants a key (commonly env:{preset.key}), and the provider has none"
            yield document.warning(path, "preset_keys", message)


def _plaintext(document: PlainDocument) -> Found:
    """Plain http goes to this machine only, unless the provider allows it."""
    for provider, value in document.providers.items():
        settings = mapping(value)
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


def _circuits(document: PlainDocument) -> Found:
    """Circuits can open, and their first open time is no longer than the longest."""
    fallback = CircuitSettings()
    for provider, value in document.providers.items():
        settings = mapping(mapping(value).get("circuit"))
        base: DocumentPath = ("providers", provider, "circuit")
        recent = number(settings.get("recent"), fallback.recent)
        failures = number(settings.get("recent_failures"), fallback.recent_failures)
        if failures > recent:
            setting = "recent_failures" if "recent_failures" in settings else "recent"
            message = f"recent_failures ({failures:g}) must be at most recent ({recent:g})"
            yield document.error((*base, setting), "circuit_disagrees", message)
        first = number(settings.get("open_s"), fallback.open_s)
        longest = number(settings.get("open_max_s"), fallback.open_max_s)
        if first > longest:
            setting = "open_max_s" if "open_max_s" in settings else "open_s"
            message = f"open_max_s ({longest:g}) must be at least open_s ({first:g})"
            yield document.error((*base, setting), "circuit_disagrees", message)


def _gates(document: PlainDocument) -> Found:
    """Limits that move start within their bounds; warn of bursts of what has no pace."""
    fallback, bounds = GateSettings(), AdaptiveSettings()
    for provider, value in document.providers.items():
        gate = mapping(mapping(value).get("gate"))
        base: DocumentPath = ("providers", provider, "gate")
        if isinstance(gate.get("adaptive"), dict):
            adaptive = mapping(gate["adaptive"])
            start = number(gate.get("max_in_flight"), fallback.max_in_flight)
            lowest, highest = number(adaptive.get("min"), bounds.min), number(adaptive.get("max"), bounds.max)
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
        for index, key in enumerate(listed(mapping(value).get("keys"))):
            settings = mapping(key)
            if "burst_s" in settings and not settings.keys() & {"requests_per_minute", "tokens_per_minute"}:
                message = "has no effect without requests_per_minute or tokens_per_minute"
                yield document.warning(("providers", provider, "keys", index, "burst_s"), "no_effect", message)


def _continuations(document: PlainDocument) -> Found:
    """Warn of streams that are to go on elsewhere, where nobody can."""
    for alias, value in document.aliases.items():
        settings = mapping(value)
        if settings.get("on_break") != "CONTINUE" or settings.get("allow_prompted_continuation") is True:
            continue
        if not any(_can_prefill(document, target) for _, target in document.alias_targets(alias)):
            yield document.warning(
                ("aliases", alias, "on_break"),
                "nobody_continues",
                "no target is known to have the capability prefill: broken streams will start anew instead"
                " (say so under models if one has it, or allow_prompted_continuation: true)",
            )


def _can_prefill(document: PlainDocument, target: str) -> bool:
    known = document.fact(target, "capabilities")
    return isinstance(known, list | tuple) and "prefill" in known


def _prices(document: PlainDocument) -> Found:
    """Warn of targets without a known price where the price decides."""
    for alias, value in document.aliases.items():
        settings = mapping(value)
        tiers = listed(settings.get("tiers"))
        for path, target in document.alias_targets(alias):
            tier = tiers[path[3]] if isinstance(path[3], int) else None
            if "max_cost_usd" in settings:
                why = "max_cost_usd does not hold it back"
            elif mapping(tier).get("strategy") == "lowest_cost":
                why = "lowest_cost can't compare it"
            else:
                continue
            prices = [document.fact(target, f"{way}_usd_per_million") for way in ("input", "output")]
            if None in prices:
                message = (
                    f"has no known price, so {why}: give input_usd_per_million and output_usd_per_million in models"
                )
                yield document.warning(path, "unpriced_target", message)


def _deadlines(document: PlainDocument) -> Found:
    """Default deadlines fit the largest one."""
    fallback = ServerSettings()
    longest = number(document.server.get("max_deadline_s"), fallback.max_deadline_s)
    default = number(document.server.get("default_deadline_s"), fallback.default_deadline_s)
    if longest < default:
        setting = "max_deadline_s" if "max_deadline_s" in document.server else "default_deadline_s"
        yield document.error(
            ("server", setting),
            "deadlines_disagree",
            f"max_deadline_s ({longest:g}) must be at least default_deadline_s ({default:g})",
        )
    for alias, settings in document.aliases.items():
        own = number(mapping(settings).get("default_deadline_s"), 0.0)
        if own > longest:
            path = ("aliases", alias, "default_deadline_s")
            yield document.warning(path, "deadline_cut", f"is cut to the server's max_deadline_s, {longest:g}")


def _doubtful(document: PlainDocument) -> Found:
    """Warn of what is allowed, but seldom meant."""
    if document.root.get("callers", []) == []:
        path: DocumentPath = ("callers",)
        yield document.warning(path, "no_callers", "there are none: whoever reaches the port may call")
    if document.root.get("aliases", {}) == {}:
        yield document.warning(
            ("aliases",), "no_aliases", "there are none: callers must name provider/model themselves"
        )
    yield from _doubtful_facts(document)


def _doubtful_facts(document: PlainDocument) -> Found:
    for name, facts in document.models.items():
        parts = split_target(name)
        if parts is not None and parts[0] not in document.providers:
            near = document.near.hint(parts[0], document.providers)
            message = f"has facts for the unknown provider {shown(parts[0])}{near}"
            yield document.warning(("models", name), "unknown_provider", message)
        for position, capability in enumerate(listed(mapping(facts).get("capabilities"))):
            if isinstance(capability, str) and capability not in CAPABILITIES:
                near = document.near.hint(capability, CAPABILITIES)
                path = ("models", name, "capabilities", position)
                yield document.warning(path, "unknown_capability", f"is no capability that routing knows{near}")


_CHECKS = (
    _known_targets,
    _known_aliases,
    _unique_key_ids,
    _presets,
    _plaintext,
    _circuits,
    _gates,
    _continuations,
    _prices,
    _deadlines,
    _doubtful,
)
