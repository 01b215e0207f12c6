"""What an email source can be told in the configuration."""

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from adapters.email.domains import plain_address, plain_domain
from adapters.email.identity import Requirement
from adapters.email.ingresses.mailgun import SCHEME as MAILGUN
from adapters.email.ingresses.raw import usable_secrets
from adapters.email.ingresses.resend import SCHEME as RESEND
from adapters.email.ingresses.sendgrid import SCHEME as SENDGRID
from adapters.email.oauth import OAuth
from adapters.email.tokens import Style

Ingress = Literal["raw", "mailgun", "postmark", "sendgrid", "ses", "resend", "lmtp", "smtp", "imap"]
Mailbox: TypeAlias = Annotated[str, AfterValidator(plain_address)]
Sender = Literal["smtp", "mailgun", "postmark", "sendgrid", "ses", "resend"]

_NEEDS_SECRET = {"raw", "mailgun", "resend", "postmark"}
_SIGNED = {"mailgun": MAILGUN, "resend": RESEND}


class Settings(BaseModel):
    """The table of an email source."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    address: Mailbox = Field(pattern=r"^[^@\s+]+@[^@\s]+$", examples=["agent@example.com"])
    """Where people write to; also the From of every answer."""
    name: str = ""
    """The name shown beside it."""
    aliases: tuple[Mailbox, ...] = ()
    """Other addresses of ours: mail from them is our own."""

    ingress: Ingress = "raw"
    secrets: tuple[SecretStr, ...] = ()
    """What the sender of inbound mail proves itself by, newest first: the signing secrets of `raw`, `mailgun` and
    `resend`; for `raw` also a bearer token; `user:password` for `postmark` and wherever a URL can carry it."""
    public_key: str = ""
    """SendGrid's verification key (base64)."""
    event_public_key: str = ""
    """The one of its event webhook, which tells of bounces and complaints."""
    topics: tuple[str, ...] = ()
    """Amazon SNS topics that may deliver."""
    listen: str = ""
    """`127.0.0.1:8024` for the `lmtp` and `smtp` ingresses."""
    recipients: Literal["own", "domain"] = "own"
    """Whom those take mail for: our own addresses, or whatever stands before their `@`, where a mail server maps
    others to us. Anybody else is refused, so that whoever wrote learns of it."""
    imap_url: str = Field(default="", repr=False)
    """`imaps://user:password@host/INBOX`."""
    oauth: OAuth | None = None
    """For `imap_url` and `smtp_url` without a password: how to log in by XOAUTH2."""
    imap_idle: int = Field(default=60, ge=1, le=1700)
    """Seconds after which the mailbox is looked at even if the server announced nothing."""

    require_auth: Requirement = "dmarc"
    authserv_id: str = ""
    """The id our own mail server writes into Authentication-Results; without it signatures are checked here."""
    trusted_sealers: tuple[str, ...] = ()
    """Domains that forward mail to us and whose ARC seals count for what they found out about its sender."""
    dns_servers: tuple[str, ...] = ()
    """Name servers for that check (`address` or `address:port`); the machine's own if empty."""
    unauthenticated: Literal["quarantine", "drop"] = "quarantine"
    senders: tuple[Mailbox, ...] = ()
    """Who may write: addresses, or domains as `@example.com`. Everybody if empty."""
    answer_lists: bool = False

    reply_style: Style = "plus"
    reply_domain: Annotated[str, AfterValidator(plain_domain)] = ""
    footer: str = "This answer was written by an automated agent."
    marker: bool = True
    """Whether mails begin with the line above which people reply."""
    still_working_after: int = Field(default=0, ge=0)
    """Seconds after which one mail tells that the work goes on; 0: none."""

    sender: Sender = "smtp"
    smtp_url: str = Field(default="", repr=False)
    api_key: SecretStr = SecretStr("")
    api_url: str = ""
    """Base of the provider's interface, where it is not the usual one (a region, a double)."""
    region: str = "us-east-1"
    access_key_id: str = ""
    s3_url: str = ""
    """Base of S3 for mail that SES stored there, where it is not Amazon's own."""
    verp: bool = True
    """Whether the envelope sender carries the token, so that bounces find their conversation."""

    max_replies_10_minutes: int = Field(default=5, ge=0)
    """Of one thread or sender; 0: no limit. More is a loop: parked for a person."""
    max_replies_day: int = Field(default=30, ge=0)
    max_same_text_hour: int = Field(default=1, ge=0)
    """Of one sender, where it says the same in 40 characters or more; 0: no limit. Mostly that is a responder."""
    max_domain_day: int = Field(default=0, ge=0)
    max_global_day: int = Field(default=0, ge=0)
    max_attachments: int = Field(default=20, ge=0)
    max_attachment: int = Field(default=10 * 1024 * 1024, ge=0)
    open_winmail: bool = False

    @model_validator(mode="after")
    def _complete(self) -> "Settings":
        problems = [problem for wrong, problem in (*self._ways_in(), *self._ways_out()) if wrong]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _ways_in(self) -> list[tuple[bool, str]]:
        """What the ingress lacks: a fact, and the sentence to show where it holds."""
        secrets = [secret.get_secret_value() for secret in self.secrets]
        way = self.ingress
        return [
            (way in _NEEDS_SECRET and not secrets, f'ingress "{way}" needs secrets = ["${{MAIL_SECRET}}"]'),
            (
                way in _SIGNED and bool(secrets) and not usable_secrets(_SIGNED[way], secrets),
                f'ingress "{way}": no secret can be its signing key, for example secrets = ["whsec_…"]',
            ),
            (
                way == "sendgrid" and not usable_secrets(SENDGRID, [self.public_key]),
                'ingress "sendgrid" needs public_key, the verification key of its security policy (base64)',
            ),
            (
                bool(self.event_public_key) and not usable_secrets(SENDGRID, [self.event_public_key]),
                "event_public_key is no verification key (base64) of SendGrid",
            ),
            (way == "ses" and not self.topics, 'ingress "ses" needs topics = ["arn:aws:sns:…"]'),
            (
                way in {"lmtp", "smtp"} and not re.fullmatch(r"(?:\S+:)?\d{1,5}", self.listen),
                f'ingress "{way}" needs listen = "127.0.0.1:8024"',
            ),
            (
                way == "imap" and not re.match(r"imaps?://[^/\s]+@[^/\s]+", self.imap_url),
                'ingress "imap" needs imap_url = "imaps://user:password@host/INBOX"',
            ),
        ]

    def _ways_out(self) -> list[tuple[bool, str]]:
        way = self.sender
        return [
            (self.reply_style == "catch_all" and not self.reply_domain, 'reply_style "catch_all" needs reply_domain'),
            (
                way == "smtp" and not re.match(r"smtps?://[^/\s]+|maildir:.", self.smtp_url),
                'sender "smtp" needs smtp_url = "smtps://user:password@host" or "maildir:path"',
            ),
            (way != "smtp" and not self.api_key.get_secret_value(), f'sender "{way}" needs api_key'),
        ]

    @property
    def receives_at(self) -> str:
        """Where mail comes in if not by HTTP, without what is secret of it."""
        if self.ingress in {"lmtp", "smtp"}:
            return f"{self.ingress}://{self.listen if ':' in self.listen else f'127.0.0.1:{self.listen}'}"
        if self.ingress == "imap":
            scheme, _, rest = self.imap_url.partition("://")
            login, at, place = rest.rpartition("@")
            return f"{scheme}://{login.partition(':')[0]}{at}{place}"
        return ""

    @property
    def warnings(self) -> list[str]:
        """What is allowed and yet surely a surprise, as `check` and `serve` tell it."""
        host = self.listen.rpartition(":")[0].strip("[]")
        found = [
            (
                self.require_auth == "none",
                'require_auth = "none": whoever writes any address as From is taken for that person.',
            ),
            (
                self.ingress in {"lmtp", "smtp"} and host not in {"", "127.0.0.1", "localhost", "::1"},
                f"listen = {self.listen!r} is open to others: let only your mail server in.",
            ),
            (
                bool(self.authserv_id) and self.ingress == "imap",
                f"authserv_id = {self.authserv_id!r}: its server must remove such results from what comes in.",
            ),
        ]
        return [warning for holds, warning in found if holds]

    @property
    def domain(self) -> str:
        """The domain of our address."""
        return self.address.rpartition("@")[2].lower()
