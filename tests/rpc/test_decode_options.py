from __future__ import annotations

import pytest

from trunkline_server.rpc.decode_options import MAX_OPTIONS_BYTES, decode_labels, decode_provider_options
from trunkline_server.rpc.violations import InvalidRequestError, Violations


def refused_options(**options: str) -> list[tuple[str, str]]:
    found = Violations()
    decode_provider_options(options, found)
    with pytest.raises(InvalidRequestError) as caught:
        found.raise_if_any()
    return [(each.path, each.message) for each in caught.value.violations]


def refused_labels(labels: dict[str, str]) -> list[str]:
    found = Violations()
    decode_labels(labels, found)
    with pytest.raises(InvalidRequestError) as caught:
        found.raise_if_any()
    return [each.path for each in caught.value.violations]


def test_options_decode_for_each_provider() -> None:
    """A JSON object a provider, up to depth 8 and 16 KiB."""
    found = Violations()
    deep = '{"a":' * 8 + "1" + "}" * 8
    large = '{"a":"' + "x" * (MAX_OPTIONS_BYTES - 8) + '"}'
    options = decode_provider_options({"openai": '{"user":"u","n":[1.5,null]}', "deep": deep, "large": large}, found)
    found.raise_if_any()
    assert options["openai"] == {"user": "u", "n": [1.5, None]}
    assert options.keys() == {"openai", "deep", "large"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must be a JSON object"),
        ("{", "must be valid JSON"),
        ('{"a":tru}', "must be valid JSON, is not at byte 9"),
        ('{"a":NaN}', "must be valid JSON, is not at byte 5"),
        ('{"a":-Infinity}', "must be valid JSON, is not at byte 6"),
        ('{"a":1e400}', "must not hold numbers that are out of range"),
        ('{"a":' * 9 + "1" + "}" * 9, "must not be nested deeper than 8"),
        ('{"a":' + "[" * 8 + "]" * 8 + "}", "must not be nested deeper than 8"),
        ('{"a":"' + "x" * (MAX_OPTIONS_BYTES - 7) + '"}', "must be at most 16384 bytes"),
        ('{"a":"' + "é" * (MAX_OPTIONS_BYTES // 2) + '"}', "must be at most 16384 bytes"),
        ('{"a":1,"b":{"x":1,"x":2}}', 'must not hold the key "x" twice in one object'),
        ('{"a":1,"\\u0061":2}', 'must not hold the key "a" twice in one object'),
    ],
    ids=lambda text: text[:20],
)
def test_options_that_are_no_bounded_unambiguous_object_are_refused(text: str, message: str) -> None:
    """What a provider might read otherwise than we do never gets there."""
    assert refused_options(openai=text) == [('provider_options_json["openai"]', message)]


def test_too_many_providers_and_a_nameless_one_are_refused() -> None:
    """The map itself is bounded."""
    found = Violations()
    decode_provider_options({f"p{index}": "{}" for index in range(65)}, found)
    decode_provider_options({"": "{}"}, found)
    with pytest.raises(InvalidRequestError) as caught:
        found.raise_if_any()
    assert [each.path for each in caught.value.violations] == ["provider_options_json", 'provider_options_json[""]']


def test_labels_are_bounded_in_number_and_size() -> None:
    """16 labels of 64 and 256 bytes pass, one more or longer does not; paths quote the key, cut."""
    found = Violations()
    assert decode_labels({f"k{index}": "v" * 256 for index in range(15)} | {"k" * 64: ""}, found)
    found.raise_if_any()
    assert refused_labels({f"k{index}": "" for index in range(17)}) == ["labels"]
    assert refused_labels({"team\n": "é" * 129, "k" * 65: "v"}) == [f'labels["{"k" * 64}..."]', 'labels["team\\n"]']
