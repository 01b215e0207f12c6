"""What a source sets for its requests reaches the agent; another source of the same agent is asked as ever."""

from pathlib import Path

from tests.end_to_end.conftest import bridge_from
from tests.end_to_end.parties import SECRET, Sink, post, request, write_config

MORE = """
[sources.orders.defaults]
instructions_override = "be brief"
user = {{ id = "web-form", email = "forms@example.com", first_name = "Ada" }}

[sources.others]
adapter = "webhook"
agent = "local"
secrets = ["{secret}"]
callback = "{callback}"
allow_private_callbacks = true
"""


async def test_each_source_has_its_own(tmp_path: Path, sink: Sink) -> None:
    config = write_config(tmp_path, database_url=f"sqlite:///{tmp_path}/bridge.db", callback=sink.url)
    with config.open("a", encoding="utf-8") as more:
        more.write(MORE.format(secret=SECRET, callback=sink.url))
    async with bridge_from(config) as opened:
        for source in ("orders", "others"):
            assert (await post(opened.http, request("what is my name?"), source)).status_code == 202
        callbacks = await sink.callbacks(2)
    assert {callback.data["result"] for callback in callbacks} == {
        "Your name is Ada.\n(I was instructed: be brief)",
        "You have not told me your name.",
    }
