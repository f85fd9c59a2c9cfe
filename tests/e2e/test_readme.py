"""What the README shows works as it stands there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.serving import serve

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

README = (Path(__file__).parents[2] / "README.md").read_text()
ADDRESS = "127.0.0.1:50051"
KEYS = {"OPENAI_API_KEY_A": "sk-a", "OPENAI_API_KEY_B": "sk-b", "ANTHROPIC_API_KEY": "sk-ant-a"}


def block(language: str, containing: str = "") -> str:
    """Return the first code block of a language that contains some text."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in blocks if containing in text)


def routes() -> str:
    """Return the first configuration, with the simulator in place of OpenAI."""
    text = block("yaml").replace("{", "{{").replace("}", "}}")
    return text.replace("https://api.openai.com/v1", "{base}")


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def test_the_order_of_the_sections() -> None:
    """What it is, demo, configuration, calling, deciding, operating, figures."""
    assert re.findall(r"^## (.*)$", README, re.MULTILINE)[:6] == [
        "See it work",
        "A first configuration",
        "Calling it",
        "How it decides",
        "Operating it",
        "Figures",
    ]


async def test_the_first_configuration_checks(tmp_path: Path) -> None:
    """`trunkline check` has nothing against it."""
    path = tmp_path / "routes.yaml"
    path.write_text(block("yaml"))
    settings = [f"{name}={value}" for name, value in KEYS.items()]
    await run("env", *settings, sys.executable, "-m", "trunkline_server", "check", str(path))


async def test_the_python_example_runs(gateway: Gateways, tmp_path: Path) -> None:
    """The example prints the answer as it comes."""
    async with gateway(routes=routes(), environ=KEYS) as running:
        script = tmp_path / "example.py"
        script.write_text(block("python").replace(ADDRESS, running.address))
        assert "You said: hi" in await run(sys.executable, str(script))


async def test_the_grpcurl_line_runs(gateway: Gateways, program: Callable[[str], str]) -> None:
    """The line works by reflection, without any files."""
    grpcurl = program("grpcurl")
    line = block("console", "grpcurl").removeprefix("$ grpcurl").replace("\\\n", " ")
    async with gateway(routes=routes(), environ=KEYS) as running:
        answer = json.loads(await run(grpcurl, *shlex.split(line.replace(ADDRESS, running.address))))
        assert answer["message"]["parts"][0]["text"] == "You said: hi"


async def test_the_operators_lines_run(tmp_path: Path) -> None:
    """Line by line, in a shell, against a server with the first configuration."""
    lines = re.findall(r"^\$ (.*)$", block("console", "trunkline routes show"), re.MULTILINE)
    assert len(lines) >= 14
    async with serve(tmp_path, routes(), "--data-dir", str(tmp_path / "data"), environ=KEYS) as running:
        environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TRUNKLINE_ADMIN_SERVER": running.admin,
        }
        for line in lines:
            process = await asyncio.create_subprocess_shell(
                line, cwd=tmp_path, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            said, _ = await asyncio.wait_for(process.communicate(), 30)
            expected = 2 if line.startswith("trunkline routes plan") else 0
            assert process.returncode == expected, (line, said.decode())
        assert await running.ended() == 0
