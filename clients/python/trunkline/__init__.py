"""Python client of Trunkline: generated stubs in `trunkline.v1`, thin helpers here."""

from __future__ import annotations

from trunkline.channel import connect, connect_aio
from trunkline.errors import CallError, CallFailure, FieldViolation, failure_of
from trunkline.json_text import to_json

__all__ = ["CallError", "CallFailure", "FieldViolation", "connect", "connect_aio", "failure_of", "to_json"]
