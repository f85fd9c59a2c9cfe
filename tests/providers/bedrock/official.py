"""botocore as the judge: its own model of the service, its serializer, its signer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.session import get_session
from botocore.validate import ParamValidator

ENDPOINT = "https://bedrock-runtime.us-east-1.amazonaws.com"
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105  the vendor's own example

_MODEL = get_session().get_service_model("bedrock-runtime")


def problems(operation: str, body: Mapping[str, Any]) -> str:
    """Return what the service's model finds wrong in a body: unknown fields, missing ones, types, lengths."""
    shape = _MODEL.operation_model(operation).input_shape
    return str(ParamValidator().validate({"modelId": "m", **body}, shape).generate_report())


def client(**changes: Any) -> Any:
    """Return the official client; it sends nothing anywhere unless told where."""
    settings: dict[str, Any] = {
        "region_name": "us-east-1",
        "endpoint_url": ENDPOINT,
        "aws_access_key_id": KEY_ID,
        "aws_secret_access_key": SECRET,
        "config": Config(retries={"total_max_attempts": 1}, proxies={}, read_timeout=20, connect_timeout=5),
        **changes,
    }
    return boto3.client("bedrock-runtime", **settings)


def sent(operation: str, client_settings: Mapping[str, Any] | None = None, **arguments: Any) -> AWSPreparedRequest:
    """Return the request that the official client makes of a call, signed; it is not sent."""
    requests: list[AWSPreparedRequest] = []

    def keep(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        requests.append(request)
        return AWSResponse(request.url, 500, {}, _NoBody())

    official = client(**(client_settings or {}))
    official.meta.events.register("before-send.bedrock-runtime.*", keep)
    try:
        getattr(official, operation)(**arguments)
    except official.exceptions.ClientError:
        return requests[0]
    finally:
        official.close()
    raise AssertionError("the made-up answer is an error")


class _NoBody:
    """What the made-up answer is read from."""

    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return [b""]

    def read(self, *_: Any) -> bytes:
        return b""
