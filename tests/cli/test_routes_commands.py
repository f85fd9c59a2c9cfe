"""The admin commands against a port that answers what the test says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.cli.admin_answers import NOW_S, canary, finding, rejected, status, version

from trunkline import v1 as pb
from trunkline_server.cli import durations

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.cli.fake_admin import FakeAdmin


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "now", lambda: float(NOW_S))


def test_show_prints_the_document_alone(fake: FakeAdmin, run: Run) -> None:
    """Standard output is the document, its facts go to standard error."""
    fake.answers["GetRoutes"] = pb.GetRoutesResponse(
        version=version(), document="version: 1\n", canary=canary(), last_rejected=rejected()
    )
    ended = run("routes", "show", "8")
    assert (ended.code, ended.out, fake.requests[0].version) == (0, "version: 1\n", 8)
    assert "version 8 (etag v8-0123456789ab): running, from reload, published 3 min ago by oncall" in ended.err
    assert "canary: version 9 has 5 %: 1 of 40 calls failed" in ended.err
    assert "last rejected: 1 min ago, from file, 3 findings" in ended.err


def test_history_cuts_the_reason_and_names_the_next_page(fake: FakeAdmin, run: Run) -> None:
    """The table fits 100 columns, its etags are whole."""
    page = pb.ListRouteVersionsResponse(versions=[version(reason="why " * 50)])
    page.next_page_token = "page-2"  # noqa: S105 - of a list, no secret
    fake.answers["ListRouteVersions"] = page
    ended = run("routes", "history", "--page-size", "5", "--after", "page-1")
    assert max(map(len, ended.out.splitlines())) <= 100
    assert "v8-0123456789ab" in ended.out
    assert "…" in ended.out
    assert "--after page-2" in ended.err
    assert (fake.requests[0].page_size, fake.requests[0].page_token) == (5, "page-1")


@pytest.mark.parametrize(
    ("valid", "no_op", "code"), [(True, True, 0), (True, False, 2), (False, False, 1)], ids=["same", "changes", "bad"]
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_plan_is_told_by_its_exit_code(
    fake: FakeAdmin, run: Run, form: tuple[str, ...], code: int, *, valid: bool, no_op: bool
) -> None:
    """0 is nothing to do, 2 changes, 1 findings, also for programs."""
    fake.answers["PlanRoutes"] = pb.PlanRoutesResponse(valid=valid, no_op=no_op)
    assert run("routes", "plan", *form).code == code
    assert not fake.requests[0].HasField("source")


def test_a_plan_shows_findings_changes_and_traffic(fake: FakeAdmin, run: Run, tmp_path: Path) -> None:
    """Findings go where `check` has them, and values that are sensitive stay hidden."""
    plan = pb.PlanRoutesResponse(valid=True, base_version=8, base_etag="v8", findings=[finding(warning=True)])
    plan.changes.add(op=pb.RouteChange.OP_REPLACE, path="providers.a.keys[k].weight", before="3", after="5")
    plan.changes.add(op=pb.RouteChange.OP_REPLACE, path="providers.a.keys[k].secret", sensitive=True)
    plan.traffic.add(alias="default", share=0.125, recent_calls=1234, share_of_all=0.9)
    fake.answers["PlanRoutes"] = plan
    path = tmp_path / "new.yaml"
    path.write_text("version: 1\n")
    ended = run("routes", "plan", str(path))
    assert ended.out.splitlines() == [
        "change   path                        before    after",
        "replace  providers.a.keys[k].weight  3         5",
        "replace  providers.a.keys[k].secret  (hidden)  (hidden)",
        "",
        "alias     moves  calls in 5 min  of all calls",
        "default  12.5 %            1234          90 %",
        "",
        "2 changes from version 8 (etag v8)",
    ]
    assert ended.err == f"{path}:12: warning: aliases.default: no such field: x [unknown_field]\n"
    assert fake.requests[0].source == "version: 1\n"


def test_a_reload_carries_everything_that_was_asked(fake: FakeAdmin, run: Run) -> None:
    """Etag, reason, request id, share and guard go with the request, under a deadline."""
    fake.answers["ReloadRoutes"] = pb.ReloadRoutesResponse(version=version(9), canary=canary())
    words = "--if-match e --reason why --request-id r --canary 0.05 --canary-window-s 90 --max-error-ratio 0"
    ended = run("routes", "reload", *words.split(), "--timeout-s", "5", "--token", "t")
    sent = fake.requests[0]
    assert (ended.code, sent.if_match_etag, sent.reason, sent.request_id) == (0, "e", "why", "r")
    assert (sent.canary_fraction, sent.guard.window.seconds, sent.guard.error_ratio) == (0.05, 90, 0)
    assert sent.guard.HasField("error_ratio")
    assert not sent.guard.HasField("first_token_ratio")
    assert ended.out.startswith("on trial: version 9")
    assert fake.tokens == ["Bearer t"]
    assert 0 < (fake.deadlines_s[0] or 0) < 6  # rounded on the wire


def test_a_stale_etag_says_what_runs_and_what_to_do(fake: FakeAdmin, run: Run) -> None:
    """The loser of two operators is told the version that won."""
    fake.refuse("ReloadRoutes", "ABORTED", "STALE_ETAG", metadata={"current_version": "9", "current_etag": "v9"})
    ended = run("routes", "reload", "--if-match", "v8")
    assert (ended.code, ended.out) == (1, "")
    assert "failed: ABORTED STALE_ETAG" in ended.err
    assert "current_version: 9" in ended.err
    assert "plan again" in ended.err


def test_a_refused_document_is_told_with_its_findings(fake: FakeAdmin, run: Run) -> None:
    """Findings come as paths with what is wrong; with --json in one object."""
    fake.refuse("ReloadRoutes", "INVALID_ARGUMENT", "BAD_REQUEST", violations=[("aliases.x", "unknown target")])
    assert "  aliases.x: unknown target" in run("routes", "reload").err
    told = json.loads(run("routes", "reload", "--json").out)
    assert told["violations"] == [{"field": "aliases.x", "description": "unknown target"}]


def test_a_rollback_names_what_runs_and_what_ended(fake: FakeAdmin, run: Run) -> None:
    """The ended canary and the running version are told."""
    fake.answers["RollbackRoutes"] = pb.RollbackRoutesResponse(version=version(), ended_canary=9)
    ended = run("routes", "rollback", "7", "--dry-run")
    assert ended.out.startswith("canary ended: version 9\nrunning: version 8")
    assert (fake.requests[0].to_version, fake.requests[0].dry_run) == (7, True)


def test_watch_prints_a_line_an_event(fake: FakeAdmin, run: Run) -> None:
    """Idle bookmarks are left out, and the end says how to go on."""
    mark = pb.WatchRoutesResponse(bookmark=pb.WatchRoutesResponse.Bookmark(version=8, etag="e"))
    applied = pb.WatchRoutesResponse(applied=pb.WatchRoutesResponse.Applied(version=version(9), fraction=0.05))
    back = pb.WatchRoutesResponse(
        rolled_back=pb.WatchRoutesResponse.RolledBack(version=9, to=version(8), by="guard", reason="errors")
    )
    messages = [mark, mark, pb.WatchRoutesResponse(rejected=rejected()), applied, back]
    for message in messages:
        message.at.seconds = NOW_S
    fake.answers["WatchRoutes"] = messages
    ended = run("routes", "watch", "--after", "7")
    kinds = [line.split()[1] for line in ended.out.splitlines()]
    assert (ended.code, kinds) == (1, ["watching", "rejected", "applied", "rolled"])
    assert "--after 9" in ended.err
    assert fake.deadlines_s[0] is None or fake.deadlines_s[0] > 1e6
    assert len(run("routes", "watch", "--json").out.splitlines()) == 5


def test_overrides_carry_their_ttl(fake: FakeAdmin, run: Run) -> None:
    """A mode and a time to live go with the word; taking it back needs none."""
    held = status().targets[1].override
    fake.answers["OverrideTarget"] = pb.OverrideTargetResponse(override=held)
    fake.answers["OverrideKey"] = pb.OverrideKeyResponse()
    ended = run("targets", "force-open", "a/b/c", "--ttl", "1h30m", "--reason", "r")
    assert ended.out == "target a/b/c: drain for 10 min by oncall: their status page (until 2027-01-15T08:10:00Z)\n"
    assert (fake.requests[0].mode, fake.requests[0].ttl.seconds) == (pb.OVERRIDE_MODE_FORCE_OPEN, 5400)
    assert run("keys", "clear", "openai/team-a").out == "key openai/team-a: nothing is said of it any more\n"
    assert not fake.requests[1].HasField("ttl")


def test_drain_says_what_runs_and_until_when(fake: FakeAdmin, run: Run) -> None:
    """The grace goes with the request, none means the server's own."""
    answer = pb.DrainResponse(in_flight=2)
    answer.ends.seconds = NOW_S + 30
    fake.answers["Drain"] = answer
    assert "2 calls in flight; what still runs is cut in 30 s" in run("drain", "--grace-s", "0").out
    assert fake.requests[0].HasField("grace")


@pytest.mark.parametrize("words", [["status"], ["targets"], ["keys"], ["top", "--once"]], ids=" ".join)
def test_tables_fit_and_are_plain(fake: FakeAdmin, run: Run, words: list[str]) -> None:
    """No line is wider than 100 columns, and none has a colour where nobody sees one."""
    fake.answers["GetStatus"] = status()
    ended = run(*words)
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) <= 100
    assert "\x1b" not in ended.out
    assert "openai/" in ended.out
    assert json.loads(run(*words, "--json").out)["keys"][0]["key_id"] == "team-a"


@pytest.mark.parametrize(
    "words",
    ["routes show 0", "routes history --page-size 0", "routes reload --max-error-ratio 1", "routes reload --canary 1",
     "keys drain a/b", "keys drain a --ttl 5m", "keys drain a/b --ttl 5", "targets drain a/b --ttl 8d",
     "drain --grace-s -1", "top --every 1ms", "status --cert x", "routes shwo"],
)  # fmt: skip
def test_what_cannot_be_meant_is_a_wrong_command_line(run: Run, words: str) -> None:
    """Exit code 2, and nothing is sent."""
    ended = run(*words.split())
    assert (ended.code, ended.out) == (2, "")
    assert "--help` says what it takes" in ended.err


def test_the_role_and_the_token_are_told(fake: FakeAdmin, run: Run) -> None:
    """A viewer hears which role it takes, a stranger which variable."""
    fake.refuse("Drain", "PERMISSION_DENIED", "PERMISSION_DENIED")
    fake.refuse("GetStatus", "UNAUTHENTICATED", "UNAUTHENTICATED")
    assert "role operator" in run("drain").err
    assert "TRUNKLINE_ADMIN_TOKEN" in run("status").err
