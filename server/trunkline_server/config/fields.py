"""The kinds of values a setting can have: bounds and formats that several settings share.

Numbers are strict: ``"3"``, ``true`` and ``3.0`` are no whole numbers. A setting without a value (YAML's
null) is an error rather than a silent default.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sized
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.functional_validators import AfterValidator
from pydantic_core import PydanticCustomError

_SizedT = TypeVar("_SizedT", bound=Sized)

MAX_SECONDS = 86_400.0
"""The longest time that a setting may name: a day."""

MAX_WEIGHT = 1_000_000.0
"""The largest weight; far beyond any useful ratio, and small enough that sums of weights stay exact."""

_LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MODEL_ID = re.compile(r"[!-~]{1,256}")
_HASH = re.compile(r"[0-9A-Fa-f]{64}")
_SAN = re.compile(r"[!-~]{1,256}")
_OPTION_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Settings(BaseModel):
    """A mapping of settings: no other names than its own, and frozen."""

    # Inputs are hidden because a document that fails to validate may hold a secret in the wrong place.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def is_label(text: str) -> bool:
    """Tell whether `text` may name a provider, alias, key or caller."""
    return _LABEL.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Tell whether `host` (a name or an address) can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_target(text: str) -> tuple[str, str] | None:
    """Split ``provider/model`` at its first slash; None if it has no such shape."""
    provider, slash, model = text.partition("/")
    if not slash or not is_label(provider) or _MODEL_ID.fullmatch(model) is None:
        return None
    return provider, model


def _given(value: object) -> object:
    if value is None:
        raise PydanticCustomError("empty_value", "has no value: write one, or leave the setting out")
    return value


def _filled(value: _SizedT) -> _SizedT:
    if not value:
        raise PydanticCustomError("empty_list", "must hold at least one entry")
    return value


def _version(value: object) -> object:
    # Python holds True == 1.0 == 1, and so does a Literal.
    if type(value) is not int or value != 1:
        raise PydanticCustomError("bad_version", "must be 1, the one version of this format")
    return value


def _label(text: str) -> str:
    if not is_label(text):
        raise PydanticCustomError(
            "bad_name", "must be 1 to 64 characters out of A-Z, a-z, 0-9, dot, underscore and hyphen"
        )
    return text


def _target(text: str) -> str:
    if split_target(text) is None:
        raise PydanticCustomError(
            "bad_target", "must be written as provider/model, such as openai/gpt-4o-mini, without blanks"
        )
    return text


def _model_pattern(text: str) -> str:
    if _MODEL_ID.fullmatch(text) is None:
        raise PydanticCustomError(
            "bad_model", "must be the provider's name of a model, or a pattern such as gpt-4o* or *, without blanks"
        )
    return text


def _token_hash(text: str) -> str:
    if _HASH.fullmatch(text) is None:
        raise PydanticCustomError(
            "bad_token_hash",
            "must be the SHA-256 of the token as 64 hex digits (printf %s TOKEN | sha256sum), never the token itself",
        )
    return text.lower()


def _san(text: str) -> str:
    if _SAN.fullmatch(text) is None or "*" in text:
        raise PydanticCustomError(
            "bad_san",
            "must be one whole subject alternative name of a certificate, such as spiffe://prod/checkout:"
            " 1 to 256 ASCII characters without blanks and wildcards",
        )
    return text


def _secret_reference(text: str) -> str:
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in {"env", "file"}:
        raise PydanticCustomError(
            "literal_secret",
            "must be a reference, env:NAME or file:PATH: a secret itself does not belong in this file"
            " (if it was a real one, replace it at the provider)",
        )
    if not rest:
        raise PydanticCustomError("bad_secret_reference", "names nothing: write env:NAME or file:PATH")
    return text


def _option_key(text: str) -> str:
    if _OPTION_KEY.fullmatch(text) is None:
        raise PydanticCustomError("bad_option_key", "must be the name of an option, such as service_tier")
    return text


def _base_url(text: str) -> str:
    """Refuse what an HTTP client could misread. The URL is never repeated: it may hold a password."""
    if re.search(r"[^!-~]", text) or "\\" in text:
        raise PydanticCustomError("bad_url", "must not hold blanks, backslashes or characters beyond ASCII")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise PydanticCustomError("bad_url", "is no URL: its host or its port cannot be read") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise PydanticCustomError("bad_url", "must start with https:// (or http://) and name a host")
    if "@" in parts.netloc:
        raise PydanticCustomError(
            "url_credentials", "must not hold a user name or password: give the credential as a key's secret"
        )
    if "?" in text or "#" in text:
        raise PydanticCustomError("bad_url", "must end with its path: no query and no fragment")
    return text.rstrip("/")


GIVEN = BeforeValidator(_given)
"""Refuses an explicit null where the setting's default is None."""

FILLED = AfterValidator(_filled)
"""Refuses an empty list or mapping, unless its entries were refused already."""

VERSION = BeforeValidator(_version)
"""Refuses what only equals 1."""

Label = Annotated[str, AfterValidator(_label)]
"""A name of ours: 1 to 64 characters of ``[A-Za-z0-9._-]``."""

TargetName = Annotated[str, AfterValidator(_target)]
"""``provider/model``; the model's own name may hold further slashes."""

ModelName = Annotated[str, AfterValidator(_model_pattern)]
"""A model's upstream name."""
ModelPattern = Annotated[str, AfterValidator(_model_pattern)]
"""The upstream name of a model, or a shell-style pattern of such names: ``gpt-4o*``, ``*``."""

TokenHash = Annotated[str, AfterValidator(_token_hash)]
"""SHA-256 of a token in 64 hex digits, kept in lower case."""

SanName = Annotated[str, AfterValidator(_san)]
"""A subject alternative name, whole and as the certificate has it: a URI, an e-mail address or a host name."""

SecretReference = Annotated[str, AfterValidator(_secret_reference)]
"""``env:NAME`` or ``file:PATH``."""

OptionKey = Annotated[str, AfterValidator(_option_key)]
"""A key of a provider's options."""

BaseUrl = Annotated[str, AfterValidator(_base_url)]
"""An http or https URL without credentials, query, fragment and final slash."""

Flag = Annotated[bool, Field(strict=True)]
"""true or false."""

Seconds = Annotated[float, Field(strict=True, gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
"""A time above 0 and of at most a day."""

SecondsOrZero = Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
"""A time that may be 0."""

Weight = Annotated[float, Field(strict=True, ge=0, le=MAX_WEIGHT, allow_inf_nan=False)]
"""A share relative to its neighbours; 0: used only if no other is left."""

Ratio = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
"""A share of the whole, 0 to 1."""

UsdPerMillion = Annotated[float, Field(strict=True, ge=0, le=1_000_000, allow_inf_nan=False)]
"""A price in US dollars for a million tokens."""

CallCount = Annotated[int, Field(strict=True, ge=1, le=10_000)]
"""A number of calls, at least 1."""

TokenCount = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
"""A number of tokens, at least 1."""

InFlight = Annotated[int, Field(strict=True, ge=1, le=100_000)]
"""A number of calls at once, at least 1."""

PerMinute = Annotated[float, Field(strict=True, gt=0, le=10_000_000_000, allow_inf_nan=False)]
"""Calls or tokens a minute; parts of one are meant where a provider says a number a day."""

PerSecond = Annotated[float, Field(strict=True, gt=0, le=100_000, allow_inf_nan=False)]
"""Calls a second."""

MaxCostUsd = Annotated[float, Field(strict=True, gt=0, le=1_000_000, allow_inf_nan=False)]
"""The most that something may cost, in US dollars."""
