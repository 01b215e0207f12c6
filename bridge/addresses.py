"""Which addresses may be dialled when someone else chose them. Pure: nothing is resolved here.

The table is our own, because `ipaddress.is_global` calls 224.0.0.1, 64:ff9b::7f00:1, 2002:7f00:1::,
::127.0.0.1 and Azure's 168.63.129.16 global (measured on 3.11) and moved between patch releases.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import urlsplit

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

METADATA: Final[Mapping[Address, str]] = {
    ip_address(text): what
    for text, what in {
        "169.254.169.254": "cloud metadata",
        "169.254.170.2": "AWS container credentials",
        "169.254.170.23": "AWS pod identity",
        "168.63.129.16": "the Azure wire server",
        "100.100.100.200": "Alibaba Cloud metadata",
        "192.0.0.192": "Oracle Cloud metadata",
        "fd00:ec2::254": "AWS metadata",
        "fd00:ec2::23": "AWS pod identity",
        "fd20:ce::254": "Google Cloud metadata",
    }.items()
}
"""They hand out credentials to whoever asks: no option opens them."""

PRIVATE: Final[Mapping[Network, str]] = {
    ip_network(text): what
    for text, what in {
        "10.0.0.0/8": "a private network",
        "100.64.0.0/10": "a carrier's or an overlay's private network",
        "127.0.0.0/8": "loopback",
        "172.16.0.0/12": "a private network",
        "192.168.0.0/16": "a private network",
        "::1/128": "loopback",
        "fc00::/7": "a private network",
    }.items()
}
"""What `allow_private` opens."""

RESERVED: Final[Mapping[Network, str]] = {
    ip_network(text): what
    for text, what in {
        "0.0.0.0/8": "this host",
        "169.254.0.0/16": "link-local",
        "192.0.0.0/24": "reserved by IETF",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "a 6to4 relay",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
        "::/96": "an embedded IPv4 address",
        "64:ff9b::/96": "a NAT64 address",
        "64:ff9b:1::/48": "a NAT64 address",
        "100::/64": "a discard prefix",
        "2001::/23": "reserved by IETF",
        "2001:db8::/32": "documentation",
        "2002::/16": "a 6to4 address",
        "3fff::/20": "documentation",
        "5f00::/16": "segment routing",
        "fe80::/10": "link-local",
        "fec0::/10": "site-local",
        "ff00::/8": "multicast",
    }.items()
}
"""What only an allowed network or host opens."""

_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"), ip_network("::/96"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What may be reached at addresses that came from outside or whose name can change its mind.

    The default is public addresses over https. Plain http is taken to addresses that are let
    through as private, and to public ones only with `allow_http`.
    """

    allow_private: bool = False
    allow_http: bool = False
    allow_networks: tuple[Network, ...] = ()
    """Exempt from the table; metadata addresses stay closed."""
    allow_hosts: frozenset[str] = frozenset()
    """Exact names, in lower case, whose addresses are exempt from the table; metadata stays closed."""
    allow_ports: frozenset[int] | None = None
    """None: any port."""
    max_response_bytes: int = 65_536
    deadline_seconds: float = 30.0
    """For the whole exchange, from the name lookup to the last byte of the answer."""

    def refusal(self, address: Address, *, host: str, scheme: str) -> str | None:
        """Why this address may not be dialled for this URL, or None."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            return self.refusal(address.ipv4_mapped, host=host, scheme=scheme)
        embedded = _embedded(address)
        if metadata := METADATA.get(_unscoped(address)) or (embedded and METADATA.get(embedded)):
            return metadata
        what = _what(address)
        if what is None:
            return None if scheme == "https" or self.allow_http else "plain http to a public address"
        if not self._exempt(address, host):
            return what
        # An open translation prefix opens what lies behind it no further than dialling it directly would.
        return self.refusal(embedded, host=host, scheme="https") if embedded else None

    def foreseen(self, url: str) -> str | None:
        """Why this URL will surely be refused; None where that depends on what its name leads to."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return "it is no address"
        host = (parts.hostname or "").rstrip(".")
        try:
            return self.refusal(
                ip_address("127.0.0.1" if host == "localhost" else host), host=host, scheme=parts.scheme
            )
        except ValueError:  # a name
            may_be_private = self.allow_private or self.allow_networks or host in self.allow_hosts
            return "plain http" if parts.scheme == "http" and not (self.allow_http or may_be_private) else None

    def _exempt(self, address: Address, host: str) -> bool:
        return (
            host in self.allow_hosts
            or _network(address, self.allow_networks) is not None
            or (self.allow_private and _network(address, PRIVATE) is not None)
        )


def _what(address: Address) -> str | None:
    for table in (PRIVATE, RESERVED):
        network = _network(address, table)
        if network is not None:
            return table[network]
    return None


def _network(address: Address, networks: Mapping[Network, str] | tuple[Network, ...]) -> Network | None:
    return next((network for network in networks if address in network), None)


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that a translation prefix would reach."""
    if isinstance(address, IPv4Address):
        return None
    if address.sixtofour:
        return address.sixtofour
    if address != IPv6Address("::1") and _network(address, _NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _unscoped(address: Address) -> Address:
    """Without `%eth0`, which takes part in equality."""
    return address if isinstance(address, IPv4Address) else IPv6Address(int(address))
