"""Invitations reach the agent as text, whoever wrote them, and nothing is accepted on anybody's behalf."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.email.classify import Own
from adapters.email.opened import Rules, open_mail
from tests.adapters.email.mails import mail

RULES = Rules(own=Own(addresses=("agent@example.com",)))
INVITATION = r"""BEGIN:VCALENDAR
METHOD:REQUEST
BEGIN:VEVENT
SUMMARY;LANGUAGE=en:Planning\, part two
DTSTART;TZID="Europe/Berlin":20261124T090000
DTEND:20261124T090000Z
LOCATION:Room 5
ORGANIZER;CN=Jane:mailto:jane@example.org
DESCRIPTION:Bring the
  figures.\nAnd cake.
BEGIN:VALARM
DESCRIPTION:REMINDER
END:VALARM
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")


def invited(calendar: str, text: str = "Can you prepare this?") -> str:
    parts = (
        f"--b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n"
        f"{calendar}\r\n--b\r\nContent-Type: text/calendar; name=invite.ics\r\n\r\n{calendar}\r\n--b--\r\n"
    )
    return open_mail(mail(parts, Content_Type="multipart/mixed; boundary=b"), None, RULES).reply


def test_an_invitation_is_told_once_below_what_was_written() -> None:
    assert invited(INVITATION) == (
        "Can you prepare this?\n\n[Invitation]\nTitle: Planning, part two\nBegins: 2026-11-24 09:00 (Europe/Berlin)\n"
        "Ends: 2026-11-24 09:00 UTC\nPlace: Room 5\nOrganizer: jane@example.org\n"
        "Description: Bring the figures.\nAnd cake."
    )


def test_the_file_comes_along_too() -> None:
    raw = mail(INVITATION, Content_Type="text/calendar; method=REQUEST")
    found = open_mail(raw, None, RULES)
    assert found.reply.startswith("[Invitation]")
    assert [each.media_type for each in found.attachments] == ["text/calendar"]


def test_a_day_without_a_time_is_a_day() -> None:
    calendar = "BEGIN:VEVENT\r\nSUMMARY:Holiday\r\nDTSTART;VALUE=DATE:20261224\r\nEND:VEVENT"
    assert "Begins: 2026-12-24\n" in invited(calendar) + "\n"


CLICKED = INVITATION.replace("METHOD:REQUEST", "METHOD:REPLY")
GOOGLE = "Jane Roe has accepted this invitation.\r\n\r\nPlanning\r\n\r\nFrom https://calendar.google.com/calendar/\r\n"


def judged(text: str, calendar: str = CLICKED, kind: str = "text/calendar; method=REPLY") -> str:
    parts = (
        f"--b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--b\r\nContent-Type: {kind}\r\n\r\n{calendar}\r\n--b--\r\n"
    )
    raw = mail(parts, Subject="Accepted: Planning", Content_Type="multipart/alternative; boundary=b")
    return open_mail(raw, None, RULES).judgement.sort


@pytest.mark.parametrize("text", ["", "\r\n \r\n", "Jane Roe has accepted your invitation.", GOOGLE])
def test_who_only_accepts_an_invitation_asks_nothing(text: str) -> None:
    assert judged(text) == "auto"
    assert judged(text, kind="text/calendar") == "auto"


@pytest.mark.parametrize(
    ("text", "calendar"),
    [
        ("Gladly. What shall I bring?", CLICKED),
        ("Jane Roe has accepted this invitation with this note:\r\nWhat shall I bring?", CLICKED),
        ("Jane Roe has accepted this invitation.\r\n\r\nWhat shall I bring?", CLICKED),
        ("", CLICKED.replace("LOCATION:", "COMMENT:What shall I bring?\r\nLOCATION:")),
        ("", INVITATION),
        ("", INVITATION.replace("METHOD:REQUEST", "METHOD:COUNTER")),
        ("", "BEGIN:VCALENDAR"),
    ],
)
def test_who_adds_a_word_to_an_acceptance_and_who_invites_is_heard(text: str, calendar: str) -> None:
    assert judged(text, calendar, kind="text/calendar") == "human"


def test_what_a_person_adds_to_an_acceptance_is_told() -> None:
    raw = mail(CLICKED.replace("LOCATION:", "COMMENT:What shall I bring?\r\nLOCATION:"), Content_Type="text/calendar")
    found = open_mail(raw, None, RULES)
    assert found.reply.endswith("\nComment: What shall I bring?")


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_calendar(text: str) -> None:
    assert invited("BEGIN:VEVENT\r\n" + text).startswith("Can you prepare this?")
