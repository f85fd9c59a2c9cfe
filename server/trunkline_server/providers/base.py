"""The interface that every wire protocol implements: a translator without I/O.

An adapter turns a neutral request into bytes for one provider, and that provider's bytes into neutral deltas,
answers and classified failures. It never sends, waits or retries, and knows no key: see `credentials`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from trunkline_server.chat.answer import Answer, Delta, Finished, Usage, Warning_
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.quirks import NO_QUIRKS, Quirks
from trunkline_server.routing.failures import Failure
from trunkline_server.routing.record import record

if TYPE_CHECKING:
    from trunkline_server.providers.embedding import EmbeddingAdapter


class AttemptError(Exception):
    """An attempt failed; `failure` says how, already classified."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.failure_class.value)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """What an adapter has to know of one upstream model. None: unknown."""

    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None
    wire: str = ""
    """Another wire of the protocol that the model needs, such as `responses`; empty: the protocol's own."""


@dataclass(frozen=True, slots=True)
class AdapterTerms:
    """What a routes document says of a provider that its adapter and its keys have to know."""

    provider: str = ""
    """Its name in the document, which options, tools and reasoning of a request carry."""
    base_url: str = ""
    """Without a slash at its end."""
    models: Mapping[str, ModelTerms] = field(default_factory=dict)
    """By the model's upstream name: those that the document names."""
    quirks: Quirks = NO_QUIRKS
    """In what the server differs from the protocol that it speaks."""
    wire: str = ""
    """The wire of models whose facts name none, as in `ModelTerms`."""
    region: str | None = None
    """Where requests are signed for, if the URL does not say it (bedrock)."""
    api_version: str | None = None
    """The version of the API that is asked for (azure_openai)."""
    deployments: Mapping[str, str] = field(default_factory=dict)
    """Model name to the name of its deployment (azure_openai); one that is not in it is named like its model."""

    def model(self, name: str) -> ModelTerms:
        """Return what is known of a model; nothing, if the document does not name it."""
        return self.models.get(name, UNKNOWN_MODEL)


UNKNOWN_MODEL = ModelTerms()
"""Nothing is known."""

NO_TERMS = AdapterTerms()
"""A vendor's own server, of which nothing is said."""


@record
class WireCall:
    """The body of one upstream call, and what belongs to it."""

    path: str
    """Added to the provider's base URL; starts with a slash."""
    headers: Mapping[str, str]
    """Without authentication."""
    body: bytes
    warnings: tuple[Warning_, ...] = ()
    """What could not be carried over to this provider."""


@record
class RateLimitHeaders:
    """What is left of a key's limits, for requests and for tokens. None: not said, or not readable."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    """Seconds until the request limit is full again."""
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None
    """Seconds until the token limit is full again."""


@dataclass(frozen=True, slots=True)
class OptionFinding:
    """A provider option that a caller may not pass; `path` is inside the options object."""

    path: str
    message: str


class StreamDecoder(Protocol):
    """Turns the bytes of one streamed response into events, in any chunking. One instance an attempt."""

    def feed(self, chunk: bytes) -> list[Delta]:
        """Return the deltas that `chunk` completed, maybe none; raise AttemptError for an error event or garbage.

        Deltas that stand in front of the error in the same chunk are returned, and `failure` tells of it.
        """
        ...

    def close(self) -> list[Delta]:
        """Tell that the body ended in order; raise AttemptError (TRUNCATED, PROTOCOL) if no answer is whole."""
        ...

    @property
    def finished(self) -> Finished | None:
        """The terminal event, once it came; None before. After it only usage may follow."""
        ...

    @property
    def failure(self) -> Failure | None:
        """The failure that ended the stream: raised already, or to be raised once its deltas were taken."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What the provider counted so far."""
        ...

    @property
    def warnings(self) -> tuple[Warning_, ...]:
        """What of the answer could not be carried over so far, as in the whole answer's `warnings`."""
        ...


class Adapter(Protocol):
    """One wire of one protocol, for one provider. Made once a reload; serves any number of calls at once."""

    @property
    def features(self) -> frozenset[str]:
        """What of a request it can carry, in the words of `features`."""
        ...

    @property
    def embeddings(self) -> EmbeddingAdapter | None:
        """Its translator for embeddings; None if the protocol has none."""
        ...

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that the adapter writes itself or that raises cost and is not in `allowed`."""
        ...

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call for upstream model id `model` of the provider named `provider`."""
        ...

    def decode_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        ...

    def limits(self, headers: Mapping[str, str]) -> RateLimitHeaders | None:
        """Read what a response of any status says of its key's limits; None if it says nothing."""
        ...

    def stream_decoder(self, request: ChatRequest) -> StreamDecoder:
        """Return a fresh decoder for one streamed 2xx response."""
        ...

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a response that is not 2xx (body cut at 64 KiB)."""
        ...


@runtime_checkable
class FeaturesByModel(Protocol):
    """What an adapter is too, if it carries more for some models than its `features`, or less."""

    def features_of(self, model: str) -> frozenset[str]:
        """Return what of a request it can carry for this upstream model."""
        ...
