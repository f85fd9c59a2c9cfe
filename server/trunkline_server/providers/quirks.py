"""In what a server differs from the chat-completions protocol that it speaks: a closed set, every word of it typed.

Presets name quirks as data (`presets/presets.yaml`), so that one more compatible server is an entry there. What no
entry could say is built here once, with its default, which is always the protocol's own way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from trunkline_server.chat.features import NAMES
from trunkline_server.routing.failures import FailureClass

MAY_ADD: Final = frozenset({"top_k", "reasoning_max_tokens", "many_stops"})
"""Features that chat completions do not have, and that the encoder can write for a server that has."""


class LimitHeaders(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The names of the headers that tell of a key's limits, in lower case; empty: there is none."""

    limit_requests: str = ""
    remaining_requests: str = ""
    reset_requests: str = ""
    limit_tokens: str = ""
    remaining_tokens: str = ""
    reset_tokens: str = ""

    reset_is: Literal["duration", "epoch_s", "epoch_ms"] = "duration"
    """What a reset is: a time from now (`6m0s`, or seconds), or a moment in seconds or milliseconds since 1970."""


class Quirks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """In what a server differs from the protocol that it speaks. The default is the vendor's own server."""

    lacks: frozenset[str] = frozenset()
    """Features (the names of `chat.features`) that the protocol has, and this server refuses or ignores."""

    adds: frozenset[str] = frozenset()
    """Features that it has beyond the protocol, out of MAY_ADD."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """The body's name for the output limit."""

    seed_field: Literal["seed", "random_seed"] = "seed"
    """The body's name for the seed."""

    stream_usage: bool = True
    """Streams are asked for their usage (`stream_options`). False: it comes unasked, and asking is an error."""

    developer_role: Literal["developer", "system"] = "developer"
    """The role that messages of the developer are sent in."""

    required_word: Literal["required", "any"] = "required"
    """The word for a tool choice that the model must call some function."""

    tool_ids: Literal["any", "nine_alphanumerics"] = "any"
    """What an id of a tool call may look like; others are replaced, the same each time."""

    reasoning_form: Literal["reasoning_effort", "reasoning"] = "reasoning_effort"
    """Where the wish to think is written: a word of its own, or an object with effort and token limit."""

    no_thinking: Literal["effort", "thinking_disabled"] = "effort"
    """How a model is told not to think: by the effort `none`, or by `thinking: {type: disabled}`."""

    efforts: Mapping[str, str] = {}
    """The server's word for an effort of ours, where it is another one."""

    thinking_field: Literal["", "reasoning_content", "reasoning"] = ""
    """The field of an assistant's message that takes this provider's own thinking back; empty: it takes none."""

    thinking_with_calls: bool = False
    """That field is there, if empty, in each assistant's message with tool calls: the server insists on it."""

    max_inputs: Annotated[int, msgspec.Meta(ge=1)] = 2_048
    """Embeddings: how many inputs one call takes."""

    dimensions_field: Literal["dimensions", "output_dimension"] = "dimensions"
    """Embeddings: the body's name for how long a vector is to be."""

    input_types: Mapping[Literal["query", "document", "classification", "clustering", "unsaid"], str] = {}
    """Embeddings: the server's words, in `input_type`, for what the vectors are for; it has none for what is missing.
    `unsaid` is for requests that do not say it, where the server insists on a word."""

    limits: LimitHeaders | None = None
    """Headers with other names than OpenAI's."""

    statuses: Mapping[int, FailureClass] = {}
    """What a status means here, where it means something else than by itself; codes and texts go before it."""

    def __post_init__(self) -> None:
        """Raise ValueError for a feature that there is none of."""
        if unknown := self.lacks - NAMES:
            raise ValueError(f"lacks: there are no features of these names: {', '.join(sorted(unknown))}")
        if unknown := self.adds - MAY_ADD:
            raise ValueError(f"adds: nothing can be written for {', '.join(sorted(unknown))}")
        if "reasoning_max_tokens" in self.adds and self.reasoning_form != "reasoning":
            raise ValueError("adds: reasoning_max_tokens has its place in the reasoning form `reasoning` alone")


NO_QUIRKS: Final = Quirks()
"""The vendor's own server."""


def read_quirks(values: Mapping[str, Any]) -> Quirks:
    """Return the quirks in plain values, such as a preset's; raise ValueError, with the place, for what is none.

    Keys of `statuses` are text there, as YAML has them.
    """
    return msgspec.convert(values, Quirks, str_keys=True)
