from __future__ import annotations

import pytest

from trunkline import v1 as pb
from trunkline_server.chat.message import (
    MediaPart,
    Message,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.rpc.decode_message import MAX_PIECES, decode_messages
from trunkline_server.rpc.violations import InvalidRequestError, Violations


def decoded(*messages: pb.Message) -> tuple[Message, ...]:
    found = Violations()
    result = decode_messages(messages, found)
    found.raise_if_any()
    return result


def refused(*messages: pb.Message) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        decoded(*messages)
    return [each.path for each in caught.value.violations]


def assistant(*parts: pb.Part) -> pb.Message:
    return pb.Message(role=pb.ROLE_ASSISTANT, parts=parts)


def call(name: str = "f", arguments: str = "{}", call_id: str = "c1") -> pb.Part:
    return pb.Part(tool_call=pb.ToolCallPart(id=call_id, name=name, arguments_json=arguments))


def nested(depth: int) -> pb.Part:
    part = pb.Part(text="bottom")
    for _ in range(depth):
        part = pb.Part(tool_result=pb.ToolResultPart(tool_call_id="c", parts=[part]))
    return part


def test_a_conversation_with_every_kind_of_part_decodes() -> None:
    """Text, media, reasoning, calls, results and refusals arrive as they were sent."""
    assert decoded(
        pb.Message(role=pb.ROLE_SYSTEM, parts=[pb.Part(text="s")], cache_breakpoint=True),
        pb.Message(role=pb.ROLE_DEVELOPER, parts=[pb.Part(text="")]),
        pb.Message(
            role=pb.ROLE_USER,
            name="ann",
            parts=[
                pb.Part(text="u"),
                pb.Part(media=pb.MediaPart(mime_type="image/png", data=b"\x89")),
                pb.Part(media=pb.MediaPart(uri="https://h/x.png")),
                pb.Part(media=pb.MediaPart(file_id="f1", provider="openai")),
            ],
        ),
        assistant(
            pb.Part(thinking=pb.ThinkingPart(text="t", signature="s", provider="p")),
            pb.Part(thinking=pb.ThinkingPart(redacted=True, signature="x")),
            call("get_weather", '{ "a": 1 }'),
            pb.Part(refusal="no"),
        ),
        pb.Message(
            role=pb.ROLE_TOOL,
            parts=[pb.Part(tool_result=pb.ToolResultPart(tool_call_id="c1", is_error=True, parts=[pb.Part(text="r")]))],
        ),
    ) == (
        Message(Role.SYSTEM, (TextPart("s"),), cache_breakpoint=True),
        Message(Role.DEVELOPER, (TextPart(""),)),
        Message(
            Role.USER,
            (
                TextPart("u"),
                MediaPart("image/png", data=b"\x89"),
                MediaPart("", uri="https://h/x.png"),
                MediaPart("", file_id="f1", provider="openai"),
            ),
            "ann",
        ),
        Message(
            Role.ASSISTANT,
            (
                ThinkingPart("t", "s", provider="p"),
                ThinkingPart("", "x", redacted=True),
                ToolCallPart("c1", "get_weather", '{ "a": 1 }'),
                RefusalPart("no"),
            ),
        ),
        Message(Role.TOOL, (ToolResultPart("c1", (TextPart("r"),), is_error=True),)),
    )


def test_an_empty_conversation_is_refused() -> None:
    """There must be something to answer."""
    assert refused() == ["messages"]


def test_roles_must_be_set_and_known() -> None:
    """A role of a later contract is told as unknown, not taken for another."""
    with pytest.raises(InvalidRequestError) as caught:
        decoded(pb.Message(parts=[pb.Part(text="x")]), pb.Message.FromString(b"\x08\x63\x12\x03\x0a\x01x"))
    assert [(each.path, each.message) for each in caught.value.violations] == [
        ("messages[0].role", "must be set"),
        ("messages[1].role", "unknown value 99"),
    ]


def test_parts_stand_only_where_their_role_says_them() -> None:
    """Models call and think, tools answer, and nobody else does."""
    result = pb.Part(tool_result=pb.ToolResultPart(tool_call_id="c"))
    assert refused(
        pb.Message(role=pb.ROLE_USER, parts=[call(), result, pb.Part(thinking=pb.ThinkingPart(text="t"))]),
        assistant(result),
        pb.Message(role=pb.ROLE_TOOL, parts=[pb.Part(text="x"), result]),
        pb.Message(role=pb.ROLE_SYSTEM, parts=[pb.Part(refusal="x")]),
    ) == [
        "messages[0].parts[0].tool_call",
        "messages[0].parts[1].tool_result",
        "messages[0].parts[2].thinking",
        "messages[1].parts[0].tool_result",
        "messages[2].parts[0].text",
        "messages[3].parts[0].refusal",
    ]


def test_a_tool_call_has_an_id_a_name_and_an_object_of_arguments() -> None:
    """Each of them is told with its own path."""
    assert refused(assistant(pb.Part(text="x"), pb.Part(tool_call=pb.ToolCallPart()))) == [
        "messages[0].parts[1].tool_call.id",
        "messages[0].parts[1].tool_call.name",
        "messages[0].parts[1].tool_call.arguments_json",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "[]",
        "1",
        "null",
        '{"a":1',
        '{"a":NaN}',
        '{"a":1e999}',
        '{"a":1} {}',
        '{"a":"\\ud800"}',
        '{"a":' + "9" * 5000 + "}",
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"a":' + "[" * 300_000,
        '{"a":"' + "x" * 1024 * 1024 + '"}',
    ],
    ids=lambda text: f"{text[:12]}({len(text)})",
)
def test_arguments_that_are_no_bounded_json_object_are_refused(arguments: str) -> None:
    """Other values, broken text, numbers out of range, lone surrogates and bombs of depth or size."""
    assert refused(assistant(call(arguments=arguments))) == ["messages[0].parts[0].tool_call.arguments_json"]


def test_the_brackets_of_all_arguments_together_are_bounded() -> None:
    """Texts that are all small enough could still hold millions of arrays; the work ends with a violation."""
    part = call(arguments='{"a":[' + "[]," * 250_000 + "[]]}")
    assert decoded(assistant(*[part] * 3))
    assert refused(assistant(*[part] * 100)) == ["messages[0].parts[3].tool_call.arguments_json"]


def test_arguments_may_have_many_brackets_if_they_are_not_deep() -> None:
    """Depth is what is bounded, not the number of objects; one level too many is told."""
    wide = '{"a":[' + ",".join(['{"b":[]}'] * 200) + "]}"
    assert decoded(assistant(call(arguments=wide)))
    assert decoded(assistant(call(arguments='{"a":' * 64 + "1" + "}" * 64)))
    assert refused(assistant(call(arguments='{"a":' * 65 + "1" + "}" * 65)))


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "naïve", "a\n"])
def test_a_function_name_is_plain(name: str) -> None:
    """Letters, digits, underscores, dots and dashes, at most 64."""
    assert refused(assistant(call(name=name))) == ["messages[0].parts[0].tool_call.name"]


def test_tool_results_nest_8_deep_and_no_deeper() -> None:
    """The ninth level is refused at its own path, and what is below it is not read."""
    assert decoded(pb.Message(role=pb.ROLE_TOOL, parts=[nested(8)]))
    path = "messages[0]" + ".parts[0].tool_result" * 9
    assert refused(pb.Message(role=pb.ROLE_TOOL, parts=[nested(9)])) == [path]
    assert refused(pb.Message(role=pb.ROLE_TOOL, parts=[nested(12)])) == [path]


def test_a_tool_result_names_its_call_and_may_be_empty() -> None:
    """A tool that answers nothing has answered, but calls do not stand in results."""
    tool = pb.Message(role=pb.ROLE_TOOL, parts=[pb.Part(tool_result=pb.ToolResultPart(tool_call_id="c"))])
    assert decoded(tool)[0].parts == (ToolResultPart("c", ()),)
    wrong = pb.Message(role=pb.ROLE_TOOL, parts=[pb.Part(tool_result=pb.ToolResultPart(parts=[call()]))])
    assert refused(wrong) == [
        "messages[0].parts[0].tool_result.tool_call_id",
        "messages[0].parts[0].tool_result.parts[0].tool_call",
    ]


@pytest.mark.parametrize(
    ("media", "fields"),
    [
        (pb.MediaPart(mime_type="image/png"), [""]),
        (pb.MediaPart(data=b"x"), [".mime_type"]),
        (pb.MediaPart(mime_type="png", data=b"x"), [".mime_type"]),
        (pb.MediaPart(mime_type="image/png", data=b""), [".data"]),
        (pb.MediaPart(uri=""), [".uri"]),
        (pb.MediaPart(uri="file:///etc/passwd"), [".uri"]),
        (pb.MediaPart(uri="http://"), [".uri"]),
        (pb.MediaPart(uri="https://h/ x"), [".uri"]),
        (pb.MediaPart(uri="javascript:alert(1)"), [".uri"]),
        (pb.MediaPart(file_id=""), [".file_id", ".provider"]),
        (pb.MediaPart(file_id="f"), [".provider"]),
        (pb.MediaPart(uri="https://h/x", provider="openai"), [".provider"]),
    ],
)
def test_media_have_one_source_that_can_be_used(media: pb.MediaPart, fields: list[str]) -> None:
    """Types, schemes and the provider of a file are checked."""
    message = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(media=media)])
    assert refused(message) == [f"messages[0].parts[0].media{field}" for field in fields]


@pytest.mark.parametrize("uri", ["http://h/x", "HTTPS://h/x", "gs://b/o", "s3://b/o"])
def test_a_uri_may_have_these_schemes(uri: str) -> None:
    """What providers fetch themselves."""
    message = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(media=pb.MediaPart(uri=uri, mime_type="image/png"))])
    assert decoded(message)[0].parts == (MediaPart("image/png", uri=uri),)


@pytest.mark.parametrize(
    ("uri", "mime_type", "part"),
    [
        ("data:image/png;base64,iVBORw==", "", MediaPart("image/png", data=b"\x89PNG")),
        ("DATA:image/png;charset=x;BASE64,iVBORw", "", MediaPart("image/png", data=b"\x89PNG")),
        ("data:image/png;base64,%2B%2F%2B%2F", "image/webp", MediaPart("image/webp", data=b"\xfb\xff\xbf")),
        ("data:text/csv,a%2Cb%0A1", "", MediaPart("text/csv", data=b"a,b\n1")),
        ("data:;base64,aGk=", "", MediaPart("text/plain", data=b"hi")),
    ],
)
def test_what_stands_in_a_data_uri_is_data(uri: str, mime_type: str, part: MediaPart) -> None:
    """So every protocol that takes bytes takes it, with its own type unless the request says another."""
    message = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(media=pb.MediaPart(uri=uri, mime_type=mime_type))])
    assert decoded(message)[0].parts == (part,)


@pytest.mark.parametrize(
    ("uri", "field"),
    [
        ("data:image/png", "uri"),
        ("data:image/png;base64,", "uri"),
        ("data:image/png;base64,iV*BORw=", "uri"),
        ("data:image/png;base64,iVBOR", "uri"),
        ("data:,", "uri"),
        ("data:text/plain,gr\u00fcn", "uri"),
        (f"data:{'x' * 600},a", "uri"),
        (f"data:text/plain,{'%41' * 30_000}", "uri"),
        ("data:nothing;base64,AA==", "mime_type"),
    ],
)
def test_a_data_uri_without_content_is_refused(uri: str, field: str) -> None:
    """Cut off, not encoded, empty, or of no type at all."""
    message = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(media=pb.MediaPart(uri=uri))])
    assert refused(message) == [f"messages[0].parts[0].media.{field}"]


def test_a_conversation_of_countless_pieces_is_refused_without_reading_it_all() -> None:
    """Millions of empty parts fit 32 MiB; the work ends at the bound, wherever they stand."""
    many = [pb.Part()] * (MAX_PIECES + 1)
    for message in (
        pb.Message(role=pb.ROLE_USER, parts=many),
        pb.Message(role=pb.ROLE_TOOL, parts=[pb.Part(tool_result=pb.ToolResultPart(tool_call_id="c", parts=many))]),
    ):
        assert refused(message) == ["messages"]
    with pytest.raises(InvalidRequestError) as caught:
        decoded(*[pb.Message(role=pb.ROLE_USER)] * (MAX_PIECES + 1))
    assert len(caught.value.violations) + caught.value.omitted == MAX_PIECES + 2
