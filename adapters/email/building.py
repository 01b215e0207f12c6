"""Puts an email source together from its settings."""

from adapters.email.adapter import Email, Parts
from adapters.email.answers import Answers
from adapters.email.connecting import ConnectedEmail
from adapters.email.ingresses.arrived import Ingress
from adapters.email.ingresses.connected import ConnectedIngress
from adapters.email.ingresses.mailgun import MailgunIngress
from adapters.email.ingresses.postmark import PostmarkIngress
from adapters.email.ingresses.raw import RawIngress
from adapters.email.ingresses.resend import ResendIngress
from adapters.email.ingresses.sendgrid import SendGridIngress
from adapters.email.ingresses.sns import Amazon, SesIngress
from adapters.email.memory import Memory
from adapters.email.oauth import AccessTokens
from adapters.email.senders.outgoing import Sender
from adapters.email.senders.providers import PROVIDERS, Account, ProviderSender
from adapters.email.senders.smtp import sender_of
from adapters.email.settings import Settings
from bridge.adapter import Adapter, Kit

_CONNECTED = {"lmtp", "smtp", "imap"}


def build(settings: Settings, kit: Kit) -> Adapter:
    """The adapter of one source."""
    memory = Memory(kit.vault)
    tokens = AccessTokens(settings.oauth, kit) if settings.oauth else None
    parts = Parts(
        settings=settings,
        kit=kit,
        ingress=_ingress(settings, kit),
        answers=Answers(settings, kit, _sender(settings, kit, tokens), memory),
        memory=memory,
        tokens=tokens,
    )
    return ConnectedEmail(parts) if settings.ingress in _CONNECTED else Email(parts)


def _ingress(settings: Settings, kit: Kit) -> Ingress:  # noqa: PLR0911 - one for each case
    secrets = [secret.get_secret_value() for secret in settings.secrets]
    match settings.ingress:
        case "raw":
            return RawIngress(secrets, kit.clock)
        case "mailgun":
            return MailgunIngress(secrets, kit.clock)
        case "postmark":
            return PostmarkIngress(secrets)
        case "sendgrid":
            return SendGridIngress((settings.public_key, settings.event_public_key), kit.clock)
        case "ses":
            return SesIngress(_amazon(settings), kit.vault, kit.http, kit.clock)
        case "resend":
            api = (settings.api_url or PROVIDERS["resend"].api_url, settings.api_key.get_secret_value())
            return ResendIngress(secrets, api, kit.http, kit.guarded_http, kit.clock, max_bytes=kit.max_body)
    return ConnectedIngress()


def _amazon(settings: Settings) -> Amazon:
    return Amazon(
        topics=settings.topics,
        region=settings.region,
        access_key_id=settings.access_key_id,
        secret_access_key=settings.api_key.get_secret_value(),
        s3_url=settings.s3_url,
    )


def _sender(settings: Settings, kit: Kit, tokens: AccessTokens | None) -> Sender:
    if settings.sender == "smtp":
        return sender_of(settings.smtp_url, tokens)
    provider = PROVIDERS[settings.sender]
    account = Account(
        api_url=settings.api_url or provider.api_url,
        api_key=settings.api_key.get_secret_value(),
        domain=settings.domain,
        region=settings.region,
        access_key_id=settings.access_key_id,
    )
    return ProviderSender(provider, account, kit.http, kit.clock)
