"""What docs/operating.md says of backups, done: taken while the bridge runs, and restored."""

import asyncio
import shutil
import sys
from pathlib import Path

from tests.end_to_end.parties import Sink, request, write_config
from tests.end_to_end.serving import ROOT, free_port, serving
from tests.test_readme import blocks


async def shell(folder: Path, script: str) -> None:
    process = await asyncio.create_subprocess_exec("sh", "-ec", script, cwd=folder)
    assert await process.wait() == 0


async def test_a_backup_of_a_running_bridge_is_the_bridge_of_then(tmp_path: Path, sink: Sink) -> None:
    backup, restore = (block for block in blocks("docs/operating.md", "sh"))
    backup = backup.replace("python3", sys.executable)
    restore = restore.replace("agent-bridge ledger", f"{sys.executable} -m bridge ledger --config bridge.toml")
    data, port = tmp_path / "data", free_port()
    config = write_config(tmp_path, database_url=f"sqlite:///{data}/bridge.db", callback=sink.url, port=port)
    config.write_text(config.read_text().replace(f"{tmp_path}/files", f"{data}/files"))
    first, second = request("My name is Ada.", conversation="c"), request("hello", conversation="c")
    async with serving(config, port) as served:
        await served.http.post("/in/orders", content=first.body, headers=first.headers)
        await served.settled()
        await shell(tmp_path, backup)
        await served.http.post("/in/orders", content=second.body, headers=second.headers)
        assert (await served.settled())["accepted"] == 2
    await shell(tmp_path, f"PYTHONPATH={ROOT}\nexport PYTHONPATH\n{restore}")
    shutil.rmtree(tmp_path / "data.before")
    async with serving(config, port) as served:
        assert (await served.ledger())["answered"] == 1
        again = await served.http.post("/in/orders", content=first.body, headers=first.headers)
        assert again.status_code == 202
        third = request("What is my name?", conversation="c")
        await served.http.post("/in/orders", content=third.body, headers=third.headers)
        assert (await served.settled())["accepted"] == 2, "the copy started nothing"
    assert "Ada" in sink.received[-1].opened()["result"]
