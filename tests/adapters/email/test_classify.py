"""No machine gets an answer; people do, whatever their programs write."""

import pytest

from adapters.email.classify import Own
from adapters.email.opened import Rules, open_mail
from tests.adapters.email.mails import mail
from tests.adapters.email.rooms import read_one

OWN = Own(addresses=("agent@example.com", "help@example.com"), domains=("reply.example.com",), source="mark")
RULES = Rules(own=OWN)
REPORT = (
    "--b\r\nContent-Type: text/plain\r\n\r\nIt failed.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
    "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; jane@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    "--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <ours@example.com>\r\nReferences: <r@example.com>\r\n\r\n"
    "hi\r\n--b--\r\n"
)
DELIVERY_STATUS = 'multipart/report; report-type=delivery-status; boundary="b"'


def sort_of(raw: bytes, mail_from: str | None = "jane@example.org") -> str:
    return open_mail(raw, mail_from, RULES).judgement.sort


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Auto_Submitted": "no"},
        {"X_Auto_Response_Suppress": "All"},
        {"X_Auto_Response_Suppress": "DR, OOF, AutoReply"},
        {"Subject": "Re: Undelivered parcel", "In_Reply_To": "<a@b>"},
        {"Subject": "Question about our vacation policy"},
        {"Subject": "Vacation days left?"},
        {"Subject": "Vacation request for July"},
        {"Subject": "On leave from Monday: who takes over?"},
        {"Subject": "Abwesenheit am Freitag"},
        {"Subject": "Undelivered parcel 4711"},
        {"Subject": "Delivery status of my order"},
        {"Subject": "Mail delivery to my new address"},
        {"Subject": "Delivery report for May", "Return_Path": "<jane@example.org>"},
        {"Precedence": "normal"},
        {"From": "Norah Reply <norah@example.org>"},
        {"From": "bouncer.jo@example.org"},
        {"X_Autoreply": "no"},
        {"To": f"agent+{'a' * 32}@example.com"},
        {"To": "bounce-house-rental@example.com"},
        {"Received": "from a by b"},
        {"Importance": "high", "X_Priority": "1"},
    ],
)
def test_people_are_people(headers: dict[str, str]) -> None:
    assert sort_of(mail(**headers)) == "human"


@pytest.mark.parametrize(
    "headers",
    [
        {"Auto_Submitted": "auto-replied"},
        {"Auto_Submitted": "auto-generated"},
        {"Auto_Submitted": "auto-notified; owner-email=x"},
        {"X_Autoreply": "yes"},
        {"X_Autorespond": "1"},
        {"X_Autoresponse": "yes"},
        {"Precedence": "auto_reply"},
        {"Precedence": "bulk"},
        {"Precedence": "junk"},
        {"From": "no-reply@shop.example"},
        {"From": "noreply@shop.example"},
        {"From": "do-not-reply@shop.example"},
        {"From": "Shop <noreply-orders@shop.example>"},
        {"Return_Path": "<>"},
        {"To": f"agent+bounce-{'a' * 32}@example.com"},
        {"Delivered_To": f"Bounce-{'A' * 32}@reply.example.com"},
    ],
)
def test_programs_are_known_by_their_headers(headers: dict[str, str]) -> None:
    assert sort_of(mail(**headers)) == "auto"


@pytest.mark.parametrize(
    "subject",
    [
        "Automatic reply: your question",
        "Out of Office: back on Monday",
        "Abwesenheitsnotiz: Re: Frage",
        "Automatische Antwort: Frage",
        "Réponse automatique : question",
        "Respuesta automática: pregunta",
        "Resposta automática: pergunta",
        "Risposta automatica: domanda",
        "Automatisch antwoord: vraag",
        "Autosvar: spørgsmål",
        "Automatiskt svar? Frånvarande: fråga".removeprefix("Automatiskt svar? "),
        "Automaattinen vastaus: kysymys",
        "Automatyczna odpowiedź: pytanie",
        "Automatická odpověď: dotaz",
        "Автоматический ответ: вопрос",
        "Otomatik yanıt: soru",
        "自动回复: 问题",
        "自動応答: 質問",
        "자동 회신: 질문",
        "Trả lời tự động: câu hỏi",
    ],
)
def test_automatic_answers_of_many_languages_are_known_by_their_subject(subject: str) -> None:
    assert sort_of(mail(Subject=subject)) == "auto"


@pytest.mark.parametrize("subject", ["Vacation", "On leave: back on Monday", "Abwesend bis Montag", "不在", "Poissa"])
def test_words_that_people_also_write_tell_an_automatic_answer_where_it_answers_something(subject: str) -> None:
    assert sort_of(mail(Subject=subject, In_Reply_To="<ours@example.com>")) == "auto"


@pytest.mark.parametrize(
    ("mail_from", "headers"),
    [
        ("jane@example.org", {"Content_Type": DELIVERY_STATUS}),
        ("jane@example.org", {"Content_Type": 'multipart/report; report-type=disposition-notification; boundary="b"'}),
        ("jane@example.org", {"Content_Type": 'multipart/report; report-type=feedback-report; boundary="b"'}),
        ("jane@example.org", {"From": "MAILER-DAEMON@mx.example.org"}),
        ("jane@example.org", {"From": "Mail Delivery System <Mailer-Daemon@mx.example.org>"}),
        ("jane@example.org", {"From": "postmaster@example.org"}),
        ("jane@example.org", {"X_Failed_Recipients": "a@b.c"}),
        ("", {"Subject": "Undelivered Mail Returned to Sender"}),
        ("", {"Subject": "Mail delivery failed: returning message to sender"}),
        (None, {"Subject": "Delivery Status Notification (Failure)"}),
        (None, {"Subject": "Undeliverable: your answer"}),
        (None, {"Subject": "failure notice"}),
        (None, {"Subject": "Unzustellbar: Ihre Antwort"}),
        (None, {"Subject": "Returned mail: see transcript for details"}),
    ],
)
def test_bounces_are_known_by_any_of_their_signs(mail_from: str | None, headers: dict[str, str]) -> None:
    assert sort_of(mail(**headers), mail_from) == "bounce"


@pytest.mark.parametrize("name", ["List_Id", "List_Unsubscribe", "List_Post", "X_Mailing_List"])
def test_lists_are_known(name: str) -> None:
    assert sort_of(mail(**{name: "<list.example.org>"})) == "list"


@pytest.mark.parametrize(
    "headers",
    [
        {"From": "agent@example.com"},
        {"From": "HELP@example.com"},
        {"From": "agent+abcdef@example.com"},
        {"From": "anything@reply.example.com"},
        {"X_Agent_Bridge_Source": "mark"},
    ],
)
def test_our_own_mail_is_known(headers: dict[str, str]) -> None:
    assert sort_of(mail(**headers)) == "self"


def test_a_mail_that_went_round_too_often_is_no_question() -> None:
    assert sort_of(b"Received: from a by b\r\n" * 26 + mail()) == "auto"


def test_a_bounce_tells_whom_it_is_about() -> None:
    report = open_mail(mail(REPORT, Content_Type=DELIVERY_STATUS), "", RULES).report
    assert report is not None
    assert (report.kind, report.recipients, report.permanent, report.status) == (
        "bounce",
        ("jane@example.org",),
        True,
        "5.1.1",
    )
    assert report.original_ids == ("<ours@example.com>", "<r@example.com>")


@pytest.mark.parametrize(
    ("media_type", "said"),
    [
        ("message/delivery-status", "Action: delayed\r\nStatus: 4.4.1"),
        ("message/delivery-status", "Action: delayed"),
        ("message/delivery-status", "Status: 4.4.1"),
        ("message/delivery-status", "Action: delivered"),
        ("message/delivery-status", "Action: relayed\r\nStatus: 2.0.0"),
        ("message/disposition-notification", "Disposition: manual-action/MDN-sent-manually; displayed"),
    ],
)
def test_a_number_in_the_prose_makes_no_bounce_of_a_mail_that_may_arrive(media_type: str, said: str) -> None:
    parts = f"--b\r\n\r\nSeen in room 552, see 5.1.1.\r\n--b\r\nContent-Type: {media_type}\r\n\r\n"
    raw = mail(f"{parts}Final-Recipient: rfc822; jane@example.org\r\n{said}\r\n--b--\r\n", Content_Type=DELIVERY_STATUS)
    report = open_mail(raw, "", RULES).report
    assert report is not None
    assert not report.permanent


def test_a_bounce_in_prose_still_tells_its_status() -> None:
    raw = mail("<jane@example.org>: 550 5.1.1 no such user", From="MAILER-DAEMON@mx.example.org")
    report = open_mail(raw, "", RULES).report
    assert report is not None
    assert report.permanent


@pytest.mark.parametrize(
    ("headers", "declined"),
    [
        ({"Auto_Submitted": "auto-replied"}, "auto_reply"),
        ({"From": "MAILER-DAEMON@example.org"}, "bounce"),
        ({"List_Id": "<l.example.org>"}, "list"),
        ({"From": "agent@example.com"}, "own_message"),
    ],
)
async def test_what_a_machine_wrote_is_declined_and_owes_no_answer(headers: dict[str, str], declined: str) -> None:
    message = await read_one(mail(**headers))
    assert message.declined == declined
    assert message.return_address == ""


async def test_a_source_may_answer_lists() -> None:
    assert (await read_one(mail(List_Id="<l.example.org>"), answer_lists=True)).declined is None
