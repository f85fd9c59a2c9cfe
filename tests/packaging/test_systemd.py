"""The systemd unit: it says what the command takes, drains as long as it may, and gives nothing away."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.packaging.packaged import UNIT, flags_of, serve_flags


def settings() -> dict[str, list[str]]:
    """Return the unit's settings, each with all its values."""
    text = UNIT.read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if re.match(r"\w+=", line):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def command() -> list[str]:
    return settings()["ExecStart"][0].split()


def test_it_starts_the_server_with_flags_that_there_are() -> None:
    """Every flag is one of `trunkline serve`."""
    program, verb, *args = command()
    assert program.endswith("/bin/trunkline")
    assert verb == "serve"
    assert set(flags_of(args)) <= serve_flags()


def test_it_is_given_time_to_drain() -> None:
    """It is killed only when load balancers were told, calls had their grace, and a few seconds more are over."""
    flags = flags_of(command())
    drain_s = float(flags["--lb-wait-s"]) + float(flags["--drain-grace-s"])
    assert float(settings()["TimeoutStopSec"][0]) >= drain_s + 5
    assert settings()["KillSignal"] == ["SIGTERM"]


def test_a_reload_is_a_signal() -> None:
    """`systemctl reload` sends what the server reads its routes on."""
    assert settings()["ExecReload"] == ["kill -HUP $MAINPID"]


def test_state_and_secrets_are_where_the_flags_say() -> None:
    """The data directory is the unit's own, and secrets come as credentials."""
    flags, told = flags_of(command()), settings()
    assert flags["--data-dir"] == f"%S/{told['StateDirectory'][0]}"
    assert flags["--secrets-dir"] == "%d"
    assert told["LoadCredential"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""),
        ("StateDirectoryMode", "0700"),
    ],
)
def test_it_is_fenced_in(name: str, value: str) -> None:
    """It may do what it needs to, and nothing else."""
    assert settings()[name] == [value]


def analyzer() -> str:
    """Return systemd's own checker: no Python and no Go program, so it is there or it is not."""
    path = shutil.which("systemd-analyze")
    if path is None:
        pytest.skip("systemd-analyze is not on this machine: the unit is checked by the tests above alone")
    return path


def test_systemd_reads_it(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, once the command is one that is there."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(command()[0], sys.executable))
    done = subprocess.run([analyzer(), "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_misspelt_unit_is_noticed(tmp_path: Path) -> None:
    """The check above can fail: a setting that there is not is told."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(command()[0], sys.executable).replace("ProtectHome=", "ProtectHouse="))
    done = subprocess.run([analyzer(), "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert "ProtectHouse" in done.stderr
