"""What a configuration allows and whoever wrote it would hardly expect."""

from urllib.parse import urlsplit

from bridge.options import RemoteAgent, guard_from
from bridge.settings import Settings


def surprises(settings: Settings) -> list[str]:
    """A sentence for each."""
    found = []
    if _leads_here(settings.public_url()):
        found += [
            f"agents.{name} is elsewhere, but bridge.public_url leads to this machine: it cannot open file links."
            for name, agent in settings.agents.items()
            if isinstance(agent, RemoteAgent) and not _leads_here(agent.base_url)
        ]
    found += [
        f"sources.{name}: {warning}"
        for name, source in settings.sources.items()
        for warning in getattr(source.own, "warnings", ())  # an adapter's own, where its settings have some
    ]
    found += [
        f"sources.{name}: {address} will not be called ({refusal}): see allow_private_callbacks and egress_allow."
        for name, source in settings.sources.items()
        for address in getattr(source.own, "called", ())  # what the egress guard will judge, where its settings know
        if (refusal := guard_from(settings.bridge, source.common).foreseen(address))
    ]
    first: dict[str, str] = {}
    found += [
        f"sources.{source.name} receives at {place}, as sources.{first[place]} does: only one of them gets what comes."
        for source in settings.sources.values()
        if first.setdefault(place := settings.receives_at(source), source.name) != source.name
    ]
    used = {source.common.agent for source in settings.sources.values()}
    found += [f"agents.{name} is used by no source." for name in settings.agents if name not in used]
    return found


def _leads_here(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1", "0.0.0.0"}  # noqa: S104 - compared
