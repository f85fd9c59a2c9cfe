"""Bedrock's credentials: what a secret may be, signatures that the vendor's own client would make, and role keys."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.providers.bedrock.official import ENDPOINT, KEY_ID, SECRET, sent

from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.credentials.aws import credential, region_of
from trunkline_server.providers.credentials.aws_sign import HASHED_APART_BYTES
from trunkline_server.providers.credentials.base import Credential, CredentialError, StaticHeaders
from trunkline_server.providers.transport.base import UpstreamRequest

if TYPE_CHECKING:
    from trunkline_server.providers.transport.base import Transport

TERMS = AdapterTerms("bedrock", ENDPOINT)
NOWHERE: Any = None
"""The transport of a signer that fetches nothing."""
MODELS = (
    "amazon.nova-pro-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "my model/with ünusual~characters%2F",
)


async def signed(secret: str, request: UpstreamRequest, terms: AdapterTerms = TERMS) -> dict[str, str]:
    """Return the headers of a signed request, names in lower case."""
    made = credential(secret, terms)
    assert not isinstance(made, StaticHeaders)
    return {name.lower(): value for name, value in (await made.sign(request, NOWHERE)).headers.items()}


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are made at one moment."""
    at = dt.datetime(2026, 11, 23, 12, 0, 0, tzinfo=dt.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at)


@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize("token", [None, "IQoJb3JpZ2luX2VjEXAMPLE=="])
@pytest.mark.parametrize("model", MODELS)
async def test_a_signature_is_the_official_clients(model: str, token: str | None) -> None:
    """The same path, headers and body have the same signature, whatever characters a model id has."""
    messages = [{"role": "user", "content": [{"text": "grüezi"}]}]
    settings = {"aws_session_token": token}
    official = sent("converse", settings, modelId=model, messages=messages)
    names = official.headers["Authorization"].decode().partition("SignedHeaders=")[2].partition(",")[0].split(";")
    ours_to_set = [name for name in names if name not in {"host", "x-amz-date", "x-amz-security-token"}]
    headers = {name: official.headers[name].decode() for name in ours_to_set}
    secret = {"access_key_id": KEY_ID, "secret_access_key": SECRET, **({"session_token": token} if token else {})}
    got = await signed(json.dumps(secret), UpstreamRequest(official.url, headers, official.body))
    assert got["authorization"] == official.headers["Authorization"].decode()
    assert got["x-amz-date"] == "20261123T120000Z"
    assert got.get("x-amz-security-token") == token


@pytest.mark.usefixtures("noon")
async def test_a_large_body_is_signed_too() -> None:
    """It is hashed in a thread, and says its hash; another body has another signature."""
    signatures = set()
    for last in (b"a", b"b"):
        body = b"x" * HASHED_APART_BYTES + last
        got = await signed(f"{KEY_ID}:{SECRET}", UpstreamRequest(ENDPOINT + "/model/m/converse", {}, body))
        assert "x-amz-content-sha256" in got["authorization"]
        signatures.add(got["authorization"])
    assert len(signatures) == 2


@pytest.mark.usefixtures("noon")
async def test_both_forms_of_keys_sign_alike() -> None:
    """Keys as JSON and keys set apart by colons, white space around them or not."""
    request = UpstreamRequest(ENDPOINT + "/model/m/converse", {"content-type": "application/json"}, b"{}")
    temporary = {"access_key_id": "ASIAIOSFODNN7EXAMPLE", "secret_access_key": SECRET, "session_token": "t/o+k=="}
    assert await signed(json.dumps(temporary), request) == await signed(
        f" ASIAIOSFODNN7EXAMPLE:{SECRET}:t/o+k==\n", request
    )


async def test_the_request_is_otherwise_as_it_was() -> None:
    """Headers, body and address stay, and the one that was given is not touched."""
    headers = {"content-type": "application/json", "accept": "application/json"}
    request = UpstreamRequest(ENDPOINT + "/model/m/converse", headers, b"{}")
    made = credential(f"{KEY_ID}:{SECRET}", TERMS)
    assert not isinstance(made, StaticHeaders)
    got = await made.sign(request, NOWHERE)
    assert (got.url, got.body, got.method) == (request.url, request.body, "POST")
    assert headers.items() <= got.headers.items()
    assert set(headers) == {"content-type", "accept"}


def test_an_api_key_is_a_bearer_token() -> None:
    """A key of Bedrock's own is sent as it is."""
    made = credential("bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29tLz9BY3Rpb24\n", TERMS)
    assert isinstance(made, StaticHeaders)
    assert made.headers == {"authorization": "Bearer bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29tLz9BY3Rpb24"}


REFUSED = {
    "nothing": "",
    "white space": "an api key",
    "an id alone": KEY_ID,
    "an id and nothing": f"{KEY_ID}:",
    "a line break in a key": f"{KEY_ID}:a\nb",
    "half of JSON": '{"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "hush-hush',
    "a list in JSON": '{"access_key_id": ["hush-hush"]}',
    "no secret": '{"access_key_id": "AKIAIOSFODNN7EXAMPLE"}',
    "an empty secret": '{"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": ""}',
    "a field too many": '{"access_key_id": "A", "secret_access_key": "hush-hush", "region": "us-east-1"}',
    "another role": '{"role": "arn:aws:iam::123456789012:role/hush-hush"}',
    "a role and keys": '{"role": "default", "access_key_id": "hush-hush"}',
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_secret_is_refused(case: str) -> None:
    """When the routes are read, in words of ours that hold nothing of it."""
    with pytest.raises(CredentialError) as raised:
        credential(REFUSED[case], TERMS)
    assert "hush" not in str(raised.value)
    assert "hush" not in repr(raised.value.__cause__)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


REGIONS = {
    "https://bedrock-runtime.eu-central-1.amazonaws.com": "eu-central-1",
    "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com": "us-gov-west-1",
    "https://bedrock-runtime.cn-north-1.amazonaws.com.cn": "cn-north-1",
    "https://bedrock-runtime.us-west-2.api.aws": "us-west-2",
    "https://vpce-0a1b-2c3d.bedrock-runtime.us-east-1.vpce.amazonaws.com": "us-east-1",
    "http://127.0.0.1:8080": "ap-northeast-1",
    "https://gateway.example/bedrock-runtime.eu-west-1.": "ap-northeast-1",
}


@pytest.mark.parametrize("base_url", REGIONS)
def test_the_region_is_the_hosts(base_url: str) -> None:
    """The host's region goes before the provider's own setting, which is for hosts that have none."""
    assert region_of(AdapterTerms("bedrock", base_url, region="ap-northeast-1")) == REGIONS[base_url]


@pytest.mark.parametrize("region", [None, "", "mars", "us-east-1\r\nx: y"])
def test_without_a_region_nothing_can_be_signed(region: str | None) -> None:
    """Neither host nor setting names one: the routes are refused."""
    with pytest.raises(CredentialError, match="region"):
        credential(f"{KEY_ID}:{SECRET}", AdapterTerms("bedrock", "http://127.0.0.1:1", region=region))


async def test_keys_are_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Not in a repr, not in a log of any level, and all of their texts are known to be hidden."""
    caplog.set_level(logging.DEBUG)
    made: Credential = credential(f"ASIAIOSFODNN7EXAMPLE:{SECRET}:session-token-text", TERMS)
    assert not isinstance(made, StaticHeaders)
    request = await made.sign(UpstreamRequest(ENDPOINT + "/model/m/converse", {}, b"{}"), NOWHERE)
    shown = repr(made) + repr(request) + caplog.text
    for text in (SECRET, "session-token-text", "ASIAIOSFODNN7EXAMPLE"):
        assert text not in shown
        assert text in made.hidden
    made.close()
    made.close()


async def test_many_calls_sign_at_once() -> None:
    """One credential serves any number of calls, each with a signature of its own body."""
    made = credential(f"{KEY_ID}:{SECRET}", TERMS)
    assert not isinstance(made, StaticHeaders)
    requests = [UpstreamRequest(ENDPOINT, {}, b"%d" % number * 300_000) for number in range(4)]
    transport: Transport = NOWHERE
    got = await asyncio.gather(*(made.sign(request, transport) for request in requests))
    assert len({request.headers["Authorization"] for request in got}) == 4
