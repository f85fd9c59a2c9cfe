"""Programs of others, run beside the gateway: their output, bounded in time, while our loop goes on serving."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended."""

    code: int
    out: str
    err: str

    def documents(self) -> list[dict[str, Any]]:
        """Return the JSON documents that stand one after another on standard output."""
        decoder, documents, at = json.JSONDecoder(), [], 0
        while at < len(self.out.rstrip()):
            document, at = decoder.raw_decode(self.out, at)
            documents.append(document)
            while self.out[at : at + 1].isspace():
                at += 1
        return documents

    def document(self) -> dict[str, Any]:
        """Return the only JSON document on standard output; assert that the program succeeded."""
        assert self.code == 0, self
        (document,) = self.documents()
        return document


async def run(*command: str, timeout_s: float = TIMEOUT_S) -> Ran:
    """Run a program to its end; one that takes longer than `timeout_s` is killed, and the test fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())
