"""Whether a person wrote it. A machine's mail is stored and never answered (RFC 3834)."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from adapters.email.headers import Address, Headers
from adapters.email.tokens import is_bounce_address

Sort = Literal["human", "auto", "bounce", "list", "self"]

MAX_HOPS = 25

LOOP_HEADER = "X-Agent-Bridge-Source"
"""On every mail we send: one of ours that comes back is known by it, whatever else was rewritten."""

_MACHINES = re.compile(
    r"(?:mailer-daemon|postmaster|mail-daemon|mailerdaemon|bounces?|no-?reply|do-?not-?reply|noreply.*)(?:[+=-].*)?",
    re.IGNORECASE,
)
_BOUNCERS = re.compile(r"(?:mailer-?daemon|postmaster|mail-daemon|mdaemon|bounces?)(?:[+=-].*)?", re.IGNORECASE)
_BOUNCED = (
    "undeliver", "delivery status", "delivery failure", "delivery has failed", "delivery report", "mail delivery",
    "delivery notification",
    "returned mail", "failure notice", "mail system error", "warning: message", "could not send",
    "could not be send", "nondeliverable", "failed mail", "rejected mail",
    "non remis", "non-remis", "unzustellbar", "mailzustellung", "onbestelbaar", "mensaje no", "não entregue",
    "mancato recapito", "ikke leveret", "nelze doruč", "недоставлен", "не доставлен", "宛先不明",
    "系统退信", "退信", "배달되지",
)  # fmt: skip
_AWAY = (
    "out of office", "out of the office", "automatic reply",
    "auto reply", "auto-reply", "autoreply", "automatic response",
    "auto response", "auto-response", "autoresponder", "vacation reply", "vacation respon",
    "away from the office",
    "away from my mail",
    "abwesenheitsnotiz", "abwesenheitsmeldung", "abwesenheitsassistent", "automatische antwort",
    "réponse automatique", "absence du bureau",
    "respuesta automática", "fuera de la oficina", "resposta automática", "fora do escritório",
    "risposta automatica", "fuori sede", "fuori ufficio", "automatisch antwoord", "autosvar",
    "automatisk svar",
    "frånvarande:", "automaattinen vastaus", "automatyczna odpowiedź", "odpowiedź automatyczna",
    "automatická odpověď", "автоматический ответ", "автоответ", "автовідповідь", "automatikus válasz", "otomatik yanıt",
    "αυτόματη απάντηση", "răspuns automat", "自动回复", "自動回覆", "自動応答", "자동 회신",
    "trả lời tự động", "balasan otomatis", "תשובה אוטומטית", "رد تلقائي",
)  # fmt: skip
"""How subjects of automatic answers begin: a weak sign, for programs that give no other."""
_MAYBE_AWAY = (
    "vacation", "on leave", "abwesen", "afwezig", "fraværende", "frånvar", "poissa", "不在", "부재중",
)  # fmt: skip
"""Of a mail that answers one, likewise; people who write of their own accord may ask about their leave."""


_RECIPIENTS = ("to", "delivered-to", "x-original-to", "envelope-to")


def _begins_with(subject: str, words: tuple[str, ...]) -> bool:
    return subject.casefold().lstrip(" *[(\"'").startswith(words)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What sort of mail it is, and the fact that shows it, for the person who asks why it got no answer."""

    sort: Sort
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What we are known by: a mail that carries one of these as its author came from us."""

    addresses: Collection[str] = ()
    domains: Collection[str] = ()
    """Where every address is ours (a catch-all for replies)."""
    source: str = ""

    def includes(self, address: Address) -> bool:
        """Whether it is one of ours, or one of ours with a token after `+`."""
        local, _, domain = address.address.partition("@")
        return f"{local.partition('+')[0]}@{domain}" in self.addresses or domain in self.domains


def classify(
    headers: Headers, media_type: str, mail_from: str | None, own: Own, *, answer_lists: bool = False
) -> Judgement:
    """Judge by the headers, the envelope and the outermost media type; pure, and never raises.

    `X-Auto-Response-Suppress` is no sign of a machine: Exchange puts it on ordinary mail.
    """
    for check in (_ours, _bounce, _automatic, _listed):
        if (found := check(headers, media_type, mail_from, own)) and not (answer_lists and found.sort == "list"):
            return found
    return Judgement("human")


def _ours(headers: Headers, _media_type: str, _mail_from: str | None, own: Own) -> Judgement | None:
    if own.source and own.source in headers.all(LOOP_HEADER.lower()):
        return Judgement("self", LOOP_HEADER)
    if any(own.includes(address) for address in headers.addresses("from")):
        return Judgement("self", "from")
    return Judgement("auto", "hops") if len(headers.all("received")) > MAX_HOPS else None


def _bounce(headers: Headers, media_type: str, mail_from: str | None, _own: Own) -> Judgement | None:
    kind = headers.first("content-type").lower()
    if media_type == "multipart/report" or "report-type=" in kind:
        return Judgement("bounce", "multipart/report")
    if any(_BOUNCERS.fullmatch(address.address.partition("@")[0]) for address in headers.addresses("from")):
        return Judgement("bounce", "from")
    if headers.first("x-failed-recipients"):  # Exim, Gmail
        return Judgement("bounce", "x-failed-recipients")
    silent = mail_from == "" or headers.first("return-path") == "<>"
    if silent:
        return (
            Judgement("bounce", "null sender")
            if _begins_with(headers.text("subject"), _BOUNCED)
            else Judgement("auto", "null sender")
        )
    # Whoever names an envelope sender is no bounce (RFC 5321, 4.5.5), but somebody who asks about a delivery.
    if mail_from is None and not headers.first("return-path") and not headers.first("in-reply-to"):
        return Judgement("bounce", "subject") if _begins_with(headers.text("subject"), _BOUNCED) else None
    return None


def _automatic(headers: Headers, _media_type: str, _mail_from: str | None, _own: Own) -> Judgement | None:
    submitted = headers.first("auto-submitted").lower().partition(";")[0].strip()
    if submitted and submitted != "no":
        return Judgement("auto", "auto-submitted")
    for name in ("x-autoreply", "x-autorespond", "x-autoresponse", "x-auto-reply-from", "x-mail-autoreply"):
        if headers.first(name).lower() not in {"", "no"}:
            return Judgement("auto", name)
    if headers.first("precedence").lower() in {"auto_reply", "bulk", "junk"} and not headers.first("list-id"):
        return Judgement("auto", "precedence")
    if any(is_bounce_address(each.address) for name in _RECIPIENTS for each in headers.addresses(name)):
        return Judgement("auto", "sent to a return path")
    if any(_MACHINES.fullmatch(address.address.partition("@")[0]) for address in headers.addresses("from")):
        return Judgement("auto", "from")
    answers_one = headers.first("in-reply-to") or headers.first("references")
    words = (*_AWAY, *_MAYBE_AWAY) if answers_one else _AWAY
    return Judgement("auto", "subject") if _begins_with(headers.text("subject"), words) else None


def _listed(headers: Headers, _media_type: str, _mail_from: str | None, _own: Own) -> Judgement | None:
    for name in ("list-id", "list-unsubscribe", "list-post", "x-mailing-list"):
        if headers.first(name):
            return Judgement("list", name)
    return Judgement("list", "precedence") if headers.first("precedence").lower() in {"list", "bulk", "junk"} else None
