"""A mailbox over real IMAP, as far as a client that watches one goes: log in, look, fetch, wait for more."""

import base64
import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Box:
    """What lies in the mailbox, and what its server saw."""

    port: int = 0
    validity: int = 7
    mails: dict[int, bytes] = field(default_factory=dict)
    next_uid: int = 1
    tokens: tuple[str, ...] = ()
    """Access tokens that open it; a password opens it where there are none."""
    seen: list[str] = field(default_factory=list)
    """The tokens that were shown."""
    fetched: list[int] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    """How many times more a mail is not given out, as Exchange does with what it cannot convert."""

    def put(self, raw: bytes) -> int:
        uid, self.next_uid = self.next_uid, self.next_uid + 1
        self.mails[uid] = raw
        return uid


class _Conversation(socketserver.StreamRequestHandler):
    box: Box

    def handle(self) -> None:
        self.say("* OK ready")
        while line := self.rfile.readline():
            tag, _, command = line.decode().strip().partition(" ")
            verb = command.upper().removeprefix("UID ").partition(" ")[0]
            getattr(self, f"on_{verb.lower()}", self.on_other)(tag, command)
            if verb == "LOGOUT":
                return

    def say(self, line: str) -> None:
        self.wfile.write(line.encode("latin-1") + b"\r\n")

    def on_other(self, tag: str, command: str) -> None:
        self.say(f"{tag} BAD {command.partition(' ')[0]}?")

    def on_capability(self, tag: str, _command: str) -> None:
        self.say("* CAPABILITY IMAP4rev1 AUTH=XOAUTH2")
        self.say(f"{tag} OK done")

    def on_login(self, tag: str, _command: str) -> None:
        self.say(f"{tag} NO no" if self.box.tokens else f"{tag} OK done")

    def on_authenticate(self, tag: str, _command: str) -> None:
        self.say("+ ")
        shown = base64.b64decode(self.rfile.readline()).decode()
        token = shown.partition("auth=Bearer ")[2].strip("\1")
        self.box.seen.append(token)
        self.say(f"{tag} OK done" if token in self.box.tokens else f"{tag} NO AUTHENTICATIONFAILED")

    def on_examine(self, tag: str, _command: str) -> None:
        self.say(f"* {len(self.box.mails)} EXISTS")
        self.say(f"* OK [UIDVALIDITY {self.box.validity}]")
        self.say(f"* OK [UIDNEXT {self.box.next_uid}]")
        self.say(f"{tag} OK [READ-ONLY]")

    def on_search(self, tag: str, command: str) -> None:
        first = re.search(r"UID (\d+):\*", command.partition("SEARCH")[2])
        most = max(self.box.mails, default=0)
        wanted = [uid for uid in self.box.mails if first is None or uid >= min(int(first.group(1)), most)]
        self.say("* SEARCH " + " ".join(map(str, wanted)))
        self.say(f"{tag} OK done")

    def on_fetch(self, tag: str, command: str) -> None:
        for uid in map(int, command.split()[2].split(",")):
            self.box.fetched.append(uid)
            if self.box.refused.get(uid):
                self.box.refused[uid] -= 1
                self.say(f"{tag} NO The message could not be converted to an RFC-822 compatible format.")
                return
            if raw := self.box.mails.get(uid):
                self.wfile.write(f"* {uid} FETCH (UID {uid} BODY[] {{{len(raw)}}}\r\n".encode() + raw + b")\r\n")
        self.say(f"{tag} OK done")

    def on_logout(self, tag: str, _command: str) -> None:
        self.say("* BYE bye")
        self.say(f"{tag} OK done")


@contextmanager
def open_box() -> Iterator[Box]:
    box = Box()

    class Serving(_Conversation):
        pass

    Serving.box = box
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Serving) as server:
        server.daemon_threads = True
        box.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield box
        server.shutdown()
