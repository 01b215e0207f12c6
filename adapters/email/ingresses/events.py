"""What a provider tells of mail we sent: that it came back, or that somebody took it for spam. One table for each.

Everything else a provider tells (delivered, opened, …) is acknowledged and forgotten.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from adapters.email.ingresses.arrived import bare_address
from adapters.email.reports import Report

MOST = 1000
"""How many events of one post are looked at."""

Fields: TypeAlias = Mapping[str, Any]


def ses_reports(message: Fields) -> tuple[Report, ...]:
    """Of a notification (`notificationType`) or an event of a configuration set (`eventType`)."""
    kind = str(message.get("notificationType") or message.get("eventType"))
    about = _ses_ids(_fields(message.get("mail")))
    if kind == "Bounce":
        bounce = _fields(message.get("bounce"))
        permanent = bounce.get("bounceType") == "Permanent"
        status = f"{bounce.get('bounceType', '')} {bounce.get('bounceSubType', '')}"
        return _bounce(_each(bounce.get("bouncedRecipients"), "emailAddress"), about, status, permanent=permanent)
    if kind == "Complaint":
        complaint = _fields(message.get("complaint"))
        if complaint.get("complaintFeedbackType") == "not-spam":
            return ()  # somebody took it out of the spam folder: no complaint, whatever it is called
        return _complaint(_each(complaint.get("complainedRecipients"), "emailAddress"), about)
    return ()


def _ses_ids(mail: Fields) -> tuple[str, ...]:
    """Our own Message-ID, where the headers come along, and the one SES gave it, as it stood on the wire."""
    region = (str(mail.get("sourceArn", "")).split(":") + [""] * 4)[3]
    host = f"{region if region != 'us-east-1' else 'email'}.amazonses.com"
    given = mail.get("messageId")
    wire = _ids(f"{given}@{host}") if region and isinstance(given, str) and given else ()
    return (*_ids(_fields(mail.get("commonHeaders")).get("messageId")), *wire)


def mailgun_reports(event: Fields) -> tuple[Report, ...]:
    """Of the `event-data` of one webhook."""
    about = _ids(_fields(_fields(event.get("message")).get("headers")).get("message-id"))
    if event.get("event") == "failed":
        status = _fields(event.get("delivery-status"))
        text = f"{status.get('code', '')} {status.get('description') or status.get('message') or ''}"
        return _bounce([event.get("recipient")], about, text, permanent=event.get("severity") == "permanent")
    return _complaint([event.get("recipient")], about) if event.get("event") == "complained" else ()


_POSTMARK_HARD = {"HardBounce", "BadEmailAddress", "ManuallyDeactivated", "Unsubscribe", "Blocked"}


def postmark_reports(record: Fields) -> tuple[Report, ...]:
    """Of one record; `RecordType` says what it is."""
    about = _ids(postmark_id(record.get("MessageID")))
    match record.get("RecordType"):
        case "Bounce":
            kind = str(record.get("Type"))
            permanent = kind in _POSTMARK_HARD or record.get("Inactive") is True
            return _bounce([record.get("Email")], about, kind, permanent=permanent)
        case "SpamComplaint":
            return _complaint([record.get("Email")], about)
    return ()


def sendgrid_reports(events: Sequence[object]) -> tuple[Report, ...]:
    """Of a batch. A `blocked` mail was refused for what it was, not for where it went."""
    return tuple(report for event in events[:MOST] for report in _sendgrid(_fields(event)))


_SENDGRID_SUPPRESSED = ("Bounced Address", "Unsubscribed Address", "Spam Reporting Address", "Invalid")


def _sendgrid(event: Fields) -> tuple[Report, ...]:
    about = (*_ids(event.get("smtp-id")), *_ids(sendgrid_id(event.get("sg_message_id"))))
    status = f"{event.get('status', '')} {event.get('reason', '')}"
    match event.get("event"):
        case "bounce":
            return _bounce([event.get("email")], about, status, permanent=event.get("type") != "blocked")
        case "dropped":  # never sent, mostly because of what came back before
            permanent = str(event.get("reason")).startswith(_SENDGRID_SUPPRESSED)
            return _bounce([event.get("email")], about, status, permanent=permanent)
        case "spamreport":
            return _complaint([event.get("email")], about)
    return ()


def resend_reports(event: Fields) -> tuple[Report, ...]:
    """Of one notice."""
    data = _fields(event.get("data"))
    given = data.get("to")
    to = given if isinstance(given, list) else [given]
    about = (*_ids(data.get("message_id")), *_ids(resend_id(data.get("email_id"))))
    match event.get("type"):
        case "email.bounced":
            bounce = _fields(data.get("bounce"))
            status = f"{bounce.get('type', '')} {bounce.get('subType', '')}"
            return _bounce(to, about, status, permanent=bounce.get("type", "Permanent") == "Permanent")
        case "email.suppressed":  # never sent, because of what came back before
            return _bounce(to, about, "suppressed", permanent=True)
        case "email.complained":
            return _complaint(to, about)
    return ()


def postmark_id(given: object) -> str:
    """The Message-ID that belongs to Postmark's own id of a mail; empty where it is none."""
    return f"<{given}@mtasv.net>" if isinstance(given, str) and given else ""


def sendgrid_id(given: object) -> str:
    """Likewise for the beginning of SendGrid's, which is what it tells when the mail is sent."""
    return f"<{given.partition('.')[0]}@sendgrid.net>" if isinstance(given, str) and given else ""


def resend_id(given: object) -> str:
    """Likewise for Resend's."""
    return f"<{given}@resend.com>" if isinstance(given, str) and given else ""


def _bounce(who: Sequence[object], about: Sequence[str], status: str, *, permanent: bool) -> tuple[Report, ...]:
    return _of(who, Report(kind="bounce", permanent=permanent, status=_short(status), original_ids=tuple(about)))


def _complaint(who: Sequence[object], about: Sequence[str]) -> tuple[Report, ...]:
    return _of(who, Report(kind="complaint", permanent=True, original_ids=tuple(about)))


def _of(who: Sequence[object], report: Report) -> tuple[Report, ...]:
    recipients = tuple(filter(None, (bare_address(str(each)) for each in who[:100])))
    return (replace(report, recipients=recipients),) if recipients else ()


def _short(status: str) -> str:
    return " ".join(status.split())[:200]


def _each(found: object, name: str) -> list[object]:
    return [_fields(each).get(name) for each in found[:100]] if isinstance(found, list) else []


def _ids(found: object) -> tuple[str, ...]:
    return (f"<{found.strip('<> ')[:250]}>",) if isinstance(found, str) and found.strip("<> ") else ()


def _fields(found: object) -> Fields:
    return found if isinstance(found, dict) else {}
