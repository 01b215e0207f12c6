"""What a configuration may say, and how it is told what is wrong with it."""

import os
import stat
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from bridge.errors import ConfigError
from bridge.loading import load
from bridge.options import (
    BridgeOptions,
    EmbeddedAgent,
    Limits,
    Person,
    RemoteAgent,
    ReplyVia,
    RequestDefaults,
    SourceOptions,
    guard_from,
)
from bridge.settings import Settings


class Hook(BaseModel):
    """An adapter's own options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheme: str = "standard"
    secrets: tuple[SecretStr, ...] = Field(min_length=1, examples=[["whsec_c2VjcmV0"]])
    callback: str | None = None


def hook_settings(adapter: str) -> type[BaseModel]:
    if adapter != "webhook":
        raise LookupError(f'there is no adapter "{adapter}"; known: webhook')
    return Hook


MINIMAL = """
[agents.support]
kind     = "xpander"
api_key  = "key"
agent_id = "agt_1"

[sources.orders]
adapter = "webhook"
secrets = ["whsec_c2VjcmV0"]
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(text: str, environ: Mapping[str, str] | None = None) -> Settings:
    Path("bridge.toml").write_text(text, encoding="utf-8")
    return load(None, environ or {}, hook_settings)


def problems(text: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(text, environ)
    return caught.value.problems


def test_a_short_file_is_filled_with_the_documented_defaults() -> None:
    settings = loaded(MINIMAL)
    bridge, limits = settings.bridge, settings.bridge.limits
    assert str(bridge.listen) == "127.0.0.1:8080"
    assert bridge.public_url == "http://127.0.0.1:8080"
    assert (bridge.database_url, bridge.files_url) == ("sqlite:///data/bridge.db", "data/files")
    assert (limits.attempts, limits.answer_age, limits.stuck) == (8, timedelta(hours=24), timedelta(hours=1))
    assert (limits.pause, limits.payloads) == (timedelta(days=7), timedelta(days=30))
    assert (limits.rows, limits.dedupe) == (timedelta(days=90), timedelta(days=14))
    source = settings.sources["orders"]
    assert (source.common.agent, source.common.busy, source.common.max_body) == ("support", None, None)
    assert isinstance(source.own, Hook)
    agent = settings.agents["support"]
    assert isinstance(agent, RemoteAgent)
    assert (agent.base_url, agent.mode, agent.timeout) == ("https://api.xpander.ai", "stream", timedelta(minutes=30))


def test_every_option_of_the_common_part_is_read() -> None:
    settings = loaded(
        """
        [bridge]
        listen = "[::1]:9000"
        public_url = "https://bridge.example.com/"
        database_url = "postgresql://user:password@host/db"
        secret_keys = ["${KEY}", "older-secret-key-123"]
        admin_token = "${TOKEN:-a-long-enough-token}"
        egress_allow = ["10.1.0.0/16", "Inside.Example.com"]
        [bridge.limits]
        attempts = 3
        stuck = "1h 30m"
        [agents.local]
        kind = "embedded"
        brain = "python"
        function = "acme.brain:answer"
        [agents.local.defaults]
        think_mode = "harder"
        output_schema = { type = "object" }
        user = { id = "nobody", email = "nobody@example.com" }
        [sources.team]
        adapter = "webhook"
        agent = "local"
        busy = "collect"
        max_body = "2 MiB"
        capture = true
        allow_private_callbacks = true
        secrets = ["$${literal}"]
        reply_via = { source = "team", address = "C1" }
        """,
        {"KEY": "newest-secret-key-123"},
    )
    assert settings.bridge.listen == ("::1", 9000)
    assert settings.bridge.public_url == "https://bridge.example.com"
    assert settings.bridge.secret_keys[0].get_secret_value() == "newest-secret-key-123"
    assert settings.bridge.limits.stuck == timedelta(minutes=90)
    agent, team = settings.agents["local"], settings.sources["team"]
    assert isinstance(agent, EmbeddedAgent)
    assert agent.defaults.user
    assert agent.defaults.user.email == "nobody@example.com"
    assert (team.common.busy, team.common.max_body, team.common.capture) == ("collect", 2_097_152, True)
    assert isinstance(team.own, Hook)
    assert team.own.secrets[0].get_secret_value() == "${literal}"
    guard = guard_from(settings.bridge, team.common)
    assert guard.allow_private
    assert guard.allow_networks == (ip_network("10.1.0.0/16"),)
    assert guard.allow_hosts == {"inside.example.com"}
    assert not Path("data").exists()


def test_every_problem_of_the_file_is_told_at_once_with_its_place_and_a_right_value() -> None:
    found = problems(
        """
        [bridge]
        listen = "8080"
        public_ulr = "https://x.example"
        [bridge.limits]
        stuck = "soon"
        [agents.support]
        kind = "xpander"
        api_key = "${MISSING_KEY}"
        mode = "fast"
        [sources.orders]
        adapter = "webhook"
        agent = "suport"
        busy = "drop"
        max_body = "1 parsec"
        secrets = ["${MISSING_SECRET}"]
        calback = "https://x.example"
        [sources.nothing]
        adapter = "webhoook"
        agent = "support"
        [sources.bare]
        adapter = "webhook"
        agent = "support"
        secrets = []
        [surces.x]
        """
    )
    assert {line.partition(": ")[0]: line.partition(": ")[2] for line in found} == {
        "bridge.listen": 'should be a host and a port; for example listen = "127.0.0.1:8080"',
        "bridge.public_ulr": 'is not an option; did you mean "public_url"?',
        "bridge.limits.stuck": (
            'write a time with its unit (ms, s, m, h, d, w), such as "30m" or "1h 30m"; for example stuck = "1h"'
        ),
        "agents.support.api_key": (
            'needs the environment variable MISSING_KEY, which is not set (or write "${MISSING_KEY:-default}")'
        ),
        "agents.support.mode": "should be 'stream', 'poll' or 'sync'; for example mode = \"stream\"",
        "agents.support.agent_id": 'is required; for example agent_id = "${XPANDER_AGENT_ID}"',
        "sources.orders.busy": "should be 'collect', 'queue', 'interrupt' or 'steer'; for example busy = \"collect\"",
        "sources.orders.max_body": (
            'write a size in bytes or with its unit (kB, KiB, MB, MiB, GB, GiB), such as "1 MiB"; '
            'for example max_body = "1 MiB"'
        ),
        "sources.orders.secrets[0]": (
            'needs the environment variable MISSING_SECRET, which is not set (or write "${MISSING_SECRET:-default}")'
        ),
        "sources.orders.calback": 'is not an option; did you mean "callback"?',
        "sources.nothing.adapter": 'there is no adapter "webhoook"; known: webhook',
        "sources.bare.secrets": ('should have at least 1 item, not 0; for example secrets = ["whsec_c2VjcmV0"]'),
        "surces": 'is not a table; did you mean "sources"?',
    }
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            MINIMAL.replace("[sources.orders]", "[sources.orders]\nagent = 'suport'"),
            'no agent; did you mean "support"?',
        ),
        (MINIMAL.replace("orders", "Orders"), "sources.Orders: is no name"),
        (MINIMAL.replace('"xpander"', '"xpnder"'), 'agents.support.kind: is no kind of agent; did you mean "xpander"?'),
        (MINIMAL.replace('kind     = "xpander"', ""), "agents.support.kind: is required"),
        (MINIMAL + "max_body = 0", "sources.orders.max_body: should be greater than 0"),
        (MINIMAL + "secretz = 1", 'sources.orders.secretz: is not an option; did you mean "secrets"?'),
        (MINIMAL + "bussy = 'queue'", 'sources.orders.bussy: is not an option; did you mean "busy"?'),
        (MINIMAL + "callback = '${'", 'sources.orders.callback: has a "${" that is no variable'),
        (MINIMAL + "reply_via = { source = 'teem', address = 'x' }", "sources.orders.reply_via.source: is no source"),
        (MINIMAL.partition("[sources")[0], "sources: needs at least one table, such as [sources.demo]"),
        ("bridge = 1\n" + MINIMAL, "bridge: should be a table"),
        ("sources = 1\nagents.a = 2", "agents.a: should be a table"),
        (
            "[agents.a]\nkind='embedded'\nbrain='python'\n" + MINIMAL.partition("\n\n")[2],
            'brain = "python" needs function',
        ),
        (
            "[bridge]\ndatabase_url='sqlite://'" + MINIMAL,
            "bridge.database_url: should be a SQLite file or a PostgreSQL",
        ),
        ("[bridge]\ndatabase_url='mysql://h/d'" + MINIMAL, "bridge.database_url: should be"),
        ("[bridge]\nlisten='http://[::1'" + MINIMAL, "bridge.listen: should be a host and a port"),
        ("[bridge]\nlisten=12:00:00" + MINIMAL, "bridge.listen: should be a host and a port"),
        (
            MINIMAL.replace("[sources", "base_url='https://a:99999'\n[sources"),
            "agents.support.base_url: has a port that is none",
        ),
        ("[bridge]\npublic_url='https://a:bc'" + MINIMAL, "bridge.public_url: has a port that is none"),
        ("[bridge]\npublic_url='bridge.example.com'" + MINIMAL, "bridge.public_url: should be the address"),
        (
            "[bridge]\nsecret_keys=['short']" + MINIMAL,
            "bridge.secret_keys[0]: should have at least 16 characters, not 5",
        ),
        ("[bridge]\negress_allow=['10.0.0.1/8']" + MINIMAL, "bridge.egress_allow[0]: 10.0.0.1/8 has host bits set"),
        ("[bridge]\negress_allow=['*.example.com']" + MINIMAL, "bridge.egress_allow[0]: should be an exact host name"),
        ("[bridge\n", "bridge.toml is not TOML"),
        ("a = " + "[" * 10_000, "bridge.toml is nested too deeply"),
        ("[a" + ".a" * 3_000 + "]", "bridge.toml is nested too deeply"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, line: str) -> None:
    assert line in "\n".join(problems(text))


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert loaded("\ufeff" + MINIMAL).agents.keys() == {"support"}


def test_no_secret_is_ever_repeated_in_a_problem_or_a_printed_tree() -> None:
    text = MINIMAL.replace('"whsec_c2VjcmV0"', '"hunter2", 5') + "max_body = 'hunter2'"
    assert "hunter2" not in "\n".join(problems(text))
    postgres = "[bridge]\ndatabase_url='postgresql://u:hunter2@h/d'\nsecret_keys=['hunter2hunter2hunter2']\n"
    tree = loaded(postgres + "admin_token='hunter2hunter2hunter2'" + MINIMAL.replace('"key"', '"hunter2"'))
    assert "hunter2" not in repr(tree)


def test_postgres_needs_its_secret_keys_in_the_configuration() -> None:
    found = problems("[bridge]\ndatabase_url = 'postgresql://u:p@h/d'" + MINIMAL)
    assert found == (
        'bridge.secret_keys: is required with PostgreSQL; for example secret_keys = ["${BRIDGE_SECRET_KEY}"]',
    )


def test_nodes_that_share_a_database_share_an_admin_token_that_tells_nothing_of_their_key() -> None:
    def token(keys: str) -> str:
        text = f"[bridge]\ndatabase_url = 'postgresql://u:p@h/d'\nsecret_keys = {keys}\n" + MINIMAL
        made = loaded(text).bridge.admin_token
        assert made is not None
        return made.get_secret_value()

    assert token("['one-secret-key-of-many']") == token("['one-secret-key-of-many', 'an-older-secret-key']")
    assert token("['one-secret-key-of-many']") != token("['another-secret-key-here']")
    assert "one-secret" not in token("['one-secret-key-of-many']")


def test_without_a_configuration_the_embedded_default_runs() -> None:
    settings = load(None, {}, hook_settings)
    assert settings.path is None
    assert isinstance(settings.agents["demo"], EmbeddedAgent)
    demo = settings.sources["demo"]
    assert isinstance(demo.own, Hook)
    assert demo.own.secrets[0].get_secret_value() == Path("data/demo_secret").read_text(encoding="ascii").strip()
    assert load(None, {}, hook_settings).sources == settings.sources


def test_generated_secrets_are_kept_beside_the_database_and_readable_by_their_owner_alone() -> None:
    text = "[bridge]\ndatabase_url = 'sqlite:///state/bridge.db'" + MINIMAL
    first, second = loaded(text).bridge, loaded(text).bridge
    assert first.secret_keys == second.secret_keys
    assert first.admin_token == second.admin_token
    for name in ("secret_key", "admin_token"):
        assert stat.S_IMODE(os.stat(f"state/{name}").st_mode) == 0o600  # noqa: PTH116
    assert sorted(os.listdir("state")) == ["admin_token", "secret_key"]  # noqa: PTH208


def test_an_absolute_database_path_is_understood(tmp_path: Path) -> None:
    loaded(f"[bridge]\ndatabase_url = 'sqlite:///{tmp_path}/deep/bridge.db'" + MINIMAL)
    assert (tmp_path / "deep/secret_key").exists()


def test_the_file_is_found_by_option_then_variable_then_here() -> None:
    for name in ("option", "variable"):
        Path(f"{name}.toml").write_text(MINIMAL.replace("orders", name), encoding="utf-8")
    Path("bridge.toml").write_text(MINIMAL.replace("orders", "here"), encoding="utf-8")
    environ = {"BRIDGE_CONFIG": "variable.toml"}
    assert list(load(Path("option.toml"), environ, hook_settings).sources) == ["option"]
    assert list(load(None, environ, hook_settings).sources) == ["variable"]
    assert list(load(None, {}, hook_settings).sources) == ["here"]


def test_a_file_that_is_not_there_is_an_error_and_not_the_default() -> None:
    with pytest.raises(ConfigError, match=r"Cannot read absent\.toml"):
        load(Path("absent.toml"), {}, hook_settings)
    Path("latin.toml").write_bytes(b"x = '\xe9'")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(Path("latin.toml"), {}, hook_settings)


def test_the_tree_cannot_be_changed() -> None:
    settings = loaded(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        settings.bridge.name = "x"
    with pytest.raises(TypeError):
        settings.sources["x"] = settings.sources["orders"]  # type: ignore[index]


def test_all_secrets_of_the_tree_are_known_so_that_logs_can_mask_them() -> None:
    settings = loaded("[bridge]\nadmin_token = 'a-token-of-20-letters'\n" + MINIMAL)
    kept = Path("data/secret_key").read_text(encoding="ascii").strip()
    assert settings.secrets() == {"a-token-of-20-letters", "key", "whsec_c2VjcmV0", kept}


ODD = [
    "1",
    "-1",
    "1.5",
    "nan",
    "true",
    '""',
    '"x"',
    "[]",
    "[1]",
    "[[]]",
    '["x", 1]',
    "{}",
    "{ a = 1 }",
    "1979-05-27",
    "07:32:00",
]


@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("[bridge]", BridgeOptions),
        ("[bridge.limits]", Limits),
        ("[agents.odd]\nkind = 'xpander'", RemoteAgent),
        ("[agents.odd]\nkind = 'embedded'", EmbeddedAgent),
        ("[agents.odd]\nkind = 'embedded'\n[agents.odd.defaults]", RequestDefaults),
        ("[agents.odd]\nkind = 'embedded'\n[agents.odd.defaults.user]", Person),
        ("[sources.odd]", SourceOptions),
        ("[sources.odd.reply_via]", ReplyVia),
        ("[sources.odd]\nadapter = 'webhook'", Hook),
    ],
)
def test_no_value_of_any_option_raises_anything_but_a_report(table: str, model: type[BaseModel]) -> None:
    for name in (*model.model_fields, "unknown"):
        for value in ODD:
            for line in report(f"{table}\n{name} = {value}\n{MINIMAL}"):
                assert ": " in line


def report(text: str) -> tuple[str, ...]:
    """The problems of a file that may well have none."""
    try:
        loaded(text)
    except ConfigError as error:
        return error.problems
    return ()
