"""Makes messages that are nearly right: valid ones, and what damage of every kind makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from trunkline.v1 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    CompleteRequest,
    FunctionTool,
    JsonObjectFormat,
    MediaPart,
    Message,
    OutputFormat,
    Part,
    RoutingOptions,
    Sampling,
    Tool,
    ToolCallPart,
    ToolResultPart,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message as ProtoMessage

MAX_DEPTH = 6
HUGE = 300_000

VALID = [
    CompleteRequest(model="default", messages=[Message(role=ROLE_USER, parts=[Part(text="hi")])]),
    CompleteRequest(
        model="two/fallback",
        messages=[
            Message(role=ROLE_SYSTEM, parts=[Part(text="be brief")]),
            Message(
                role=ROLE_USER, parts=[Part(media=MediaPart(mime_type="image/png", data=b"\x89PNG")), Part(text="?")]
            ),
            Message(
                role=ROLE_ASSISTANT,
                parts=[Part(tool_call=ToolCallPart(id="c1", name="f", arguments_json='{"a": [1]}'))],
            ),
            Message(
                role=ROLE_TOOL, parts=[Part(tool_result=ToolResultPart(tool_call_id="c1", parts=[Part(text="done")]))]
            ),
        ],
        sampling=Sampling(temperature=0.5, max_output_tokens=50, stop=["END"], seed=7, top_logprobs=2),
        tools=[Tool(function=FunctionTool(name="f", parameters_json_schema='{"type": "object"}'))],
        routing=RoutingOptions(max_attempts=2, exclude_targets=["one"], allow_fallback=True),
        request_id="fuzz-1",
        labels={"team": "checkout"},
        provider_options_json={"two": '{"user": "u"}'},
    ),
    CompleteRequest(
        model="default",
        messages=[Message(role=ROLE_USER, parts=[Part(text="as json, please")])],
        output=OutputFormat(json_object=JsonObjectFormat()),
    ),
]

NASTY_TEXTS = [
    "",
    "\0",
    "default",
    "{",
    "}{",
    '{"a": NaN}',
    '{"a": 1e999}',
    "[" * 5000,
    '{"a":' * 5000,
    "%s%n{0}",
    "\u202e\U0010ffff",
    "../../etc/passwd",
    "data:,",
    "http://[",
    "x" * HUGE,
    "é" * HUGE,
]
WHOLE_NUMBERS = [0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**64 - 1, 99, 315_576_000_001]
REALS = [0.0, -0.0, 1.0, -1.0, 1e308, float("nan"), float("inf"), float("-inf"), 5e-324]


class Mutator:
    """An endless source of payloads, drawn from one seeded random source; `valid`: what they are made of."""

    def __init__(self, rng: random.Random, valid: Sequence[ProtoMessage] = VALID) -> None:
        self._rng = rng
        self._messages = valid
        self._kinds: list[tuple[str, Callable[[], bytes]]] = [
            ("valid", self._valid),
            ("bytes", self._bytes),
            ("bytes", self._bytes),
            ("fields", self._fields),
            ("fields", self._fields),
            ("fields", self._fields),
            ("spliced", self._spliced),
            ("random", self._random),
        ]
        if isinstance(valid[0], CompleteRequest):
            self._kinds.append(("deep", self._deep))

    def next(self) -> tuple[str, bytes]:
        """Return the next payload and what was done to it."""
        name, make = self._rng.choice(self._kinds)
        return name, make()

    def _valid(self) -> bytes:
        return self._rng.choice(self._messages).SerializeToString()

    def _bytes(self) -> bytes:
        """Flip, insert, drop or cut bytes."""
        rng, raw = self._rng, bytearray(self._valid() or b"\0")
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(raw))
            match rng.randrange(4):
                case 0:
                    raw[at] ^= 1 << rng.randrange(8)
                case 1:
                    raw[at:at] = rng.randbytes(rng.randint(1, 3))
                case 2:
                    del raw[at : at + rng.randint(1, 3)]
                    raw = raw or bytearray(b"\0")
                case _:
                    raw = raw[: at + 1]
        return bytes(raw)

    def _fields(self) -> bytes:
        """Set some fields, anywhere in a valid message, to values of their type."""
        whole = self._rng.choice(self._messages)
        message = type(whole)()
        message.CopyFrom(whole)
        for _ in range(self._rng.randint(1, 3)):
            self._damage(message)
        return message.SerializeToString()

    def _damage(self, message: ProtoMessage) -> None:
        """Walk down to some message inside and draw one of its fields anew; one without fields is left as it is."""
        if not message.DESCRIPTOR.fields:
            return
        inside = [message]
        while True:
            here = inside[-1]
            below = [child for field, value in here.ListFields() for child in _children(field, value)]
            if not below or self._rng.random() < 0.3:
                break
            inside.append(self._rng.choice(below))
        target = inside[-1] if inside[-1].DESCRIPTOR.fields else message
        self._draw(target, self._rng.choice(list(target.DESCRIPTOR.fields)), 3)

    def _spliced(self) -> bytes:
        """Two halves of different messages: fields twice, fields of another place."""
        first, second = self._valid(), self._valid()
        return first[: self._rng.randint(0, len(first))] + second[self._rng.randint(0, len(second)) :]

    def _deep(self) -> bytes:
        """Tool results inside of each other, from allowed to far beyond protobuf's own bound of 100."""
        part = Part(text="at the bottom").SerializeToString()
        for _ in range(self._rng.choice([1, 8, 9, 40, 98, 120, 2000])):
            result = _length_delimited(1, b"c") + _length_delimited(2, part)
            part = _length_delimited(5, result)
        message = b"\x08" + bytes([ROLE_TOOL]) + _length_delimited(2, part)
        return VALID[0].SerializeToString() + _length_delimited(2, message)

    def _random(self) -> bytes:
        """A message drawn field by field from the descriptor."""
        message = type(self._messages[0])()
        self._fill(message, MAX_DEPTH)
        if isinstance(message, CompleteRequest) and self._rng.random() < 0.7:
            message.model = "default"
        return message.SerializeToString()

    def _fill(self, message: ProtoMessage, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if self._rng.random() < 0.4:
                self._draw(message, field, depth)

    def _draw(self, message: ProtoMessage, field: Any, depth: int) -> None:
        """Give `field` a value of its type; add to it if it is repeated or a map."""
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[self._text()[:1000]] = self._text()
        elif field.message_type is not None:
            if depth > 0:
                value = getattr(message, field.name)
                child = value.add() if field.is_repeated else value
                child.SetInParent()
                self._fill(child, depth - 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(self._scalar(field) for _ in range(self._rng.choice([1, 2, 17])))
        else:
            setattr(message, field.name, self._scalar(field))

    def _text(self) -> str:
        return self._rng.choice(NASTY_TEXTS)

    def _scalar(self, field: Any) -> object:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self._rng.randbytes(20) if field.type == FieldDescriptor.TYPE_BYTES else self._text()
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self._rng.random() < 0.5
        if kind in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
            return self._rng.choice(REALS)
        low, high = {
            FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
            FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
            FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
        }.get(kind, (-(2**31), 2**31 - 1))
        return self._rng.choice([number for number in WHOLE_NUMBERS if low <= number <= high])


def _children(field: Any, value: Any) -> list[ProtoMessage]:
    """Return the messages that a field holds; the entries of a map are none."""
    if field.message_type is None or field.message_type.GetOptions().map_entry:
        return []
    return list(value) if field.is_repeated else [value]


def _length_delimited(number: int, payload: bytes) -> bytes:
    """Return one field of wire type 2."""
    length, left = bytearray(), len(payload)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return bytes([number << 3 | 2]) + bytes(length) + payload
