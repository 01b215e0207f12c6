import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bridge.redaction import MASK, redactor, without_secrets
from bridge.telemetry import write_down

log = structlog.get_logger()
library = logging.getLogger("some.library")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_fact_is_one_line_of_json_with_its_time_and_level() -> None:
    write_down("json", "info", to=(stream := io.StringIO()))
    structlog.contextvars.bind_contextvars(turn="trn_1")
    log.warning("turn_dead", attempt=3, error="two\nlines")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "turn_dead", "level": "warning", "turn": "trn_1", "attempt": 3, "error": "two\nlines"}


def test_libraries_come_out_in_the_same_form() -> None:
    write_down("json", "info", to=(stream := io.StringIO()))
    library.warning("lost %s", "it")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("lost it", "warning", "some.library")


def test_what_lies_below_the_level_is_not_written() -> None:
    write_down("json", "warning", to=(stream := io.StringIO()))
    log.info("quiet")
    library.info("quiet")
    assert stream.getvalue() == ""


def test_clients_do_not_tell_each_request() -> None:
    write_down("json", "info", to=(stream := io.StringIO()))
    logging.getLogger("httpx2").info("HTTP Request: GET https://x/?token=abc")
    assert stream.getvalue() == ""


def test_a_second_set_up_counts_for_loggers_that_were_used_already() -> None:
    write_down("json", "info", to=(first := io.StringIO()))
    log.info("one")
    write_down("json", "info", to=(second := io.StringIO()))
    log.info("two")
    library.warning("three")
    assert [line["event"] for line in lines(first)] == ["one"]
    assert [line["event"] for line in lines(second)] == ["two", "three"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_is_kept_and_its_secrets_are_not(form: Any) -> None:
    write_down(form, "info", secrets=["hunter2hunter2"], to=(stream := io.StringIO()))
    try:
        int("hunter2hunter2")
    except ValueError:
        log.exception("step_failed")
        library.exception("failed")
    assert stream.getvalue().count("ValueError: invalid literal for int() with base 10: '[redacted]'") == 2
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /v1/messages/msg_1?token=abc.def HTTP/1.1", f"GET /v1/messages/msg_1?token={MASK} HTTP/1.1"),
        ("https://x/?a=1&access_token=abc&b=2", f"https://x/?a=1&access_token={MASK}&b=2"),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: Bearer {MASK}"),
        ("postgresql://bridge:hunter2@db/bridge", f"postgresql://bridge:{MASK}@db/bridge"),
        ("https://bridge.example.com/files/fil_1.2.abc/a.pdf", f"https://bridge.example.com/files/{MASK}/a.pdf"),
        ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!", f"secret {MASK}!"),
        ("token xoxb-123456789012-abcdef", f"token {MASK}"),
        ("listening on http://127.0.0.1:8080/", "listening on http://127.0.0.1:8080/"),
        ("conversation cnv_1 of orders: 3 turns", "conversation cnv_1 of orders: 3 turns"),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_the_rest_is_kept(line: str, expected: str) -> None:
    assert redactor()(line) == expected


def test_fields_named_after_secrets_are_masked_at_any_depth() -> None:
    fields = {"api_key": "k", "headers": {"Authorization": "x", "Accept": "y"}, "error": "z", "token": None}
    assert without_secrets(fields) == {
        "api_key": MASK,
        "headers": {"Authorization": MASK, "Accept": "y"},
        "error": "z",
        "token": None,
    }


@given(secret=st.text(min_size=6, max_size=40), before=st.text(max_size=10), after=st.text(max_size=10))
def test_a_configured_secret_never_gets_through(secret: str, before: str, after: str) -> None:
    redact = redactor([secret])
    assert secret in MASK or secret not in redact(f"{before} {secret} {after}").replace(MASK, "")
    encoded = json.dumps(secret)[1:-1]
    assert encoded in MASK or encoded not in redact(json.dumps({"x": secret})).replace(MASK, "")
