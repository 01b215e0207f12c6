"""A name server of a test's own: TXT records from a dict, over real UDP."""

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


@contextmanager
def open_name_server(records: Mapping[str, str], *, fails: bool = False) -> Iterator[str]:
    """Its `address:port`. A name that is not there does not exist; a server that fails says so."""

    class Answering(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, wire = self.request
            wire.sendto(answer(data, records, fails=fails), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def answer(query: bytes, records: Mapping[str, str], *, fails: bool) -> bytes:
    asked = dns.message.from_wire(query)
    reply: Any = dns.message.make_response(asked)
    name = asked.question[0].name
    text = records.get(name.to_text(omit_final_dot=True).lower())
    if fails:
        reply.set_rcode(dns.rcode.SERVFAIL)
    elif text is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    else:
        chunks = " ".join(f'"{text[at : at + 250]}"' for at in range(0, len(text), 250))
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", chunks))
    wire: bytes = reply.to_wire()
    return wire
