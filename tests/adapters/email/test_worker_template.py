"""The Cloudflare worker signs what the raw ingress accepts."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.model import Envelope
from tests.adapters.email.mails import SECRET, mail
from tests.adapters.email.rooms import open_email
from tests.signed_requests import NOW

WORKER = Path(__file__).parents[3] / "deploy" / "mail" / "cloudflare-worker.js"
RUN = """
import worker from %s;
Date.now = () => %d;
globalThis.fetch = async (url, request) => {
  console.log(JSON.stringify({ url, headers: request.headers, body: Buffer.from(request.body).toString("latin1") }));
  return { ok: %s, status: 503 };
};
const raw = new Response(Buffer.from(%s, "base64")).body;
const env = { BRIDGE_URL: "https://bridge.example.com/in/helpdesk", BRIDGE_SECRET: %s };
await worker.email({ raw, from: "jane@example.org", to: "agent@example.com" }, env);
"""


def run(tmp_path: Path, raw: bytes, *, accepted: bool) -> subprocess.CompletedProcess[str]:
    shutil.copy(WORKER, tmp_path / "worker.mjs")
    milliseconds = int(NOW.timestamp() * 1000)
    values = (json.dumps("./worker.mjs"), milliseconds, json.dumps(accepted))
    script = RUN % (*values, json.dumps(base64.b64encode(raw).decode()), json.dumps(SECRET))
    (tmp_path / "run.mjs").write_text(script)
    return subprocess.run(["node", "run.mjs"], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
async def test_the_ingress_takes_what_the_worker_posts(tmp_path: Path) -> None:
    sent = json.loads(run(tmp_path, mail("caf\u00e9"), accepted=True).stdout)
    envelope = Envelope(
        source="helpdesk",
        method="POST",
        path="/in/helpdesk",
        query="",
        headers=tuple(sent["headers"].items()),
        body=sent["body"].encode("latin-1"),
        received_at=NOW,
    )
    async with open_email() as (adapter, _):
        assert (await adapter.receive(envelope)).messages is None
        (message,) = await adapter.read(envelope)
    assert message.text == "café"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_a_bridge_that_is_away_makes_the_sending_server_try_again(tmp_path: Path) -> None:
    found = run(tmp_path, mail(), accepted=False)
    assert found.returncode != 0
    assert "the bridge answered 503" in found.stderr
