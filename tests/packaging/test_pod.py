"""The pod as Kubernetes would run it: started with the manifest's own arguments, asked by its probes, and ended."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.packaging.packaged import KUBERNETES, flags_of, manifests
from tests.rpc.certificates import Authority

WAIT_S = 20.0


@dataclass
class Pod:
    process: subprocess.Popen[str]
    ready: dict[str, str]
    routes: Path

    def ask(self, path: str) -> tuple[int, str]:
        port = self.ready["http"].rpartition(":")[2]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    """Start the server with the Deployment's arguments on free ports, each directory of theirs mounted below ours."""
    container = manifests()["Deployment/trunkline"]["spec"]["template"]["spec"]["containers"][0]
    flags = flags_of(container["args"][1:])
    for mount in container["volumeMounts"]:
        (tmp_path / mount["mountPath"].lstrip("/")).mkdir(parents=True)
    paths = {flag: tmp_path / value.lstrip("/") for flag, value in flags.items() if value.startswith("/")}
    shutil.copy(KUBERNETES / "routes.yaml", paths["--routes"])
    (paths["--secrets-dir"] / "openai").write_text("sk-nothing")
    pair = Authority().server()
    paths["--tls-cert"].write_bytes(pair.cert_pem)
    paths["--tls-key"].write_bytes(pair.key_pem)
    listens = {flag: "0.0.0.0:0" for flag in flags if flag.endswith("listen")}
    given = flags | {flag: str(path) for flag, path in paths.items()} | listens | {"--lb-wait-s": "0"}
    arguments = [f"{flag}={value}" for flag, value in given.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "trunkline_server", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().split()
        assert line[:1] == ["ready"]
        yield Pod(process, dict(part.split("=", 1) for part in line[1:]), paths["--routes"])
    finally:
        process.kill()
        process.wait(WAIT_S)
        if process.stdout is not None:
            process.stdout.close()


def version_of(pod: Pod) -> float:
    lines = pod.ask("/metrics")[1].splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("trunkline_routes_version "))


def test_probes_and_scrapes_are_answered_and_sigterm_ends_it(pod: Pod) -> None:
    """It is alive and ready, tells its metrics, and leaves with code 0 when it is told to."""
    assert pod.ask("/healthz")[0] == 200
    assert pod.ask("/readyz")[0] == 200
    assert version_of(pod) >= 1
    told = pod.ask("/metrics")[1]
    assert 'trunkline_key_state{key="main",provider="openai",state="ACTIVE"} 1.0' in told
    assert "sk-nothing" not in told
    pod.process.send_signal(signal.SIGTERM)
    assert pod.process.wait(WAIT_S) == 0


def test_new_routes_are_taken_over_without_a_restart(pod: Pod) -> None:
    """A ConfigMap that changes is a new version of the routes within seconds, in the same process."""
    before = version_of(pod)
    fresh = pod.routes.with_name("fresh.yaml")
    fresh.write_text(pod.routes.read_text().replace("gpt-4o-mini", "gpt-4o"))
    fresh.replace(pod.routes)
    give_up_at = time.monotonic() + WAIT_S
    while version_of(pod) == before and time.monotonic() < give_up_at:
        time.sleep(0.2)
    assert version_of(pod) == before + 1
    assert pod.process.poll() is None
