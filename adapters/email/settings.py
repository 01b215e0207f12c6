"""What an email source can be told in the configuration."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from adapters.email.identity import Requirement
from adapters.email.tokens import Style

Ingress = Literal["raw", "mailgun", "postmark", "sendgrid", "ses", "resend", "lmtp", "smtp", "imap"]
Sender = Literal["smtp", "mailgun", "postmark", "sendgrid", "ses", "resend"]

_NEEDS_SECRET = {"raw", "mailgun", "resend", "postmark"}


class Settings(BaseModel):
    """The table of an email source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(pattern=r"^[^@\s+]+@[^@\s]+$", examples=["agent@example.com"])
    """Where people write to; also the From of every answer."""
    name: str = ""
    """The name shown beside it."""
    aliases: tuple[str, ...] = ()
    """Other addresses of ours: mail from them is our own."""

    ingress: Ingress = "raw"
    secrets: tuple[SecretStr, ...] = ()
    """What the sender of inbound mail proves itself by, newest first: the signing secrets of `raw`, `mailgun` and
    `resend`; for `raw` also a bearer token; `user:password` for `postmark` and wherever a URL can carry it."""
    public_key: str = ""
    """SendGrid's verification key (base64)."""
    topics: tuple[str, ...] = ()
    """Amazon SNS topics that may deliver."""
    listen: str = ""
    """`127.0.0.1:8024` for the `lmtp` and `smtp` ingresses."""
    imap_url: str = ""
    """`imaps://user:password@host/INBOX`."""
    imap_idle: int = Field(default=60, ge=1, le=1700)
    """Seconds after which the mailbox is looked at even if the server announced nothing."""

    require_auth: Requirement = "dmarc"
    authserv_id: str = ""
    """The id our own mail server writes into Authentication-Results; without it signatures are checked here."""
    dns_servers: tuple[str, ...] = ()
    """Name servers for that check (`address` or `address:port`); the machine's own if empty."""
    unauthenticated: Literal["quarantine", "drop"] = "quarantine"
    senders: tuple[str, ...] = ()
    """Who may write: addresses, or domains as `@example.com`. Everybody if empty."""
    answer_lists: bool = False

    reply_style: Style = "plus"
    reply_domain: str = ""
    footer: str = "This answer was written by an automated agent."
    marker: bool = True
    """Whether mails begin with the line above which people reply."""
    still_working_after: int = Field(default=0, ge=0)
    """Seconds after which one mail tells that the work goes on; 0: none."""

    sender: Sender = "smtp"
    smtp_url: str = ""
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
    """Of one thread or sender; 0: no limit. More is a loop: declined, and kept for a person."""
    max_replies_day: int = Field(default=30, ge=0)
    max_domain_day: int = Field(default=0, ge=0)
    max_global_day: int = Field(default=0, ge=0)
    max_attachments: int = Field(default=20, ge=0)
    max_attachment: int = Field(default=10 * 1024 * 1024, ge=0)
    open_winmail: bool = False

    @model_validator(mode="after")
    def _complete(self) -> "Settings":
        problems = [problem for wrong, problem in self._checks() if wrong]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _checks(self) -> list[tuple[bool, str]]:
        return [
            (
                self.ingress in _NEEDS_SECRET and not self.secrets,
                f'ingress "{self.ingress}" needs secrets = ["${{MAIL_SECRET}}"]',
            ),
            (
                self.ingress == "sendgrid" and not self.public_key,
                'ingress "sendgrid" needs public_key, the verification key',
            ),
            (self.ingress == "ses" and not self.topics, 'ingress "ses" needs topics = ["arn:aws:sns:…"]'),
            (self.ingress in {"lmtp", "smtp"} and not self.listen, 'ingress "lmtp" needs listen = "127.0.0.1:8024"'),
            (
                self.ingress == "imap" and not self.imap_url,
                'ingress "imap" needs imap_url = "imaps://user:password@host/INBOX"',
            ),
            (self.reply_style == "catch_all" and not self.reply_domain, 'reply_style "catch_all" needs reply_domain'),
            (
                self.sender == "smtp" and not self.smtp_url,
                'sender "smtp" needs smtp_url = "smtps://user:password@host" or "maildir:path"',
            ),
            (self.sender != "smtp" and not self.api_key.get_secret_value(), f'sender "{self.sender}" needs api_key'),
        ]

    @property
    def domain(self) -> str:
        """The domain of our address."""
        return self.address.rpartition("@")[2].lower()
