"""What the guard lets through, and that nothing at all reaches what it does not."""

import socket
from ipaddress import ip_address, ip_network

import httpx2
import pytest
from aiohappyeyeballs import AddrInfoType

from bridge.addresses import METADATA, Address, Guard
from bridge.egress import NEVER_SENT, open_client
from bridge.errors import Denied
from tests.words.wire import answer, serving

SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "0.0.0.0",  # noqa: S104 - reaches this host on Linux
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "１２７.0.0.1",  # noqa: RUF001 - full-width digits, which IDNA folds
    "127。0。0。1",
]


@pytest.mark.parametrize("host", SPELLINGS)
@pytest.mark.parametrize("guard", [Guard(), Guard(allow_http=True)], ids=["https", "http-allowed"])
async def test_no_spelling_of_this_machine_lets_a_byte_through(host: str, guard: Guard) -> None:
    async with serving(answer()) as wire, open_client(guard=guard, timeout=2) as client:
        with pytest.raises((Denied, httpx2.InvalidURL, *NEVER_SENT)):
            await client.post(f"http://{host}:{wire.port}/", content=b"secret")
    assert (wire.connections, wire.requests) == (0, [])


class Answers:
    """Gives one list of addresses after the other, then the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def __call__(self, _host: str, port: int) -> list[AddrInfoType]:
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 0, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))
            for address in addresses
        ]


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["::1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]],
)
async def test_a_name_that_means_a_private_address_is_denied_with_the_reason(addresses: list[str]) -> None:
    async with (
        serving(answer()) as wire,
        open_client(guard=Guard(allow_http=True), resolve=Answers(addresses)) as client,
    ):
        with pytest.raises(Denied, match=r"innocent\.example\.com is at .* which is"):
            await client.post(f"http://innocent.example.com:{wire.port}/")
    assert wire.connections == 0


async def test_a_name_that_turns_private_between_two_calls_is_denied_then() -> None:
    answers = Answers(["127.0.0.1"], ["127.0.0.2"])
    guard = Guard(allow_networks=(ip_network("127.0.0.1/32"),))
    # 127.0.0.1 plays the public address, 127.0.0.2 the private one.
    async with (
        serving(answer(headers=("Connection: close",)), host="0.0.0.0") as wire,  # noqa: S104
        open_client(guard=guard, resolve=answers) as client,
    ):
        url = f"http://rebinding.example.com:{wire.port}/"
        assert (await client.post(url)).status_code == 200
        with pytest.raises(Denied, match=r"127\.0\.0\.2"):
            await client.post(url)
    assert wire.connections == 1


async def test_a_redirect_that_is_followed_on_demand_is_checked_like_any_address() -> None:
    guard = Guard(allow_networks=(ip_network("127.0.0.1/32"),))
    location = "Location: http://127.0.0.2:1/"
    async with (
        serving(answer(status="307 Temporary Redirect", headers=(location,))) as wire,
        open_client(guard=guard) as client,
    ):
        with pytest.raises(Denied):
            await client.post(wire.url, follow_redirects=True)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "not https"),
        ("https://user:secret@example.com/", "user or a password"),
        ("https://user@example.com/", "user or a password"),
        ("https://example.com:22/", "port 22"),
        ("http://example.com/", "port 80"),
    ],
)
async def test_what_needs_no_lookup_is_refused_without_one(url: str, reason: str) -> None:
    guard = Guard(allow_ports=frozenset({443}))
    async with open_client(guard=guard, resolve=Answers([])) as client:
        with pytest.raises(Denied, match=reason) as caught:
            await client.get(url)
    assert "secret" not in str(caught.value)


async def test_plain_http_to_a_public_address_is_denied_by_default() -> None:
    async with open_client(guard=Guard(), resolve=Answers(["93.184.215.14"])) as client:
        with pytest.raises(Denied, match="plain http"):
            await client.get("http://example.com/")


async def test_the_exempt_host_may_be_private_and_no_other() -> None:
    guard = Guard(allow_hosts=frozenset({"inside.example.com"}))
    async with serving(answer()) as wire, open_client(guard=guard, resolve=Answers(["127.0.0.1"])) as client:
        assert (await client.get(f"http://inside.example.com:{wire.port}/")).status_code == 200
        assert (await client.get(f"http://Inside.Example.Com.:{wire.port}/")).status_code == 200
        with pytest.raises(Denied):
            await client.get(f"http://not-inside.example.com:{wire.port}/")


DENIED = """0.0.0.1 10.1.2.3 100.64.0.1 127.8.8.8 169.254.1.1 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1
192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
168.63.129.16 169.254.169.254 100.100.100.200 :: ::1 ::127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::7f00:1 100::1 2001::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1
5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 fd00:ec2::254%1""".split()  # noqa: SIM905 - a table


@pytest.mark.parametrize("address", DENIED)
def test_the_table_denies(address: str) -> None:
    assert Guard().refusal(ip_address(address), host="x", scheme="https")


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_the_table_lets_public_addresses_through(address: str) -> None:
    assert Guard().refusal(ip_address(address), host="x", scheme="https") is None


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "192.168.0.1", "::1", "fd12::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_private_addresses_open_with_allow_private(address: str, scheme: str) -> None:
    assert Guard(allow_private=True).refusal(ip_address(address), host="x", scheme=scheme) is None


@pytest.mark.parametrize("address", ["169.254.1.1", "0.0.0.1", "224.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"])
def test_allow_private_opens_nothing_else(address: str) -> None:
    assert Guard(allow_private=True).refusal(ip_address(address), host="x", scheme="https")


EVERYTHING = Guard(
    allow_private=True,
    allow_http=True,
    allow_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")),
    allow_hosts=frozenset({"x"}),
)


@pytest.mark.parametrize("metadata", METADATA, ids=str)
def test_no_option_opens_a_metadata_address(metadata: Address) -> None:
    assert EVERYTHING.refusal(metadata, host="x", scheme="https")


@pytest.mark.parametrize("form", ["::ffff:{}", "::{}", "64:ff9b::{}", "64:ff9b:1::{}"])
@pytest.mark.parametrize("metadata", [address for address in METADATA if address.version == 4], ids=str)
def test_no_translation_opens_a_metadata_address(metadata: Address, form: str) -> None:
    assert EVERYTHING.refusal(ip_address(form.format(metadata)), host="x", scheme="https")


def test_an_open_translation_prefix_opens_public_addresses_only() -> None:
    guard = Guard(allow_networks=(ip_network("64:ff9b::/96"),))
    assert guard.refusal(ip_address("64:ff9b::808:808"), host="x", scheme="https") is None
    assert guard.refusal(ip_address("64:ff9b::7f00:1"), host="x", scheme="https")


@pytest.mark.parametrize(
    ("url", "guard", "is_refused"),
    [
        ("http://127.0.0.1:9000/answers", Guard(), True),
        ("https://localhost/answers", Guard(), True),
        ("https://[::1]/answers", Guard(), True),
        ("https://169.254.169.254/", Guard(allow_private=True), True),
        ("http://orders.example.com/", Guard(), True),
        ("http://127.0.0.1:9000/answers", Guard(allow_private=True), False),
        ("http://orders.example.com/", Guard(allow_private=True), False),
        ("http://orders.example.com/", Guard(allow_hosts=frozenset({"orders.example.com"})), False),
        ("http://10.1.2.3/", Guard(allow_networks=(ip_network("10.1.0.0/16"),)), False),
        ("https://orders.example.com/", Guard(), False),
        ("https://8.8.8.8/", Guard(), False),
    ],
)
def test_what_will_surely_be_refused_is_foreseen_without_a_lookup(url: str, guard: Guard, *, is_refused: bool) -> None:
    assert (guard.foreseen(url) is not None) is is_refused
