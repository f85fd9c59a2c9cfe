"""Where a continuation joins the text so far: what is cut from the front of what the next target says.

It was handed the text so far without its trailing white space, and may begin with that white space; it may also, if
it was asked in words, begin by saying again what it was handed. Both would show as a doubled place in the answer.
"""

from __future__ import annotations

OVERLAP_MIN_BYTES = 16
"""A shorter repetition stays: a doubled word is visible, a missing digit is not."""
OVERLAP_MAX_BYTES = 256
"""The longest repetition that is cut, and the most that is held back until that is decided."""


class OverlapCutter:
    """Cuts the front of one continuation. Feed it the text as it comes, then `flush` it.

    The front of the answer loses as many characters of white space as were left out of what the target was handed, as
    far as it is white space. After a prompt it then loses the longest repetition, one that is an end of what was
    handed over, and if there is one, the left-out white space behind that: so the answer goes on right where the text
    so far ends. However the text comes in pieces, what goes out is the same.

    Each place in the last 256 bytes is a bit of `_alive`: the text held so far may be a repetition that began there.
    """

    __slots__ = (
        "_alive",
        "_best",
        "_held",
        "_left_out",
        "_matched",
        "_places",
        "_size",
        "_spaces",
        "decided",
        "overlap_bytes",
        "sent",
    )

    def __init__(self, text_so_far: str, *, prompted: bool) -> None:
        self.sent = text_so_far.rstrip()
        """What the next target is handed."""
        self.overlap_bytes = 0
        """How much repetition was cut, in UTF-8, without the white space; final once `decided`."""
        self._left_out = len(text_so_far) - len(self.sent)
        self._spaces = self._left_out
        self._held = ""
        self._matched = 0
        self._best = 0
        self._places: dict[str, int] = {}
        self._size = 0
        self._alive = self._begin() if prompted else 0
        self.decided = not self._alive
        """Whether it is known how much is cut. It is at once if no repetition can come."""

    def _begin(self) -> int:
        """Note where each character stands in the end of what was handed over; return where a repetition may begin."""
        tail = self.sent[-OVERLAP_MAX_BYTES:]
        left_bytes = len(tail.encode())
        self._size = len(tail)
        alive = 0
        for place, char in enumerate(tail):
            if OVERLAP_MIN_BYTES <= left_bytes <= OVERLAP_MAX_BYTES:
                alive |= 1 << place
            self._places[char] = self._places.get(char, 0) | 1 << place
            left_bytes -= len(char.encode())
        return alive

    def feed(self, text: str) -> str:
        """Take the next piece of the answer and return what may go out now, maybe nothing."""
        if self._spaces:
            text = self._without_spaces(text)
        if self.decided:
            return text
        return self._match(text)

    def flush(self) -> str:
        """Return what is still held back, at the end of the answer; a repetition is cut from that too."""
        return "" if self.decided else self._decide()

    def _without_spaces(self, text: str) -> str:
        """Take white space off the front, as much as is still to be taken off; the first other character ends that."""
        front = 0
        while front < len(text) and front < self._spaces and text[front].isspace():
            front += 1
        self._spaces = self._spaces - front if front == len(text) else 0
        return text[front:]

    def _match(self, text: str) -> str:
        held = self._held = self._held + text
        at = self._matched
        while self._alive and at < len(held):
            self._alive &= self._places.get(held[at], 0) >> at
            at += 1
            reached_the_end = 1 << (self._size - at)
            if self._alive & reached_the_end:
                self._best = at
                self._alive ^= reached_the_end
        self._matched = at
        return "" if self._alive else self._decide()

    def _decide(self) -> str:
        self.decided = True
        held, self._held = self._held, ""
        if not self._best:
            return held
        self.overlap_bytes = len(held[: self._best].encode())
        self._spaces = self._left_out
        return self._without_spaces(held[self._best :])
