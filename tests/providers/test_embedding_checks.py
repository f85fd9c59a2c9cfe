"""What every protocol's embeddings are checked for before anybody sees them."""

from __future__ import annotations

import math
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.chat.embedding import EmbedRequest
from trunkline_server.chat.features import NAMES
from trunkline_server.compile import ADAPTERS
from trunkline_server.providers.base import AdapterTerms, AttemptError
from trunkline_server.providers.embedding import embed_answer, in_order, vector_of_bytes, vector_of_numbers
from trunkline_server.routing.demand import EMBEDDING_DIMENSIONS, EMBEDDINGS
from trunkline_server.routing.failures import FailureClass

SINGLE = st.floats(width=32, allow_nan=True, allow_infinity=True)


def request(inputs: int) -> EmbedRequest:
    return EmbedRequest("m", ("x",) * inputs, "r1")


@given(st.lists(SINGLE, min_size=1, max_size=40))
def test_finite_numbers_pass_and_others_never(numbers: list[float]) -> None:
    """Whatever stands beside them: the largest and the smallest single-precision numbers included."""
    vector = array("f", numbers)
    if all(map(math.isfinite, numbers)):
        assert embed_answer(request(1), [vector], 3).vectors == (vector,)
    else:
        with pytest.raises(AttemptError, match="PROTOCOL"):
            embed_answer(request(1), [vector], 3)


@given(st.lists(SINGLE, max_size=20))
def test_bytes_are_little_endian_numbers(numbers: list[float]) -> None:
    """As protocols write them, whatever this machine's own order is."""
    raw = struct.pack(f"<{len(numbers)}f", *numbers)
    assert vector_of_bytes(raw).tobytes() == array("f", numbers).tobytes()


def test_bytes_that_are_no_row_of_numbers_are_refused() -> None:
    """Three bytes are no single-precision number."""
    with pytest.raises(AttemptError, match="PROTOCOL"):
        vector_of_bytes(b"abc")


def test_a_number_beyond_all_numbers_is_refused() -> None:
    """Neither a whole number that no float can be, nor one that single precision makes infinite."""
    with pytest.raises(AttemptError, match="PROTOCOL"):
        vector_of_numbers([10**400])
    with pytest.raises(AttemptError, match="PROTOCOL"):
        embed_answer(request(1), [vector_of_numbers([1e39])], None)


@given(st.lists(st.integers(-2, 6), max_size=6), st.integers(1, 5))
def test_order_is_a_permutation_or_a_failure(indexes: list[int], count: int) -> None:
    """Each input has its own vector, or the answer is refused."""
    found = [(index, array("f", [index])) for index in indexes]
    if sorted(indexes) == list(range(count)):
        assert [vector[0] for vector in in_order(found, count)] == list(range(count))
    else:
        with pytest.raises(AttemptError) as caught:
            in_order(found, count)
        assert caught.value.failure.failure_class is FailureClass.PROTOCOL


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_with_embeddings_tells_its_bound(name: str) -> None:
    """At least one input a call, whatever the model."""
    terms = AdapterTerms(name, "https://api.example", region="eu-west-1", api_version="2024-10-21")
    adapter = ADAPTERS[name](terms)
    if adapter.embeddings is not None:
        assert adapter.embeddings.max_inputs("some-model") >= 1


def test_features_know_embeddings_by_these_names() -> None:
    """The names that requests for vectors ask by are names of features."""
    assert {EMBEDDINGS, EMBEDDING_DIMENSIONS} <= NAMES
