"""Provider options: which keys a caller may pass."""

from __future__ import annotations

import pytest

from trunkline_server.providers.bedrock import BedrockAdapter
from trunkline_server.providers.bedrock.options import API_KEYS, COSTLY_KEYS, MACHINE_KEYS, TYPED_KEYS


def refused(options: dict[str, object], *allowed: str) -> list[str]:
    return [finding.path for finding in BedrockAdapter().check_options(options, frozenset(allowed))]


@pytest.mark.parametrize("key", sorted({*TYPED_KEYS, *COSTLY_KEYS}))
def test_typed_and_costly_keys_need_permission(key: str) -> None:
    """Such a key is refused with its path unless the caller's list names it."""
    assert refused({key: 1}) == [key]
    assert refused({key: 1}, key) == []


@pytest.mark.parametrize("key", sorted(MACHINE_KEYS))
def test_the_machine_s_own_keys_are_never_passed(key: str) -> None:
    """No permission lets a caller break routing, decoding or accounting, or smuggle the model's fields past a list."""
    assert refused({key: 1}) == [key]
    assert refused({key: 1}, key) == [key]


def test_other_keys_are_the_model_s_to_judge() -> None:
    """Labels and keys that nobody knows pass."""
    fields = {"requestMetadata": {}, "promptVariables": {}, "additionalModelResponseFieldPaths": [], "brand_new": 1}
    assert refused(fields) == []


def test_every_field_of_the_api_was_decided_on() -> None:
    """The service's own model has no field of a request that this list does not know."""
    from botocore.session import get_session

    model = get_session().get_service_model("bedrock-runtime")
    fields = set(model.operation_model("Converse").input_shape.members)
    assert fields == API_KEYS | {"modelId", "messages", "additionalModelRequestFields"}
