"""Reply tokens and the addresses that carry them.

A token is 32 lower-case base32 characters, so it survives clients that change the case of an address. It is
keyed, made for one conversation and one participant, and valid only while the vault knows it. It proves the
thread, never the person.
"""

import base64
import hashlib
import re
from typing import Literal

from bridge.tokens import Tokens

Style = Literal["plus", "catch_all", "dedicated"]

_TOKEN = re.compile(r"[a-z2-7]{32}")
_IN_TEXT = re.compile(r"(?<![a-z0-9])[a-z2-7]{32}(?=(?:\.[a-z2-7]{16})?(?:@|%40))", re.IGNORECASE)
"""In an address or a Message-ID of ours, as text or inside a link; anything else that looks so is somebody's secret."""


def make_token(tokens: Tokens, conversation_id: str, participant: str) -> str:
    """The token of this participant in this conversation; the same each time while the key is."""
    signature = tokens.sign(f"{conversation_id}\n{participant.lower()}", purpose="email.reply")
    return base64.b32encode(hashlib.sha256(signature.encode()).digest()[:20]).decode().lower()


def digest(tokens: Tokens, value: str) -> str:
    """A keyed, address-safe name for `value`, for ids that must be the same at every try."""
    signature = tokens.sign(value, purpose="email.id")
    return base64.b32encode(hashlib.sha256(signature.encode()).digest()[:10]).decode().lower()


def reply_address(address: str, style: Style, domain: str, token: str, *, bounce: bool = False) -> str:
    """Where answers go, or, for a bounce, the envelope sender. A dedicated mailbox has only itself."""
    local, _, own_domain = address.partition("@")
    if style == "plus":
        return f"{local}+{'bounce-' if bounce else ''}{token}@{own_domain}"
    if style == "catch_all":
        return f"{'bounce-' if bounce else ''}{token}@{domain}"
    return address


def token_in_address(address: str) -> str:
    """The token in `local+TOKEN@`, `local+bounce-TOKEN@` or `TOKEN@`, whatever the case; else empty."""
    local = address.lower().partition("@")[0]
    last = re.split(r"[+]", local)[-1].removeprefix("bounce-")
    return last if _TOKEN.fullmatch(last) else ""


def is_bounce_address(address: str) -> bool:
    """Whether it is an envelope sender of ours: people answer where Reply-To says, only programs answer there."""
    local = re.split(r"[+]", address.lower().partition("@")[0])[-1]
    return local.startswith("bounce-") and bool(token_in_address(address))


def token_in_id(message_id: str) -> str:
    """The token that begins a Message-ID of ours, `<TOKEN.rest@domain>` or `<TOKEN@domain>`; else empty."""
    first = re.split(r"[.@]", message_id.strip("<> ").lower())[0]
    return first if _TOKEN.fullmatch(first) else ""


def scrub(text: str) -> str:
    """The text without tokens: quoted addresses must not hand them on."""
    return _IN_TEXT.sub("…", text)
