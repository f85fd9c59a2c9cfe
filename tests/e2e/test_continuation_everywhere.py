"""A text that breaks off at one wire goes on at any other: after a prefill, or asked in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.conftest import ask
from tests.e2e.protocols import WIRES, Wire, environment, routes
from tests.e2e.stream_books import check_books, read

from trunkline.v1 import ON_BREAK_CONTINUE, Continuation, RoutingOptions

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

TEXT = "Grüße aus Köln, heute 12 °C; windig, 晴れのち曇り. Oui, la forêt brûle à l'été, and so on."
BROKEN = Wire("broken", "openai", "gpt-4o", "sk-broken")

METHODS: dict[str, dict[str, Any]] = {
    "METHOD_PREFILL": {"prefill_models": [wire.model for wire in WIRES.values()]},
    "METHOD_PROMPTED": {"default": {"content": TEXT, "goes_on": {"repeat_bytes": 20}}},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_a_text_goes_on_everywhere(gateway: Gateways, wire: Wire, method: str) -> None:
    """The caller has the whole text once, and is told of the seam; the request is one that the vendor takes."""
    prefills = method == "METHOD_PREFILL"
    wires = [BROKEN, wire]
    aliases = {"both": {"tiers": [[BROKEN.target], [wire.target]], "allow_prompted_continuation": not prefills}}
    scenario = {
        "default": {"content": TEXT},
        "keys": {BROKEN.key: {"cut_after_chunks": 5}},
        **METHODS[method],
    }
    document = routes(wires, aliases, prefill=prefills)
    async with gateway(scenario, routes=document, environ=environment(wires)) as running:
        asked = ask("How is the weather?", "both", routing=RoutingOptions(on_break=ON_BREAK_CONTINUE))
        reading = await read(running.stub.StreamComplete(asked, timeout=30))
        check_books(reading.frames, 0 if reading.error is None else reading.error.failure.code.value[0])
        assert reading.error is None
        assert reading.answer.text == TEXT
        assert [Continuation.Method.Name(seam.continuation.method) for seam in reading.answer.seams] == [method]
        assert running.simulator.stats.last_requests[-1].went_on_after_bytes is not None
        await running.quiet()
