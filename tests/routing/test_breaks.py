"""Streams that break: what follows, by what was asked for, what was shown, and who can take over."""

from __future__ import annotations

import pytest
from tests.routing.machine_house import FULL, TRIED, F, MachineHouse, candidates, reason, told

from trunkline_server.routing.aliases import AliasPolicy
from trunkline_server.routing.breaks import Shown
from trunkline_server.routing.events import Backoff, Broken, Dispatch, Fail, Finish, Queue, TryNow, Why
from trunkline_server.routing.failover import State
from trunkline_server.routing.failures import Failure
from trunkline_server.routing.moves import Move
from trunkline_server.routing.types import OnBreak, Reason

FAIL, RESTART, CONTINUE = OnBreak
TOOL = "a tool call was delivered whole, and may be running"
USED = "the one attempt after a break is used"


def test_fail_tells_and_gives_up() -> None:
    """FAIL, the default: what was delivered stands, and the end is STREAM_BROKEN with what broke it."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.show()
    broken = told(house.fail(F.STALLED))
    failure = Failure(F.STALLED, "test")
    assert broken == Broken(failure, FAIL, FAIL, "", Fail(Reason.STREAM_BROKEN, failure=failure))
    assert house.machine.state is State.ENDED
    assert house.machine.not_made == []


def test_restart_goes_to_another_target_and_is_told_when_it_goes() -> None:
    """RESTART: the attempt that takes over is the one that the break is told with."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.show(RESTART)
    assert candidates(house.fail(F.STALLED)) == [1]
    broken = told(house.grant(1))
    assert (broken.asked, broken.applied, broken.degraded_because) == (RESTART, RESTART, "")
    assert broken.then == Dispatch(2, 1, "k1", Why.RESTART, RESTART)
    house.content()
    assert house.complete() == Finish()


def test_restart_after_a_break_that_allows_it_may_go_back_after_a_backoff() -> None:
    """TRUNCATED at an only target: told at once, and made after an ordinary backoff."""
    house = MachineHouse(["a/m"])
    house.show(RESTART)
    broken = told(house.fail(F.TRUNCATED))
    assert isinstance(broken.then, Backoff)
    assert house.wake() == Queue(Move(0))
    assert house.dispatch().after_break is RESTART


def test_the_alias_says_what_requests_do_not() -> None:
    """The alias's on_break is the default; a request's own goes before it."""
    house = MachineHouse(["a/m"], ["b/m"], policy=AliasPolicy(on_break=RESTART))
    house.show()
    assert isinstance(house.fail(F.STALLED), TryNow)
    house.show(FAIL)
    assert told(house.fail(F.STALLED)).asked is FAIL


def test_continue_goes_only_to_targets_that_can_go_on() -> None:
    """Of the untried ones, those whose model has the capability `prefill`, in their order."""
    house = MachineHouse(["a/m", "b/m"], ["c/m", "d/m"], prefill=["c/m", "d/m"])
    house.show(CONTINUE)
    assert candidates(house.fail(F.STALLED)) == [2, 3]
    broken = told(house.grant(2))
    assert (broken.applied, broken.degraded_because) == (CONTINUE, "")
    assert broken.then == Dispatch(2, 2, "k1", Why.CONTINUATION, CONTINUE)


def test_continue_goes_to_anybody_where_the_alias_lets_it_be_asked_in_words() -> None:
    """allow_prompted_continuation: targets without `prefill` may take over too, in the ordinary order."""
    house = MachineHouse(["a/m", "b/m"], ["c/m"], prefill=["c/m"], policy=AliasPolicy(allow_prompted_continuation=True))
    house.show(CONTINUE)
    assert candidates(house.fail(F.STALLED)) == [1, 2]


def test_continue_goes_back_to_the_same_target_only_if_it_can_go_on() -> None:
    """After TRUNCATED the same target may take over after a backoff, by CONTINUE if it can, else by RESTART."""
    for prefill, applied in ((["a/m"], CONTINUE), ([], RESTART)):
        house = MachineHouse(["a/m"], prefill=prefill)
        house.show(CONTINUE)
        broken = told(house.fail(F.TRUNCATED))
        assert isinstance(broken.then, Backoff)
        assert broken.applied is applied


@pytest.mark.parametrize(
    ("shown", "because"),
    [
        (Shown(), "no target can go on from the text"),
        (Shown(cannot_continue="the answer is JSON by a schema"), "the answer is JSON by a schema"),
    ],
)
def test_continue_degrades_to_restart_and_says_why(shown: Shown, because: str) -> None:
    """Where nobody can go on, or not from this, the answer begins again."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.show(CONTINUE)
    assert candidates(house.fail(F.STALLED, shown=shown)) == [1]
    broken = told(house.grant(1))
    assert (broken.asked, broken.applied, broken.degraded_because) == (CONTINUE, RESTART, because)


def test_continue_degrades_to_restart_when_who_could_go_on_is_no_choice() -> None:
    """STALLED: the only target with `prefill` is the one that broke, and is not gone back to."""
    house = MachineHouse(["a/m"], ["b/m"], prefill=["a/m"])
    house.show(CONTINUE)
    house.fail(F.STALLED)
    broken = told(house.grant(1))
    assert (broken.applied, broken.degraded_because) == (RESTART, "no other target can go on from the text")


def test_continue_degrades_to_restart_when_who_could_go_on_refuses_for_good() -> None:
    """Its keys were all tried: no use in waiting for it while another one can begin again."""
    house = MachineHouse(["a/m"], ["b/m", "c/m"], prefill=["b/m"])
    house.show(CONTINUE)
    assert candidates(house.fail(F.STALLED)) == [1]
    assert candidates(house.none_free(TRIED)) == [1, 2]
    broken = told(house.grant(2))
    assert (broken.applied, broken.degraded_because) == (RESTART, "every key was tried")


def test_everything_degrades_to_fail_when_nobody_may_take_over() -> None:
    """Both reasons are told: why nobody goes on, and why nobody begins again."""
    house = MachineHouse(["a/m"])
    house.show(CONTINUE)
    broken = told(house.fail(F.STALLED))
    assert broken.applied is FAIL
    assert broken.degraded_because == "no target can go on from the text; nobody else may be tried"
    assert reason(broken.then) is Reason.STREAM_BROKEN


@pytest.mark.parametrize("asked", [RESTART, CONTINUE])
def test_a_tool_call_that_is_done_bars_both(asked: OnBreak) -> None:
    """The caller may be running it: the stream fails, whatever was asked for, and says why once."""
    house = MachineHouse(["a/m"], ["b/m"], prefill=["b/m"])
    house.show(asked)
    broken = told(house.fail(F.TRUNCATED, shown=Shown(tool_call_done=True, nothing_left=True)))
    assert (broken.asked, broken.applied, broken.degraded_because) == (asked, FAIL, TOOL)
    assert reason(broken.then) is Reason.STREAM_BROKEN


def test_with_nothing_left_to_go_on_for_the_stream_is_finished() -> None:
    """The output limit is used up by what was shown: CONTINUE ends the stream there, without an attempt."""
    house = MachineHouse(["a/m"], ["b/m"], prefill=["b/m"])
    house.show(CONTINUE)
    broken = told(house.fail(F.TRUNCATED, shown=Shown(nothing_left=True)))
    assert (broken.applied, broken.degraded_because, broken.then) == (CONTINUE, "", Finish())
    house.show(RESTART)
    assert isinstance(house.fail(F.STALLED, shown=Shown(nothing_left=True)), TryNow), "which begins anew"


def test_one_attempt_follows_a_break() -> None:
    """If it fails before its own content, the call ends with what broke the stream."""
    house = MachineHouse(["a/m"], ["b/m"], ["c/m"], policy=AliasPolicy(max_attempts=5))
    house.show(RESTART)
    house.fail(F.STALLED)
    house.dispatch(1)
    ended = house.fail(F.CONNECT)
    assert ended == Fail(Reason.STREAM_BROKEN, failure=Failure(F.STALLED, "test"))
    assert f"c/m: {USED}" in house.machine.not_made


def test_one_attempt_follows_though_it_breaks_again() -> None:
    """A second break is told and ends the call, with the failure of the first one."""
    house = MachineHouse(["a/m"], ["b/m"], ["c/m"], prefill=["b/m", "c/m"], policy=AliasPolicy(max_attempts=5))
    house.show(CONTINUE)
    house.fail(F.STALLED)
    house.dispatch(1)
    house.content()
    broken = told(house.fail(F.TRUNCATED))
    assert (broken.failure.failure_class, broken.applied, broken.degraded_because) == (
        F.TRUNCATED,
        FAIL,
        f"c/m: {USED}",
    )
    assert broken.then == Fail(Reason.STREAM_BROKEN, failure=Failure(F.STALLED, "test"))


def test_attempts_before_the_break_count_too() -> None:
    """max_attempts bounds the whole request."""
    house = MachineHouse(["a/m"], ["b/m"], policy=AliasPolicy(max_attempts=1))
    house.show(RESTART)
    assert told(house.fail(F.STALLED)).degraded_because == "b/m: all 1 attempts are used"


def test_a_key_walk_after_a_break_is_free() -> None:
    """A rejected key never reached the model: the next one makes the attempt that the break allows."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.show(RESTART)
    house.fail(F.STALLED)
    house.dispatch(1, "k1")
    for step in range(2, 7):
        assert candidates(house.fail(F.KEY_REJECTED)) == [1]
        assert house.dispatch(1, f"k{step}").after_break is RESTART
    assert house.machine.attempts_used == 2
    assert reason(house.fail(F.KEY_REJECTED)) is Reason.STREAM_BROKEN


def test_a_key_that_showed_content_is_not_walked_past_for_free() -> None:
    """Quota that runs out in the middle of an answer: the next key makes a whole attempt, the only one."""
    house = MachineHouse(["a/m"])
    house.show(RESTART)
    assert candidates(house.fail(F.KEY_EXHAUSTED)) == [0]
    house.dispatch(0, "k2")
    assert house.machine.attempts_used == 2
    house.content()
    assert told(house.fail(F.KEY_EXHAUSTED)).degraded_because == f"a/m: {USED}"


def test_waits_after_a_break_work() -> None:
    """A full target is told to be waited for, queues like any other, and serves."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.show(RESTART)
    house.fail(F.STALLED)
    assert told(house.none_free(FULL)).then == Queue(Move(1))
    assert house.dispatch(1).after_break is RESTART


def test_waits_after_a_break_that_are_in_vain_end_as_broken() -> None:
    """Refused in the queue, or by a circuit when the slot comes: the end is STREAM_BROKEN, told already."""
    for in_vain in ("refused", "circuit"):
        house = MachineHouse(["a/m"], ["b/m"])
        house.show(RESTART)
        house.fail(F.STALLED)
        house.none_free(FULL)
        if in_vain == "circuit":
            house.open_circuit("b/m")
        ended = house.refused() if in_vain == "refused" else house.grant(1)
        assert ended == Fail(Reason.STREAM_BROKEN, failure=Failure(F.STALLED, "test"))


@pytest.mark.parametrize("stop", [Reason.DEADLINE, Reason.SERVER_DRAINING, Reason.CANCELLED])
def test_a_stop_while_mending_keeps_its_own_reason(stop: Reason) -> None:
    """Deadline, drain and the caller's leaving are told as themselves, in each wait and in the new attempt."""

    def seek(house: MachineHouse) -> None:
        house.fail(F.STALLED)

    def queue(house: MachineHouse) -> None:
        seek(house)
        house.none_free(FULL)

    def back_off(house: MachineHouse) -> None:
        house.fail(F.TRUNCATED)
        house.none_free(FULL)

    def attempt(house: MachineHouse) -> None:
        seek(house)
        house.dispatch(1)

    for get_there in (seek, queue, back_off, attempt):
        house = MachineHouse(["a/m"], ["b/m"])
        house.show(RESTART)
        get_there(house)
        ended = house.stop(stop)
        if isinstance(ended, Broken):
            assert get_there is seek, "else it was told already"
            assert ended.degraded_because
            ended = ended.then
        assert ended == Fail(stop)


@pytest.mark.parametrize("stop", [Reason.DEADLINE, Reason.SERVER_DRAINING, Reason.CANCELLED])
def test_a_stop_after_content_breaks_the_attempt_and_blames_nobody(stop: Reason) -> None:
    """What was asked for is not done, with its reason, and neither circuit nor budget hears of a failure."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.show(RESTART)
    broken = told(house.stop(stop))
    assert (broken.applied, broken.then) == (FAIL, Fail(stop))
    assert broken.degraded_because == broken.failure.message
    assert house.said("a/m") == [["succeeded", "ended"]]


def test_a_break_speaks_of_the_target_besides_its_success() -> None:
    """The content was a success, the break is a failure of its own; one that its caller brought about is none."""
    for by_caller, words in ((False, ["succeeded", "failed", "ended"]), (True, ["succeeded", "ended"])):
        house = MachineHouse(["a/m"], ["b/m"])
        house.show()
        house.fail(F.STALLED, by_caller=by_caller)
        assert house.said("a/m") == [words]


def test_an_answer_that_nobody_saw_is_replaced_in_silence() -> None:
    """Without a stream nothing is shown before the whole answer, so nothing is told and nothing degrades."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.begin(FAIL)
    assert candidates(house.fail(F.TRUNCATED)) == [1]
    assert house.dispatch(1) == Dispatch(2, 1, "k1", Why.FAILOVER)
