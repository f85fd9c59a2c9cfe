"""The names that callers, operators' scripts and acceptance checks use."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

import trunkline.v1

# Written by hand from the contract, not from the protos: a name that disappears from the protos must fail here even if
# whoever removed it also moved the baseline of `buf breaking`. Fields may be added without being listed.
MESSAGES = {
    "CompleteRequest": "model messages sampling tools tool_choice output routing request_id labels "
    "provider_options_json",
    "Message": "role parts name cache_breakpoint",
    "Part": "text media thinking tool_call tool_result refusal",
    "MediaPart": "mime_type data uri file_id provider",
    "ThinkingPart": "text signature redacted provider",
    "ToolCallPart": "id name arguments_json",
    "ToolResultPart": "tool_call_id parts is_error",
    "Sampling": "temperature top_p top_k max_output_tokens stop seed frequency_penalty presence_penalty top_logprobs "
    "reasoning_effort reasoning_max_tokens",
    "Tool": "function provider",
    "FunctionTool": "name description parameters_json_schema strict",
    "ProviderTool": "provider tool_json",
    "ToolChoice": "mode function parallel",
    "OutputFormat": "json_object json_schema",
    "JsonObjectFormat": "",
    "JsonSchemaFormat": "name schema_json strict",
    "RoutingOptions": "fallback_models sticky_key criticality on_break max_attempts max_cost_nanousd max_first_token "
    "max_token_gap require_capabilities allow_regions exclude_targets allow_fallback allow_hedge detachable heartbeat "
    "announce_early usage_every",
    "CompleteResponse": "request_id message finish_reason native_finish_reason usage route attempts created logprobs "
    "warnings",
    "Warning": "code field message",
    "TokenLogprob": "token bytes logprob top",
    "TopLogprob": "token bytes logprob",
    "RouteInfo": "requested alias route_version variant served_by skipped",
    "RouteInfo.Skipped": "target reason",
    "Target": "provider model key_id region",
    "AttemptSummary": "attempt target why queued first_token total error usage bytes_emitted discarded",
    "Usage": "input_tokens output_tokens cached_input_tokens cache_write_tokens reasoning_tokens source cost_nanousd",
    "RouteExplanation": "route candidates",
    "RouteExplanation.Candidate": "target tier order eligible removed_because predicted_first_token "
    "predicted_cost_nanousd variant weight ordered_by score late in_flight circuit keys",
    "ListModelsRequest": "",
    "ListModelsResponse": "models route_version",
    "Model": "name is_alias targets capabilities context_tokens max_output_tokens input_nanousd_per_million "
    "output_nanousd_per_million",
    "EmbedRequest": "model inputs dimensions input_type routing request_id labels provider_options_json "
    "allow_other_models",
    "EmbedResponse": "request_id embeddings dimensions model usage route attempts created warnings",
    "Embedding": "index values",
    "RouteFailure": "failure_class attempts last_upstream_http_status",
    "Error": "code failure_class reason message retryable retry_after upstream_http_status upstream_code "
    "upstream_request_id",
    "ResumeStreamRequest": "stream_id after_seq cancel",
    "StreamFrame": "seq attempt started attempt_started deltas attempt_failed reset usage heartbeat draining end",
    "Started": "request_id stream_id route created queued warnings",
    "AttemptStarted": "target why queued continuation",
    "Continuation": "method after_seq overlap_bytes",
    "Deltas": "items",
    "Delta": "part offset text thinking thinking_signature tool_call refusal logprobs thinking_redacted",
    "ToolCallDelta": "id name arguments_json_delta done",
    "AttemptFailed": "error target bytes_emitted tool_calls_done tool_calls_open usage next on_break_asked "
    "on_break_applied degraded_because",
    "Reset": "keep_through_seq",
    "UsageProgress": "attempt total",
    "Heartbeat": "queue_position waited",
    "Draining": "time_left",
    "End": "outcome finish_reason native_finish_reason error usage attempts route content_bytes content_crc32c",
    "RouteVersion": "version etag sha256 published published_by peer reason origin state rolled_back_to",
    "RejectedRoutes": "at by sha256 findings omitted",
    "CanaryStatus": "version fraction guard ends calls failed base_calls base_failed",
    "CanaryGuard": "window error_ratio first_token_ratio",
    "RouteFinding": "severity path line code message",
    "RouteChange": "op path before after sensitive",
    "TrafficShift": "alias share recent_calls share_of_all",
    "GetRoutesRequest": "version",
    "GetRoutesResponse": "version document last_rejected canary",
    "PlanRoutesRequest": "source base_etag",
    "PlanRoutesResponse": "valid no_op findings changes traffic base_version base_etag",
    "ReloadRoutesRequest": "source if_match_etag dry_run reason request_id canary_fraction guard",
    "ReloadRoutesResponse": "version no_op dry_run findings canary",
    "RollbackRoutesRequest": "to_version if_match_etag reason dry_run",
    "RollbackRoutesResponse": "version ended_canary dry_run",
    "ListRouteVersionsRequest": "page_size page_token",
    "ListRouteVersionsResponse": "versions next_page_token",
    "WatchRoutesRequest": "after_version",
    "WatchRoutesResponse": "at applied rejected rolled_back bookmark",
    "WatchRoutesResponse.Applied": "version fraction",
    "WatchRoutesResponse.RolledBack": "version to by reason",
    "WatchRoutesResponse.Bookmark": "version etag missed",
    "TargetStatus": "provider model aliases circuit in_flight success_ratio first_token_p50 first_token_p95 override "
    "attempts",
    "KeyStatus": "provider key_id state until in_flight max_in_flight headroom_requests headroom_tokens quota_group "
    "weight override",
    "GateStatus": "provider in_flight limit queued queue",
    "WorkerStatus": "worker pid phase in_flight route_version started",
    "RecentFailover": "at model from to failure_class",
    "GetStatusRequest": "",
    "GetStatusResponse": "at routes targets keys gates workers failovers canary last_rejected",
    "WatchStatusRequest": "every",
    "WatchStatusResponse": "status",
    "Override": "mode until by reason",
    "OverrideTargetRequest": "target mode ttl reason",
    "OverrideTargetResponse": "override",
    "OverrideKeyRequest": "provider key_id mode ttl reason",
    "OverrideKeyResponse": "override",
    "DrainRequest": "grace reason",
    "DrainResponse": "in_flight ends",
}

# Each enum with the prefix of its values.
ENUMS = {
    "Role": ("ROLE", "SYSTEM DEVELOPER USER ASSISTANT TOOL"),
    "ReasoningEffort": ("REASONING_EFFORT", "NONE MINIMAL LOW MEDIUM HIGH MAX"),
    "ToolChoice.Mode": ("MODE", "AUTO NONE REQUIRED"),
    "Criticality": ("CRITICALITY", "CRITICAL_PLUS CRITICAL SHEDDABLE_PLUS SHEDDABLE"),
    "OnBreak": ("ON_BREAK", "FAIL RESTART CONTINUE"),
    "FinishReason": (
        "FINISH_REASON",
        "STOP LENGTH TOOL_CALLS CONTENT_FILTER REFUSAL CONTEXT_LIMIT BROKEN OTHER",
    ),
    "FailureClass": (
        "FAILURE_CLASS",
        (
            "CALLER_INVALID CONTEXT_LENGTH CONTENT_FILTERED MODEL_UNAVAILABLE KEY_REJECTED KEY_EXHAUSTED RATE_LIMITED "
            "OVERLOADED SERVER_ERROR CONNECT FIRST_TOKEN_TIMEOUT STALLED TRUNCATED PROTOCOL SATURATED DEADLINE "
            "CANCELLED"
        ),
    ),
    "Usage.Source": ("SOURCE", "PROVIDER ESTIMATED"),
    "AttemptSummary.Why": ("WHY", "FIRST RETRY KEY_WALK FAILOVER HEDGE CONTINUATION RESTART"),
    "Continuation.Method": ("METHOD", "PREFILL PROMPTED"),
    "AttemptFailed.Next": ("NEXT", "CONTINUING RESTARTING GIVING_UP"),
    "End.Outcome": ("OUTCOME", "COMPLETE INCOMPLETE FAILED"),
    "RouteVersion.Origin": ("ORIGIN", "START FILE RELOAD ROLLBACK"),
    "RouteVersion.State": ("STATE", "RUNNING CANARY SUPERSEDED ROLLED_BACK"),
    "RouteFinding.Severity": ("SEVERITY", "WARNING ERROR"),
    "RouteChange.Op": ("OP", "ADD REMOVE REPLACE"),
    "EmbedRequest.InputType": ("INPUT_TYPE", "QUERY DOCUMENT CLASSIFICATION CLUSTERING"),
    "OverrideMode": ("OVERRIDE_MODE", "DRAIN DISABLE FORCE_OPEN FORCE_CLOSED CLEAR"),
}

COMPLETION_RPCS = {
    "Complete": ("CompleteRequest", "CompleteResponse", False),
    "StreamComplete": ("CompleteRequest", "StreamFrame", True),
    "ResumeStream": ("ResumeStreamRequest", "StreamFrame", True),
    "Explain": ("CompleteRequest", "RouteExplanation", False),
    "ListModels": ("ListModelsRequest", "ListModelsResponse", False),
    "Embed": ("EmbedRequest", "EmbedResponse", False),
}

ADMIN_RPCS = {
    "GetRoutes": ("GetRoutesRequest", "GetRoutesResponse", False),
    "PlanRoutes": ("PlanRoutesRequest", "PlanRoutesResponse", False),
    "ReloadRoutes": ("ReloadRoutesRequest", "ReloadRoutesResponse", False),
    "RollbackRoutes": ("RollbackRoutesRequest", "RollbackRoutesResponse", False),
    "ListRouteVersions": ("ListRouteVersionsRequest", "ListRouteVersionsResponse", False),
    "WatchRoutes": ("WatchRoutesRequest", "WatchRoutesResponse", True),
    "GetStatus": ("GetStatusRequest", "GetStatusResponse", False),
    "WatchStatus": ("WatchStatusRequest", "WatchStatusResponse", True),
    "OverrideTarget": ("OverrideTargetRequest", "OverrideTargetResponse", False),
    "OverrideKey": ("OverrideKeyRequest", "OverrideKeyResponse", False),
    "Drain": ("DrainRequest", "DrainResponse", False),
}

POOL = descriptor_pool.Default()
SERVICES = {
    "CompletionService": (POOL.FindServiceByName("trunkline.v1.CompletionService"), COMPLETION_RPCS),
    "AdminService": (POOL.FindServiceByName("trunkline.v1.AdminService"), ADMIN_RPCS),
}


def files() -> list[FileDescriptor]:
    """Return every file of the package: all are reached from the services'."""
    waiting = [service.file for service, _ in SERVICES.values()]
    found = {file.name: file for file in waiting}
    while waiting:
        for file in waiting.pop().dependencies:
            if file.package == "trunkline.v1" and file.name not in found:
                found[file.name] = file
                waiting.append(file)
    return list(found.values())


def messages() -> list[Descriptor]:
    """Return every message of the package, nested ones included, without the entries of maps."""
    found: list[Descriptor] = []
    waiting = [message for file in files() for message in file.message_types_by_name.values()]
    while waiting:
        message = waiting.pop()
        if not message.GetOptions().map_entry:
            found.append(message)
        waiting += message.nested_types
    return found


def enums() -> list[EnumDescriptor]:
    """Return every enum of the package, nested ones included."""
    found = [enum for file in files() for enum in file.enum_types_by_name.values()]
    return found + [enum for message in messages() for enum in message.enum_types]


def full(name: str) -> str:
    """Return a name with its package."""
    return f"trunkline.v1.{name}"


@pytest.mark.parametrize("name", MESSAGES)
def test_message_keeps_its_fields(name: str) -> None:
    """Every field that the contract names stands in its message."""
    present = POOL.FindMessageTypeByName(full(name)).fields_by_name.keys()
    assert set(MESSAGES[name].split()) - set(present) == set()


@pytest.mark.parametrize("name", ENUMS)
def test_enum_keeps_its_values(name: str) -> None:
    """Every enum has its values under their prefix, in the contract's order, after `_UNSPECIFIED = 0`."""
    prefix, values = ENUMS[name]
    expected = [f"{prefix}_{value}" for value in ["UNSPECIFIED", *values.split()]]
    found = POOL.FindEnumTypeByName(full(name)).values
    assert [(value.number, value.name) for value in found][: len(expected)] == list(enumerate(expected))


@pytest.mark.parametrize("name", SERVICES)
def test_service_keeps_its_rpcs(name: str) -> None:
    """Each service has its RPCs with their messages, and streams where the contract says so."""
    service, rpcs = SERVICES[name]
    found = {
        method.name: (method.input_type.name, method.output_type.name, method.server_streaming)
        for method in service.methods
    }
    assert found == rpcs
    assert not any(method.client_streaming for method in service.methods)


def test_every_message_is_frozen() -> None:
    """A message that is added is listed here too, so that its names are thought about."""
    assert {message.full_name for message in messages()} == {full(name) for name in MESSAGES}


def test_every_enum_is_frozen_and_starts_unspecified() -> None:
    """Every enum of the package is listed here, and its zero is `_UNSPECIFIED`."""
    assert {enum.full_name for enum in enums()} == {full(name) for name in ENUMS}
    assert [enum.full_name for enum in enums() if not enum.values_by_number[0].name.endswith("_UNSPECIFIED")] == []


def test_package_exports_every_name() -> None:
    """Every top-level message, enum and enum value, and the stubs, are imported from the package."""
    names = {message.name for message in messages() if message.containing_type is None}
    for enum in enums():
        if enum.containing_type is None:
            names |= {enum.name, *enum.values_by_name}
    for service in SERVICES:
        names |= {f"{service}Stub", f"{service}Servicer", f"add_{service}Servicer_to_server"}
    assert set(trunkline.v1.__all__) == names
    assert [name for name in names if not hasattr(trunkline.v1, name)] == []


def test_units_decide_types() -> None:
    """Token counts are uint64 and money is int64, everywhere."""
    wrong = [
        field.full_name
        for message in messages()
        for field in message.fields
        if (field.name.endswith("_tokens") and field.type != FieldDescriptor.TYPE_UINT64)
        or ("nanousd" in field.name and field.type != FieldDescriptor.TYPE_INT64)
    ]
    assert wrong == []


def test_unset_is_told_from_zero() -> None:
    """What may be zero on purpose knows whether it was set."""
    optional = {
        "Sampling": "temperature top_p top_k max_output_tokens seed frequency_penalty presence_penalty top_logprobs "
        "reasoning_max_tokens",
        "RoutingOptions": "max_attempts max_cost_nanousd allow_fallback allow_hedge",
        "EmbedRequest": "dimensions",
        "Usage": MESSAGES["Usage"],
        "ToolChoice": "parallel",
        "FunctionTool": "strict",
        "JsonSchemaFormat": "strict",
        "Heartbeat": "queue_position",
        "RouteExplanation.Candidate": "predicted_cost_nanousd score in_flight",
        "Model": "context_tokens max_output_tokens input_nanousd_per_million output_nanousd_per_million",
        "CanaryGuard": "error_ratio first_token_ratio",
        "PlanRoutesRequest": "source",
        "ReloadRoutesRequest": "source",
        "TargetStatus": "success_ratio",
        "KeyStatus": "max_in_flight headroom_requests headroom_tokens",
    }
    wrong = [
        f"{name}.{field}"
        for name, fields in optional.items()
        for field in fields.split()
        if not POOL.FindMessageTypeByName(full(name)).fields_by_name[field].has_presence
    ]
    assert wrong == []
