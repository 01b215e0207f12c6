"""What the README says is so: its commands run, its examples load, its tables are the code's, its adapter adapts."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest
import typer.main
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from adapters.email.settings import Settings as Email
from adapters.slack.settings import Settings as Slack
from adapters.webhook.settings import Settings as Webhook
from bridge import options, places
from bridge.adapters_by_name import adapter_module
from bridge.cli import cli
from bridge.rehearsal import rehearse
from bridge.world import load_settings
from tests.adapters.contract import AdapterContract, Descriptor
from tests.end_to_end.serving import free_port

ROOT = Path(__file__).parents[1]
DOCS = ("docs/adapters.md", "docs/webhooks.md", "docs/email.md", "docs/operating.md")
PROSE = ("README.md", *DOCS, "deploy/mail/README.md", "adapters/slack/README.md")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PATIENCE_SECONDS = 30

BRIDGE = "[bridge]\n"
AGENT = '[agents.support]\nkind = "embedded"\n'
SOURCE = f'[sources.anything]\nadapter = "webhook"\nsecrets = ["{SECRET}"]\n'


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    """What stands in fences of this language, without the indentation of the fence."""
    fences = re.finditer(r"(?ms)^( *)```(\w*)\n(.*?)^ *```$", text_of(page))
    return [re.sub(rf"(?m)^{fence[1]}", "", fence[3]) for fence in fences if fence[2] == language]


def titled(page: str, title: str) -> str:
    """The Python block that begins with this file name, without it."""
    (found,) = (block for block in blocks(page, "python") if block.startswith(f"# {title}\n"))
    return found.partition("\n")[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory that holds the pages' Python files, as an operator's would."""
    (tmp_path / "plugins").mkdir()
    for page, name in (
        ("README.md", "my_agent.py"),
        ("README.md", "plugins/acme_chat.py"),
        ("adapters/slack/README.md", "my_rules.py"),
    ):
        (tmp_path / name).write_text(titled(page, name), "utf-8")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in ("my_agent", "my_rules", "plugins", "plugins.acme_chat"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("page", "toml"), [(page, block) for page in PROSE for block in blocks(page, "toml")])
async def test_every_toml_example_can_be_served(page: str, toml: str, folder: Path) -> None:
    missing = [table for table, name in ((AGENT, "[agents."), (SOURCE, "[sources.")) if name not in toml]
    if re.search(r'agent\s*= "support"', toml) and AGENT not in missing:
        missing.append(AGENT)
    (folder / "bridge.toml").write_text(toml + "\n" + "\n".join(missing), "utf-8")
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", toml), SECRET)
    settings = load_settings(None, environ)
    await rehearse(settings)
    assert settings.path == Path("bridge.toml"), page


def commands() -> list[tuple[str, str]]:
    written = r"agent-bridge ((?:[a-z]+ ?)+)"
    return sorted(
        {(page, found.strip()) for page in (*PROSE, "CHANGELOG.md") for found in re.findall(written, text_of(page))}
    )


@pytest.mark.parametrize(("page", "words"), commands())
def test_every_command_that_is_named_exists(page: str, words: str) -> None:
    command: Any = typer.main.get_command(cli)
    context = typer.Context(command)
    for word in words.split():
        if not hasattr(command, "get_command"):
            break  # what follows are arguments, or prose
        command = command.get_command(context, word)
        assert command is not None, f"{page}: agent-bridge {words}"


def test_every_option_of_a_command_that_is_named_exists() -> None:
    lines = [line for page in PROSE for line in re.findall(r"agent-bridge [a-z][^`\n#|]*", text_of(page))]
    for line in lines:
        command: Any = typer.main.get_command(cli)
        context = typer.Context(command)
        for word in shlex.split(line.replace("'", ""))[1:]:
            if hasattr(command, "get_command"):
                command = command.get_command(context, word) or command
            elif word.startswith("--"):
                assert word in {name for one in command.params for name in one.opts}, line


def table(page: str, after: str) -> dict[str, str]:
    """The first table below this line: option -> default."""
    rest = f"\n{text_of(page)}".partition(f"\n{after}\n")[2]
    rows = re.search(r"(?m)^\| option \|.*\n\|[-|]+\n((?:\|.*\n)+)", rest)
    assert rows, f"{page}: there is no table below {after!r}"
    cells = ([cell.strip() for cell in row.split("|")] for row in rows[1].splitlines())
    return {name.strip("`"): default.strip("`") for _, name, default, *_ in cells}


TABLES: list[tuple[str, str, type[BaseModel], type[BaseModel] | None]] = [
    ("README.md", "### `[bridge]`", options.BridgeOptions, None),
    ("README.md", "### `[bridge.limits]`", options.Limits, None),
    ("README.md", 'With `kind = "xpander"`:', options.RemoteAgent, options.AgentOptions),
    ("README.md", 'With `kind = "embedded"`:', options.EmbeddedAgent, options.AgentOptions),
    ("README.md", "### `[agents.NAME.defaults]` and `[sources.NAME.defaults]`", options.RequestDefaults, None),
    ("README.md", "### `[sources.NAME]`", options.SourceOptions, None),
    ("docs/webhooks.md", "## Options", Webhook, None),
    ("docs/email.md", "# Email", Email, None),
]


@pytest.mark.parametrize(("page", "after", "model", "but"), TABLES)
def test_the_tables_are_the_models(page: str, after: str, model: type[BaseModel], but: type[BaseModel] | None) -> None:
    left_out = {"kind", *but.model_fields} if but else set()
    fields = {name: field for name, field in model.model_fields.items() if name not in left_out}
    written = table(page, after)
    assert written.keys() == fields.keys()
    assert [name for name, field in fields.items() if not is_told(field, written[name])] == []


def test_the_table_of_all_agents_is_the_model() -> None:
    written = table("README.md", "### `[agents.NAME]`")
    fields = options.AgentOptions.model_fields
    assert written.keys() == {"kind", *fields}
    assert all(is_told(field, written[name]) for name, field in fields.items())


def test_slacks_table_names_every_option() -> None:
    told = set(
        re.findall(
            r"`([a-z_]+)(?:\.<id>)?`", "".join(re.findall(r"(?m)^\| (`.*?) \|", text_of("adapters/slack/README.md")))
        )
    )
    assert set(Slack.model_fields) <= told


def is_told(field: FieldInfo, written: str) -> bool:
    """Whether the cell is the default, as TOML; where that is empty, words may say what happens then."""
    if field.is_required():
        return written == "required"
    value = field.get_default(call_default_factory=True)
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text is None or isinstance(text, BaseModel) or (not text and isinstance(text, str | tuple | dict)):
        return written in {'""', "[]", "{}"} or not re.match(r'["\[{\d]', written)
    return written == in_toml(text)


def in_toml(value: Any) -> str:
    """A default as people would write it."""
    match value:
        case places.Listen():
            return json.dumps(str(value))
        case timedelta():
            return json.dumps(_time(value))
        case int() if value == 25 << 20:
            return '"25 MiB"'
        case _:
            return json.dumps(value)


def _time(value: timedelta) -> str:
    """In the largest unit that fits, days from two on."""
    seconds = int(value.total_seconds())
    if seconds < 60:
        return f"{seconds}s"
    return f"{value.days}d" if value.days > 1 else f"{seconds // 3600}h" if seconds >= 3600 else f"{seconds // 60}m"


def run(line: str, folder: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        ("sh", "-c", line),
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def served(folder: Path, environ: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(("agent-bridge", "serve"), cwd=folder, env=environ, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _is_ready(environ["BRIDGE_LISTEN"]):
            assert process.poll() is None and time.monotonic() < deadline, "it does not start"  # noqa: PT018
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _is_ready(address: str) -> bool:
    try:
        return httpx2.get(f"http://{address}/readyz", trust_env=False).is_success
    except httpx2.TransportError:
        return False


def test_the_quick_start_runs_in_an_empty_folder(tmp_path: Path) -> None:
    bin_folder = str(Path(sys.executable).parent)
    environ = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "BRIDGE_LISTEN": f"127.0.0.1:{free_port()}"}
    environ.pop("BRIDGE_CONFIG", None)
    first, second = blocks("README.md", "sh")[:2]
    targets = re.findall(r"(?m)^make (\w+)", first)
    assert targets == ["demo", "run"]
    assert all(f"\n{target}: setup\n" in text_of("Makefile") for target in targets)
    lines = [line.partition("  #")[0].strip() for line in second.splitlines() if line.startswith("agent-bridge")]
    with served(tmp_path, environ):
        said = [run(line, tmp_path, environ) for line in lines if line.endswith("| sh")]
        last = json.loads(said[-1])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := httpx2.get(last["status_url"], trust_env=False).json())["state"] != "answered":
            assert time.monotonic() < deadline, found
        assert "Ada" in found["result"]
        rest = [run(line, tmp_path, environ) for line in lines if not line.endswith("| sh")]
    assert any("accepted   2" in printed for printed in rest)


def test_a_port_that_is_taken_is_told_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environ = os.environ | {"BRIDGE_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}"}
        command = (sys.executable, "-m", "bridge", "serve")
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Cannot listen on 127.0.0.1:")


def test_the_environment_is_named_where_make_puts_it() -> None:
    assert ". .venv/bin/activate" in text_of("README.md")
    assert "VENV   := .venv" in text_of("Makefile")


def test_every_make_target_and_every_file_that_is_named_exists() -> None:
    targets = set(re.findall(r"`make ([\w-]+)`", text_of("README.md")))
    assert all(f"\n{target}: setup" in text_of("Makefile") or target == "setup" for target in targets)
    for page in PROSE[:5]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", text_of(page)):
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"


def test_every_route_that_is_named_is_served() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "bridge" / "web").glob("*.py"))
    rows = text_of("README.md").partition("\n## HTTP\n")[2].partition("\n## ")[0]
    routes = re.findall(r"`(?:GET|POST|DELETE) (/[^`]*)`", rows)
    assert routes
    for route in routes:
        assert f'"{route}"' in code, route


# The adapter of the README, held to the contract of every adapter by the test that docs/adapters.md shows.


def module_of(page: str, title: str, name: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(titled(page, title), page, "exec"), module.__dict__)  # noqa: S102 - our own pages
    return module


def contract_of_the_docs() -> type[AdapterContract]:
    plugins = ModuleType("plugins")
    plugins.__dict__["acme_chat"] = module_of("README.md", "plugins/acme_chat.py", "acme_chat_of_the_readme")
    sys.modules["plugins"] = plugins
    try:
        found: type[AdapterContract] = module_of(
            "docs/adapters.md", "test_acme_chat.py", "test_of_the_docs"
        ).TestAcmeChat
    finally:
        del sys.modules["plugins"]
    return found


class TestTheAdapterOfTheReadme(contract_of_the_docs()):  # type: ignore[misc]
    pass


class TestAPlatformWhoseProofIsInTheBody(contract_of_the_docs()):  # type: ignore[misc]
    """The suite asks for no header where there is none to ask for."""

    def descriptor(self) -> Descriptor:
        described: Descriptor = super().descriptor()
        return replace(described, security_headers=())


def test_the_contract_is_kept_to_from_a_folder_outside_the_repository(folder: Path) -> None:
    (folder / "test_acme_chat.py").write_text(titled("docs/adapters.md", "test_acme_chat.py"), "utf-8")
    (line,) = (block for block in blocks("docs/adapters.md", "sh") if "PYTHONPATH" in block)
    command = line.replace("$CLONE/.venv/bin/python", sys.executable)
    run = subprocess.run(
        ["sh", "-c", command], env={**os.environ, "CLONE": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout


def test_an_adapter_of_ones_own_is_found_where_the_bridge_is_started(folder: Path) -> None:
    assert str(folder) not in sys.path
    assert adapter_module("plugins.acme_chat").Settings.model_fields.keys() >= {"secret", "token", "bot"}


def test_a_misspelt_adapter_is_told_the_nearest_one(folder: Path) -> None:
    assert folder.exists()
    with pytest.raises(LookupError, match='did you mean "webhook"'):
        adapter_module("webhok")
