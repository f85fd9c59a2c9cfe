"""Where a base URL leads: to the Gemini API or to Vertex AI, and how the paths below it begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

VERSION: Final = "/v1beta"
"""Of the Gemini API: put in front of all paths if the base URL is its host alone."""

_PUBLISHERS: Final = "/publishers/"
_KINDS_OF_MODEL: Final = ("models/", "tunedModels/", "endpoints/")


@dataclass(frozen=True, slots=True)
class Place:
    """One of Google's services, as a provider's base URL names it."""

    root: str = ""
    """The base URL with the version of the API; uploaded files are named below it."""
    prefix: str = ""
    """What of it is not in the base URL."""
    on_vertex: bool = False

    def method_path(self, model: str, method: str) -> str:
        """Return the path of a method of a model, which is one segment whatever its name."""
        return f"{self.prefix}/{resource(model)}:{method}"


def resource(model: str) -> str:
    """Return what the service calls a model: `models/` before its name, unless the name has its kind."""
    kind = next((kind for kind in _KINDS_OF_MODEL if model.startswith(kind)), "")
    return f"{kind or _KINDS_OF_MODEL[0]}{quote(model.removeprefix(kind), safe='@')}"


def place_of(base_url: str) -> Place:
    """Return the service at a base URL, which has no slash at its end."""
    prefix = VERSION if base_url and not urlsplit(base_url).path else ""
    return Place(base_url + prefix, prefix, _PUBLISHERS in base_url)
