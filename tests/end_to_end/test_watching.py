"""What an operator can watch: the numbers of `/metrics`, and one line for each fact, each with its ids."""

import json
import re
from pathlib import Path

import httpx2

from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import SECRET, Sink, post, request, write_config
from tests.end_to_end.serving import free_port, serving


async def numbers(http: httpx2.AsyncClient) -> dict[str, float]:
    response = await http.get("/metrics")
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, "text/plain")
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_what_happened_is_counted_once(opened: Opened, sink: Sink) -> None:
    sent = request("hello")
    for _ in range(3):
        await post(opened.http, sent)
    await post(opened.http, request("fail out of cheese"))
    await post(opened.http, request("hello", secret="whsec_" + "A" * 40))
    await post(opened.http, request("hello"), source="nobody")
    await sink.callbacks(2)
    await opened.settled()
    # counted a moment after it is committed, which is what the books go by
    while (found := await numbers(opened.http)).get('bridge_delivery_seconds_count{source="orders"}') != 2:
        pass
    expected = {
        'bridge_arrivals_total{outcome="stored",source="orders"}': 2,
        'bridge_arrivals_total{outcome="duplicate",source="orders"}': 2,
        'bridge_arrivals_total{outcome="401",source="orders"}': 1,
        'bridge_unverified_total{reason="mismatch",source="orders"}': 1,
        'bridge_messages_total{admission="admitted",source="orders"}': 2,
        'bridge_turns_total{agent="local",state="answered"}': 1,
        'bridge_turns_total{agent="local",state="dead"}': 1,
        'bridge_deliveries_total{kind="answer",source="orders",state="sent"}': 1,
        'bridge_ack_seconds_count{source="orders"}': 5,
        'bridge_turn_seconds_count{agent="local"}': 2,
        'bridge_delivery_seconds_count{source="orders"}': 2,
        'bridge_ledger_messages{state="accepted"}': 2,
        'bridge_ledger_messages{state="answered"}': 1,
        'bridge_ledger_messages{state="dead"}': 1,
        'bridge_ledger_messages{state="in_flight"}': 0,
        "bridge_ledger_balanced": 1,
        "bridge_stuck": 0,
        'bridge_turns_open{state="running"}': 0,
        'bridge_deliveries_open{state="pending"}': 0,
        'bridge_destinations{state="failing"}': 0,
        'bridge_destinations{state="disabled"}': 0,
        "bridge_oldest_turn_seconds": 0,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert not [name for name in found if "nobody" in name]


async def test_a_failing_agent_is_counted_by_what_failed(tmp_path: Path, database_url: str, sink: Sink) -> None:
    agent = '[agents.local]\nkind = "xpander"\nbase_url = "http://127.0.0.1:9"\napi_key = "k"\nagent_id = "a"'
    config = write_config(tmp_path, database_url=database_url, callback=sink.url, agent=agent)
    async with bridge_from(config) as one:
        await post(one.http, request("hello"))
        await one.books(lambda books: books.in_flight == 1)
        while 'bridge_agent_errors_total{agent="local",kind="unreachable"}' not in await numbers(one.http):
            pass


async def test_each_fact_is_a_line_with_its_ids_and_without_a_secret(
    tmp_path: Path, database_url: str, sink: Sink
) -> None:
    port = free_port()
    config = write_config(tmp_path, database_url=database_url, callback=sink.url, port=port)
    config.write_text(config.read_text().replace('log_level = "warning"', 'log_level = "debug"'))
    async with serving(config, port) as served:
        accepted = (await post(served.http, request("hello"))).json()
        path, _, token = accepted["status_url"].partition("/v1/")[2].partition("?token=")
        await sink.callbacks(1)
        await served.settled()
        journey = (await served.http.get(f"/v1/{path}?token={token}")).json()
    written = served.log.read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    assert token not in written
    assert SECRET not in written
    assert "an-admin-token-of-these-tests" not in written
    facts = {line["event"]: line for line in lines}
    assert facts["message_stored"]["message"] == accepted["message_id"]
    assert facts["turn_ended"]["messages"] == [accepted["message_id"]]
    assert facts["turn_ended"]["task"] == journey["task_id"]
    for name in ("message_stored", "turn_ended", "delivery_tried"):
        assert facts[name]["conversation"] == accepted["conversation_id"]
        assert facts[name]["turn"] == journey["turn_id"]
    told = [line for line in lines if re.search(r"turn|delivery|message", line["event"])]
    assert all("messages" in line or "message" in line for line in told), told
