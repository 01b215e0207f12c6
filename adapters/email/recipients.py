"""For whom a source that is a mail server takes mail."""

from adapters.email.domains import plain_address
from adapters.email.settings import Settings
from adapters.email.tokens import token_in_address


class Recipients:
    """Its own addresses, whatever stands behind a `+` there, and those of replies; by option, their whole domains."""

    def __init__(self, settings: Settings) -> None:
        self._own = frozenset(each.lower() for each in (settings.address, *settings.aliases))
        self._names = frozenset(each.partition("@")[0] for each in self._own)
        self._domains = frozenset(
            filter(None, (*(each.rpartition("@")[2] for each in self._own), settings.reply_domain))
        )
        self._reply_domain = settings.reply_domain
        self._whole_domains = settings.recipients == "domain"

    def include(self, recipient: str) -> bool:
        """Whether mail to this recipient is for this source."""
        name, at, domain = plain_address(recipient.lower()).rpartition("@")
        if self._whole_domains:
            return not at or domain in self._domains
        if not at:
            return domain.partition("+")[0] in self._names
        return f"{name.partition('+')[0]}@{domain}" in self._own or (
            domain == self._reply_domain and bool(token_in_address(recipient))
        )
