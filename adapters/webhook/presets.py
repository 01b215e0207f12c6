"""How known senders sign, one row each. Any field can be overridden in the configuration.

Header names, what is signed and tolerances follow each vendor's documentation; where a vendor publishes
a signed example, it is a test vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bridge.signing import Scheme, Timestamp

ChallengeName = Literal["slack", "zoom", "discord", "meta", "twitter", "cloudevents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A scheme, where the sender puts its own id of a message, and which handshake it makes."""

    scheme: Scheme
    identity: tuple[str, ...] = ()
    challenge: ChallengeName | None = None
    map: str | None = None
    """The ready-made mapping that goes with it, unless the source has one of its own."""


STANDARD = Scheme(
    kind="hmac",
    signature=("header:webhook-signature",),
    parse="versions",
    encoding="base64",
    timestamp=Timestamp(place="header:webhook-timestamp"),
    sign=("header:webhook-id", "lit:.", "ts", "lit:.", "body"),
    key="base64",
    prefixes=("whsec_",),
    min_key_bytes=16,
)
STANDARD_V1A = STANDARD.revised({"kind": "ed25519", "version": "v1a", "prefixes": ("whpk_", "whsk_")})

PRESETS: Mapping[str, Preset] = {
    # Also GitLab's signing tokens, OpenAI, Anthropic, Resend, Clerk, Supabase and others.
    "standard": Preset(scheme=STANDARD, identity=("header:webhook-id",)),
    "standard-v1a": Preset(scheme=STANDARD_V1A, identity=("header:webhook-id",)),
    "svix": Preset(
        scheme=STANDARD.revised(
            {
                "signature": ("header:svix-signature",),
                "timestamp": {"place": "header:svix-timestamp"},
                "sign": ("header:svix-id", "lit:.", "ts", "lit:.", "body"),
            }
        ),
        identity=("header:svix-id",),
    ),
    "github": Preset(
        scheme=Scheme(kind="hmac", signature=("header:X-Hub-Signature-256",), parse="prefix", prefix="sha256="),
        identity=("header:X-GitHub-Delivery",),
    ),
    "gitlab": Preset(  # a plain token; GitLab's newer signing tokens are "standard"
        scheme=Scheme(kind="token", signature=("header:X-Gitlab-Token",), encoding="text"),
        identity=("header:Idempotency-Key", "header:X-Gitlab-Event-UUID"),
    ),
    "stripe": Preset(  # the key is the literal whsec_… text, not what it encodes
        scheme=Scheme(
            kind="hmac",
            signature=("header:Stripe-Signature",),
            parse="pairs",
            timestamp=Timestamp(place="field:t"),
            sign=("ts", "lit:.", "body"),
        ),
        identity=("json:id",),
    ),
    "slack": Preset(
        scheme=Scheme(
            kind="hmac",
            signature=("header:X-Slack-Signature",),
            parse="prefix",
            prefix="v0=",
            timestamp=Timestamp(place="header:X-Slack-Request-Timestamp"),
            sign=("lit:v0:", "ts", "lit::", "body"),
        ),
        identity=("json:event_id",),
        challenge="slack",
    ),
    "shopify": Preset(
        scheme=Scheme(kind="hmac", signature=("header:X-Shopify-Hmac-SHA256",), encoding="base64"),
        identity=("header:X-Shopify-Webhook-Id",),
    ),
    "twilio": Preset(  # forms sign their fields, JSON signs its hash in the query
        scheme=Scheme(
            kind="hmac",
            algorithm="sha1",
            allow_sha1=True,  # the only algorithm Twilio has
            signature=("header:X-Twilio-Signature",),
            encoding="base64",
            sign=("url", "form_sorted"),
            body_sha256_query="bodySHA256",
        ),
        identity=("header:I-Twilio-Idempotency-Token",),
    ),
    "hubspot": Preset(
        scheme=Scheme(
            kind="hmac",
            signature=("header:X-HubSpot-Signature-v3",),
            encoding="base64",
            timestamp=Timestamp(place="header:X-HubSpot-Request-Timestamp", unit="ms"),
            sign=("method", "url_unquoted", "body", "ts"),
        ),
    ),
    "square": Preset(
        scheme=Scheme(
            kind="hmac", signature=("header:X-Square-HmacSha256-Signature",), encoding="base64", sign=("url", "body")
        ),
        identity=("json:event_id",),
    ),
    "paddle": Preset(
        scheme=Scheme(
            kind="hmac",
            signature=("header:Paddle-Signature",),
            parse="pairs",
            separator=";",
            signature_key="h1",
            timestamp=Timestamp(place="field:ts"),  # Paddle's own SDK allows 5 s; queues and clocks need more
            sign=("ts", "lit::", "body"),
        ),
        identity=("json:notification_id", "json:event_id"),
    ),
    "sendgrid": Preset(
        scheme=Scheme(
            kind="ecdsa-p256",
            algorithm="ecdsa-p256",
            signature=("header:X-Twilio-Email-Event-Webhook-Signature",),
            encoding="base64",
            timestamp=Timestamp(place="header:X-Twilio-Email-Event-Webhook-Timestamp"),
            sign=("ts", "body"),
            key="base64",
        ),
    ),
    "mailgun": Preset(  # the signature covers a one-time token, not the body: use it behind HTTPS only
        scheme=Scheme(
            kind="hmac",
            signature=("json:signature.signature",),
            timestamp=Timestamp(place="json:signature.timestamp"),
            sign=("ts", "json:signature.token"),
        ),
        identity=("json:signature.token",),
    ),
    "zendesk": Preset(
        scheme=Scheme(
            kind="hmac",
            signature=("header:X-Zendesk-Webhook-Signature",),
            encoding="base64",
            timestamp=Timestamp(place="header:X-Zendesk-Webhook-Signature-Timestamp", unit="iso"),
            sign=("ts", "body"),
        ),
        identity=("header:X-Zendesk-Webhook-Invocation-Id",),
    ),
    "linear": Preset(
        scheme=Scheme(
            kind="hmac",
            signature=("header:Linear-Signature",),
            timestamp=Timestamp(place="json:webhookTimestamp", unit="ms", tolerance=60),
        ),
        identity=("header:Linear-Delivery",),
    ),
    "zoom": Preset(
        scheme=Scheme(
            kind="hmac",
            signature=("header:x-zm-signature",),
            parse="prefix",
            prefix="v0=",
            timestamp=Timestamp(place="header:x-zm-request-timestamp"),
            sign=("lit:v0:", "ts", "lit::", "body"),
        ),
        challenge="zoom",
    ),
    "discord": Preset(  # Discord sends wrong signatures on purpose and unregisters who accepts them
        scheme=Scheme(
            kind="ed25519",
            signature=("header:X-Signature-Ed25519",),
            timestamp=Timestamp(place="header:X-Signature-Timestamp"),
            sign=("ts", "body"),
            key="hex",
        ),
        identity=("json:id",),
        challenge="discord",
    ),
    "meta": Preset(
        scheme=Scheme(kind="hmac", signature=("header:X-Hub-Signature-256",), parse="prefix", prefix="sha256="),
        challenge="meta",
    ),
    "twitter": Preset(
        scheme=Scheme(
            kind="hmac",
            signature=("header:x-twitter-webhooks-signature",),
            parse="prefix",
            prefix="sha256=",
            encoding="base64",
        ),
        challenge="twitter",
    ),
    "convoy": Preset(  # looks like Stripe's, but joins timestamp and body with a comma
        scheme=Scheme(
            kind="hmac",
            signature=("header:X-Convoy-Signature",),
            parse="pairs",
            timestamp=Timestamp(place="field:t"),
            sign=("ts", "lit:,", "body"),
        ),
        identity=("header:X-Convoy-Idempotency-Key",),
    ),
    "rfc9421": Preset(scheme=Scheme(kind="rfc9421", key="base64", min_key_bytes=16)),
    "bearer": Preset(
        scheme=Scheme(
            kind="token", signature=("header:Authorization",), parse="prefix", prefix="Bearer ", encoding="text"
        ),
    ),
    "basic": Preset(  # the secret is "user:password"
        scheme=Scheme(
            kind="token", signature=("header:Authorization",), parse="prefix", prefix="Basic ", encoding="base64"
        ),
    ),
    "api-key": Preset(
        scheme=Scheme(kind="token", signature=("header:X-API-Key",), encoding="text"),
    ),
    # xpander.ai's own webhook channel takes its key in the header or in the address.
    "xpander": Preset(
        scheme=Scheme(kind="token", signature=("header:x-api-key", "query:x-api-key"), encoding="text"),
        map="xpander",
    ),
    "none": Preset(scheme=Scheme(kind="none")),  # refused unless allow_unverified = true
}
