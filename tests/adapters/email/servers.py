"""A real Postfix and a real Dovecot of a test's own, on loopback, in a folder that is removed afterwards."""

import contextlib
import pwd
import random
import shutil
import site
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {home}/mail.log
maillog_file_prefixes = /tmp
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = mx.example.com
mydestination =
mynetworks = 127.0.0.0/8
recipient_delimiter = +
smtputf8_enable = no
virtual_mailbox_domains = example.org, imap.example.com
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = inline:{{ jane@example.org=jane/, agent@imap.example.com=agent/ }}
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nobody}
relay_domains = lmtp.example.com, rewrite.example.com, pipe.example.com, gone.example.org
transport_maps = inline:{{
    {{ lmtp.example.com = lmtp:inet:127.0.0.1:{lmtp} }}, {{ rewrite.example.com = lmtp:inet:127.0.0.1:{lmtp} }},
    {{ pipe.example.com = bridge: }}, {{ gone.example.org = gone: }} }}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_data_restrictions =
    check_client_access static:{{PREPEND Authentication-Results: mx.example.com; dkim=pass header.d=example.org}}
header_checks = regexp:{home}/etc/header_checks
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
"""

# The mail servers' words for what each program is; only the columns that matter differ.
MASTER = """
127.0.0.1:{smtp} inet n - n - - smtpd
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
lmtp      unix  - - n - - lmtp
virtual   unix  - n n - - virtual
error     unix  - - n - - error
retry     unix  - - n - - error
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
bridge    unix  - n n - - pipe
{relay}
gone      unix  - n n - - pipe
  flags=Rq user=nobody argv=/bin/sh -c {{exit 67}}
"""

DOVECOT = """
base_dir = {home}/dovecot
log_path = {home}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{home}/mail/agent
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={nobody} gid={nobody} home={home}/mail
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""

DEPLOY = Path(__file__).parents[3] / "deploy" / "mail"


def relay_of_postfix(command: str, secret_file: Path, port: int) -> str:
    """The relay's lines of master.cf as we ship them, with what an installation would change."""
    lines = [line.removeprefix("#") for line in (DEPLOY / "postfix.cf").read_text().splitlines()]
    first = next(at for at, line in enumerate(lines) if "flags=Rq" in line)
    shipped = "\n".join(lines[first : first + 3])
    for ours, theirs in (
        ("user=agent-bridge", "user=nobody"),
        ("/opt/agent-bridge/bin/agent-bridge", command),
        ("relay helpdesk", f"relay pipe --bridge=http://127.0.0.1:{port}"),
        ("/etc/agent-bridge/relay-secret", str(secret_file)),
    ):
        assert ours in shipped
        shipped = shipped.replace(ours, theirs)
    return shipped


@dataclass(frozen=True)
class Ports:
    """Where everything listens."""

    smtp: int
    lmtp: int
    imap: int
    http: int


@dataclass(frozen=True)
class Servers:
    """The running mail servers."""

    home: Path
    ports: Ports

    @property
    def inbox(self) -> Path:
        """Where jane's mail arrives."""
        return self.home / "mail" / "jane" / "new"

    def empty_agents_mailbox(self) -> None:
        """Throw away what earlier tests left."""
        for folder in ("new", "cur"):
            for path in (self.home / "mail" / "agent" / folder).glob("*"):
                path.unlink()

    def mails(self) -> list[bytes]:
        """What jane got, oldest first."""
        found = sorted(self.inbox.iterdir(), key=lambda path: path.stat().st_mtime_ns) if self.inbox.exists() else []
        return [path.read_bytes() for path in found]

    def send(self, to: str, body: str, **headers: str) -> None:
        """A mail from jane, by swaks."""
        given = {"Subject": "A question", "From": "Jane Roe <jane@example.org>"} | headers
        arguments = [
            part for name, value in given.items() for part in ("--header", f"{name.replace('_', '-')}: {value}")
        ]
        subprocess.run(
            [
                "swaks",
                "--server",
                f"127.0.0.1:{self.ports.smtp}",
                "--from",
                "jane@example.org",
                "--to",
                to,
                "--body",
                body,
                *arguments,
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )


@contextmanager
def open_servers(secret: str) -> Iterator[Servers]:
    home = Path(tempfile.mkdtemp(prefix="bridge-mail-"))
    home.chmod(0o755)
    ports = Ports(*_free_ports(4))
    try:
        _write(home, ports, secret)
        _run("postfix", "-c", str(home / "etc"), "start")
        _run("dovecot", "-c", str(home / "dovecot.conf"))
        for port in (ports.smtp, ports.imap):
            _wait_for(port)
        yield Servers(home, ports)
    finally:
        subprocess.run(
            ["doveadm", "-c", str(home / "dovecot.conf"), "stop"], check=False, capture_output=True, timeout=60
        )
        subprocess.run(["postfix", "-c", str(home / "etc"), "stop"], check=False, capture_output=True, timeout=60)
        shutil.rmtree(home, ignore_errors=True)


def _run(*command: str) -> None:
    """Output goes nowhere: a daemon would hold a pipe open."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


def _write(home: Path, ports: Ports, secret: str) -> None:
    values = {
        "home": home,
        "nobody": pwd.getpwnam("nobody").pw_uid,
        "smtp": ports.smtp,
        "lmtp": ports.lmtp,
        "imap": ports.imap,
        "relay": relay_of_postfix(_command(), home / "relay-secret", ports.http),
    }
    for folder in ("etc", "queue", "data", "mail", "dovecot"):
        (home / folder).mkdir()
    shutil.chown(home / "data", "postfix")
    shutil.chown(home / "mail", "nobody")
    (home / "etc" / "main.cf").write_text(MAIN.format(**values))
    (home / "etc" / "master.cf").write_text(MASTER.format(**values))
    (home / "etc" / "header_checks").write_text(
        "/^Message-ID:[[:space:]]*<[a-z2-7.]+@rewrite/ REPLACE Message-ID: <0100-replaced@relay.example.net>\n"
    )
    (home / "dovecot.conf").write_text(DOVECOT.format(**values))
    (home / "relay-secret").write_text(secret)


def _command() -> str:
    """How the pipe's user runs ours."""
    project = Path(__file__).parents[3]
    return f"/usr/bin/env PYTHONPATH={site.getsitepackages()[0]}:{project} {_python()} -m bridge"


def _python() -> str:
    """An interpreter that the pipe's user may run: ours, or, where ours lies in root's home, the system's."""
    own = Path(sys.executable).resolve()
    return str(own if not own.is_relative_to(Path.home()) else Path("/usr/bin/python3"))


def _free_ports(count: int) -> list[int]:
    """Below those the system hands out: one of theirs may be somebody's connection by the time a test listens."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - guards nothing
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports


def _wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)  # a process of its own starts; nothing tells us when
    raise TimeoutError(f"nothing listens on {port}")
