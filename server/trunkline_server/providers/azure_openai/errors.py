"""Which failure an error of Azure OpenAI is: Azure's own codes and texts, then the rows of OpenAI's.

Much of what Azure refuses with 400 is no caller's fault: a version or an operation that the deployment does not have
is the document's, and another target may serve the request.
"""

from __future__ import annotations

from typing import Final

from trunkline_server.providers.failure_table import HTTP_STATUSES, FailureTable, codes, text
from trunkline_server.providers.openai.errors import TABLE as CHAT_TABLE
from trunkline_server.providers.openai_responses.errors import TABLE as OPENAI_RESPONSES_TABLE
from trunkline_server.routing.failures import FailureClass

CODES: Final = (codes(FailureClass.MODEL_UNAVAILABLE, "OperationNotSupported"),)
"""Codes that only Azure has. A numeric one (`"code": "401"`) repeats the status and is none."""

TEXTS: Final = (
    text(FailureClass.KEY_EXHAUSTED, r"out of call volume quota\b", 403, 429),
    text(FailureClass.MODEL_UNAVAILABLE, r"access denied due to virtual network/firewall rules", 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"public access is disabled\b", 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"a virtual network is configured for this resource", 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"api version not supported", 400, 404),
    text(FailureClass.MODEL_UNAVAILABLE, r"model \S{1,100} is enabled only for api versions\b", 400),
    text(FailureClass.MODEL_UNAVAILABLE, r"azure openai responses api is enabled only for\b", 400),
    text(FailureClass.OVERLOADED, r"the system is currently experiencing high demand\b", 0, 429, 503),
)
"""Texts that only Azure has. Each row has a golden body in the tests."""

TABLE: Final = FailureTable(CODES + CHAT_TABLE.codes, TEXTS + CHAT_TABLE.texts, HTTP_STATUSES)
"""All of chat completions."""

RESPONSES_TABLE: Final = FailureTable(
    CODES + OPENAI_RESPONSES_TABLE.codes, TEXTS + OPENAI_RESPONSES_TABLE.texts, HTTP_STATUSES
)
"""All of responses."""
