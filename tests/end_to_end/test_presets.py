"""Every preset over HTTP: what `sign` makes is accepted, and every damaged form of it refused, never with a 5xx."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from bridge.model import Envelope
from bridge.settings import Settings
from bridge.trial import signed_request
from bridge.world import load_settings
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import write_config
from tests.end_to_end.serving import run_command
from tests.signed_requests import DEFAULT_SECRET, ROWS, SIGNING

BODY = b'{"text": "hello", "id": "evt_1", "prompt": "hello", "asynchronous": "true"}'
REFUSED = {400, 401, 413}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_config(tmp_path, database_url=f"sqlite:///{tmp_path}/bridge.db", callback="https://a.example.com/")
    tables = [
        f'[sources."{name}"]\nadapter = "webhook"\nagent = "local"\nscheme = "{name}"\n'
        f"secrets = [{json.dumps(SIGNING.get(name, DEFAULT_SECRET))}]\n"
        + ('challenge_token = "let-me-in"\n' if name == "meta" else "")
        for name in ROWS
    ]
    path.write_text("\n".join([path.read_text(), *tables]))
    return path


@pytest.fixture
def settings(config: Path) -> Settings:
    return load_settings(config, {})


@pytest.fixture
async def opened(config: Path) -> AsyncIterator[Opened]:
    async with bridge_from(config) as one:
        yield one


async def sent(opened: Opened, request: Envelope, **changes: object) -> httpx2.Response:
    given = {"content": request.body, "headers": [(name, value) for name, value in request.headers], **changes}
    query = f"?{request.query}" if request.query else ""
    return await opened.http.post(f"{request.path}{query}", **given)  # type: ignore[arg-type]  # one of httpx2's shapes


SIGNED_WITHIN = {"mailgun"}
"""No header of theirs is signed or signs; what is near their bodies is refused in the matrix of signatures."""


def damaged(request: Envelope) -> Iterator[list[tuple[bytes, bytes]]]:
    """The headers of a request with each in turn left out, doubled, emptied, cut, or full of bytes of no alphabet."""
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in request.headers]
    for at, (name, value) in enumerate(pairs):
        if name == b"content-type":
            continue
        others = [pair for place, pair in enumerate(pairs) if place != at]
        yield others
        yield [*others, (name, value), (name, value)]
        for written in (b"", value[:-1], b"\xff\xfe" + value, value + b",v1=0" * 2000, b"v1,a,b", b"x" * 65_536):
            yield [*others, (name, written)]


@pytest.mark.parametrize("preset", ROWS)
async def test_what_sign_makes_is_accepted_and_what_is_near_it_refused(
    opened: Opened, settings: Settings, preset: str
) -> None:
    request = signed_request(settings, preset, BODY)
    accepted = await sent(opened, request)
    assert accepted.status_code in {200, 202}, accepted.text
    refusals = {(await sent(opened, request, headers=headers)).status_code for headers in damaged(request)}
    assert refusals or preset in SIGNED_WITHIN
    assert refusals <= REFUSED


@pytest.mark.parametrize("preset", ["github", "mailgun", "linear"])
async def test_the_command_says_what_a_sender_would(config: Path, opened: Opened, preset: str) -> None:
    options = ("--config", str(config), "--json", "--header", "X-GitHub-Event: ping")
    code, made = await run_command("sign", preset, *options)
    assert code == 0
    assert made["headers"]["x-github-event"] == "ping"
    path = made["url"].partition(":8080")[2]
    response = await opened.http.post(path, content=made["body"], headers=made["headers"])
    assert response.status_code == 202, response.text
