"""The handle of a task, as plain data."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from bridge.agent.task import Task, TaskEvent
from bridge.model import FileRef, Json


async def unread(task_id: str) -> Json:
    raise AssertionError(task_id)


async def no_events(task: Task) -> AsyncGenerator[TaskEvent, None]:
    if task.status == "never":
        yield TaskEvent("never", task.id, None)
    raise AssertionError(task)


def handle(**record: Any) -> Task:
    return Task({"id": "t1", **record}, read=unread, stop=unread, polling=no_events)


FILES = ["https://f.example.com/a.PDF?x=1", "https://f.example.com/b.png", "https://f.example.com/c.csv", "http://["]


def test_files_are_told_apart_by_extension() -> None:
    task = handle(input={"text": "look", "files": FILES})
    assert task.get_files() == FILES[:1]
    assert task.get_images() == FILES[1:2]


def test_result_files_are_what_somebody_could_fetch_and_nothing_else() -> None:
    told = {"url": "https://f.example.com/x", "name": "a.csv", "media_type": "text/csv", "size": 3, "more": 1}
    strange = [
        "file:fil_1",
        "/etc/passwd",
        "https:///x",
        "http://[",
        7,
        None,
        {"url": 3},
        {"name": "x"},
        ["https://a/b"],
    ]
    task = handle(files=["https://f.example.com/b%20c.pdf?sig=1", told, *strange])
    assert task.files == (
        FileRef(url="https://f.example.com/b%20c.pdf?sig=1", name="b c.pdf"),
        FileRef(url="https://f.example.com/x", name="a.csv", media_type="text/csv", size=3),
    )
    assert handle(files="https://f.example.com/b").files == handle(files=None).files == handle().files == ()
    (odd,) = handle(files=[{"url": "https://f.example.com/", "name": 3, "size": -1, "media_type": []}]).files
    assert odd == FileRef(url="https://f.example.com/", name="file")


def test_the_message_has_text_files_and_time() -> None:
    task = handle(
        input={"text": "look", "files": ["https://f.example.com/a.pdf"]}, created_at="2026-03-23T01:46:03+01:00"
    )
    assert task.to_message() == (
        "look\nFiles: https://f.example.com/a.pdf\n\nMessage timestamp (UTC): 2026-03-23 00:46"
    )


def test_json_input_stays_untouched() -> None:
    assert handle(input={"text": '{"a": 1}', "files": FILES}).to_message() == '{"a": 1}'


@pytest.mark.parametrize("created_at", [1774226763, "2026-03-23T00:46:03", "2026-03-23T00:46:03.78Z"])
def test_any_spelling_of_the_time_is_read(created_at: object) -> None:
    assert handle(input={"text": "x"}, created_at=created_at).to_message().endswith("2026-03-23 00:46")


@pytest.mark.parametrize(
    "record", [{}, {"input": None}, {"input": []}, {"input": {"files": None}}, {"input": {"files": [1]}}]
)
def test_a_record_may_hold_nearly_nothing(record: dict[str, Any]) -> None:
    task = handle(**record)
    assert (task.status, task.result, task.get_files(), task.get_images()) == ("pending", None, [], [])
    assert task.to_message(with_timestamp=False) == ""


def test_a_result_that_is_no_text_becomes_json_text() -> None:
    assert handle(result={"a": 1}).result == '{"a": 1}'
