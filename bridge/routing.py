"""`reply_via`: the answers of one source go out through another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bridge.model import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where answers go instead."""

    source: str
    return_address: str


def routed(turn: Turn, routes: Mapping[str, Route]) -> Turn:
    """The turn as its answers see it: what was said is the same, where to answer is what the operator wrote.

    Only what was said at a source with a route: people who reply at the other source are answered there.
    """
    route = routes.get(turn.source)
    if route is None or not turn.said:
        return turn
    last = turn.said[-1]
    there = replace(last, message=replace(last.message, return_address=route.return_address))
    return replace(turn, via=route.source, said=(*turn.said[:-1], there))
