"""Signed requests for trying a source: what a true sender would send, ready to post or to paste."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

from bridge.adapters_by_name import adapter_module
from bridge.errors import ConfigError
from bridge.model import Envelope
from bridge.settings import Settings


def signed_request(
    settings: Settings, source_name: str, body: bytes, *, headers: Sequence[tuple[str, str]] = ()
) -> Envelope:
    """A request this source accepts, signed now. Raises ConfigError where the source is unknown or cannot sign.

    The body is JSON unless `headers` say otherwise.
    """
    source = settings.sources.get(source_name)
    if source is None:
        known = ", ".join(sorted(settings.sources))
        raise ConfigError([f"sources.{source_name}: there is no such source; configured are {known}."])
    sign = getattr(adapter_module(source.common.adapter), "sign", None)
    if sign is None:
        raise ConfigError(
            [f"sources.{source_name}: the adapter {source.common.adapter!r} has no `sign` to make a request with."]
        )
    envelope = Envelope(
        source=source_name,
        method="POST",
        path=f"/in/{source_name}",
        query="",
        headers=tuple({"content-type": "application/json", **{name.lower(): value for name, value in headers}}.items()),
        body=body,
        received_at=datetime.now(UTC),
    )
    try:
        signed: Envelope = sign(source.own, envelope, source=source_name, public_url=settings.public_url(source))
    except ValueError as error:
        raise ConfigError([f"sources.{source_name}: {error}."]) from error
    return signed


def address(settings: Settings, envelope: Envelope) -> str:
    """Where this machine reaches the source: the port it listens on, not its public address."""
    query = f"?{envelope.query}" if envelope.query else ""
    return f"{local_url(settings)}{envelope.path}{query}"


def local_url(settings: Settings) -> str:
    """Where this machine reaches the server, without a path."""
    host, port = settings.bridge.listen
    here = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared, not bound
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def curl(settings: Settings, envelope: Envelope) -> str:
    """The request as one line for a shell."""
    headers = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in envelope.headers)
    body = shlex.quote(envelope.body.decode())
    return f"curl -sS {headers} --data-binary {body} {shlex.quote(address(settings, envelope))}"
