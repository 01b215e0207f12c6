"""What `agent-bridge check` tells of a configuration that can be used, and yet surely is not meant."""

import re
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.rehearsal import problems_of, rehearse
from bridge.surprises import surprises
from bridge.world import load_settings

SOURCE = """
[sources.orders]
adapter  = "webhook"
secrets  = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
callback = "{callback}"
"""
EMBEDDED = '[agents.local]\nkind = "embedded"\n'
REMOTE = '[agents.remote]\nkind = "xpander"\napi_key = "k"\nagent_id = "a"\nbase_url = "{url}"\n'
PUBLIC = "https://orders.example.com/answers"


def told(folder: Path, text: str) -> list[str]:
    config = folder / "bridge.toml"
    config.write_text(text, "utf-8")
    return surprises(load_settings(config, {}))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("callback", ["http://127.0.0.1:9000/answers", "http://orders.example.com/answers"])
def test_a_callback_that_will_be_refused_is_told_before_the_first_answer_dies_of_it(
    tmp_path: Path, callback: str
) -> None:
    (warning,) = told(tmp_path, EMBEDDED + SOURCE.format(callback=callback))
    assert warning.startswith(f"sources.orders: {callback} will not be called (")
    assert "allow_private_callbacks" in warning
    allowed = "allow_private_callbacks = true\n"
    assert told(tmp_path, EMBEDDED + SOURCE.format(callback=callback) + allowed) == []
    assert told(tmp_path, EMBEDDED + SOURCE.format(callback=PUBLIC)) == []


def test_a_callback_that_is_no_address_is_told_as_one_that_is_not_called(tmp_path: Path) -> None:
    (warning,) = told(tmp_path, EMBEDDED + SOURCE.format(callback="https://[::1"))
    assert warning.startswith("sources.orders: https://[::1 will not be called (")


MAIL = """
[sources.{name}]
adapter     = "email"
address     = "{name}@example.com"
ingress     = "lmtp"
listen      = "127.0.0.1:8024"
authserv_id = "mx.example.com"
smtp_url    = "maildir:sent"
"""


def test_two_sources_that_receive_at_one_place_are_told(tmp_path: Path) -> None:
    (warning,) = told(tmp_path, EMBEDDED + MAIL.format(name="first") + MAIL.format(name="second"))
    assert warning.startswith("sources.second receives at lmtp://127.0.0.1:8024, as sources.first does")


def test_two_mailboxes_at_one_server_are_two_places(tmp_path: Path) -> None:
    watched = 'ingress = "imap"\nimap_url = "imaps://{name}%40example.com:hunter2@imap.example.com/INBOX"\n'
    boxes = (re.sub(r"(?ms)^ingress.*?^(?=smtp_url)", watched, MAIL).format(name=name) for name in ("first", "second"))
    assert told(tmp_path, EMBEDDED + "".join(boxes)) == []
    settings = load_settings(tmp_path / "bridge.toml", {})
    assert settings.receives_at(settings.sources["first"]) == "imaps://first%40example.com@imap.example.com/INBOX"


def test_an_agent_on_this_machine_opens_links_that_lead_here(tmp_path: Path) -> None:
    source = SOURCE.format(callback=PUBLIC)
    (warning,) = told(tmp_path, REMOTE.format(url="https://agents.example.com") + source)
    assert "agents.remote is elsewhere" in warning
    assert told(tmp_path, REMOTE.format(url="http://127.0.0.1:8090") + source) == []


MANY = """
[bridge]
log_level = "loud"

[agents.local]
kind = "embedded"

[agents.mine]
kind     = "embedded"
brain    = "python"
function = "nobody_has:this"

[sources.first]
adapter = "webhook"
agent   = "local"
busy    = "drop"
secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]

[sources.second]
adapter   = "webhook"
agent     = "local"
secrets   = ["whsec_not base64"]
reply_via = { source = "first", address = "C1" }

[sources.third]
adapter  = "webhook"
agent    = "local"
secrets  = ["${NOT_SET}"]

[sources.fourth]
adapter  = "webhook"
agent    = "local"
secrets  = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
callback = "ftp://orders.example.com"
"""


async def test_what_only_building_finds_is_told_with_the_rest(tmp_path: Path) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text(MANY, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(config, {})
    told = await problems_of(config, {}, caught.value)
    assert sorted(problem.partition(":")[0] for problem in told.problems) == [
        "agents.mine.function",
        "bridge.log_level",
        "sources.first.busy",
        "sources.fourth.callback",
        "sources.second.secrets[0]",
        "sources.third.secrets[0]",
    ]
    assert not (tmp_path / "data" / "secret_key").exists(), "what has a mistake makes no secrets"


async def test_a_file_that_is_no_toml_is_told_once(tmp_path: Path) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text("[agents", "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(config, {})
    assert (await problems_of(config, {}, caught.value)).problems == caught.value.problems


def test_a_source_is_not_told_to_choose_among_no_agents(tmp_path: Path) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text(SOURCE.format(callback=PUBLIC), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(config, {})
    assert caught.value.problems == ("agents: needs at least one table, such as [agents.demo]",)


SETTINGS = "from pydantic import BaseModel\nclass Settings(BaseModel): pass\n"
BROKEN = {
    "syntax": ("def build(:", "invalid syntax"),
    "import": ("raise KeyError('key')", "KeyError: 'key' (import.py, line 1)"),
    "bare": ("", "needs Settings, a pydantic model, and build(settings, kit)"),
    "number": ("Settings = 5\ndef build(settings, kit): ...", "needs Settings"),
    "builder": (SETTINGS, "needs Settings, a pydantic model, and build(settings, kit)"),
    "building": (SETTINGS + "def build(settings, kit): {}['key']", "KeyError: 'key' (building.py, line 3)"),
    "built": (SETTINGS + "def build(settings, kit): return kit", "needs max_chars, receive and send"),
    "busy": (SETTINGS + "def build(settings, kit): ...\nBUSY = 'drop'", "its BUSY should be one of collect, queue"),
    "most": (
        SETTINGS + "def build(settings, kit): ...\nMAX_BODY = '1 MiB'",
        "its MAX_BODY should be a number of bytes",
    ),
}
ADAPTER = """
class Adapter:
    max_chars = 4000
    async def receive(self, envelope): ...
    async def send(self, message): ...
    async def find(self, message): ...
    def budget(self, message): ...
def build(settings, kit): return Adapter()
"""
MISFITS = {
    "max_chars = '4000'": "max_chars is no number of characters",
    "def receive(self, envelope): ...": "receive is no `async def`",
    "async def send(self): ...": "send is called with (message)",
    "async def find(self, message, other): ...": "find is called with (message)",
    "async def budget(self, message): ...": "budget is an `async def` and should be a `def`",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_adapter_of_ones_own_is_told_in_a_sentence(tmp_path: Path, name: str) -> None:
    code, said = BROKEN[name]
    (tmp_path / f"odd_{name}").mkdir()
    (tmp_path / f"odd_{name}" / f"{name}.py").write_text(code, "utf-8")
    config = tmp_path / "bridge.toml"
    config.write_text(f"{EMBEDDED}[sources.a]\nadapter = 'odd_{name}.{name}'\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        await rehearse(load_settings(config, {}))
    (line,) = caught.value.problems
    assert line.startswith("sources.a.adapter: ")
    assert said in line


@pytest.mark.parametrize("number", range(len(MISFITS)))
async def test_a_method_that_cannot_be_called_is_told_before_a_message_comes(tmp_path: Path, number: int) -> None:
    line, said = list(MISFITS.items())[number]
    name = line.split()[0] if "=" in line else line.partition("(")[0].split()[-1]
    kept = [one for one in ADAPTER.splitlines() if f" {name}(" not in one and f" {name} " not in one]
    (tmp_path / f"misfit_{number}").mkdir()
    code = "\n".join([*kept[:2], f"    {line}", *kept[2:]])
    (tmp_path / f"misfit_{number}" / "one.py").write_text(SETTINGS + code, "utf-8")
    config = tmp_path / "bridge.toml"
    config.write_text(f"{EMBEDDED}[sources.a]\nadapter = 'misfit_{number}.one'\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        await rehearse(load_settings(config, {}))
    assert caught.value.problems == (f"sources.a.adapter: what 'misfit_{number}.one' builds does not fit: {said}",)


@pytest.mark.parametrize("name", ["plugins/acme_chat.py", "./acme", ".acme", "acme_chat", "plugins.acme:Acme", "a..b"])
def test_a_name_of_another_form_is_told_how_to_name_a_module(tmp_path: Path, name: str) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text(f"{EMBEDDED}[sources.a]\nadapter = '{name}'\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(config, {})
    assert 'such as "plugins.acme_chat"' in caught.value.problems[0]
