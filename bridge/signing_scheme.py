"""A way of signing requests, written down as data: where the signature is and what it covers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Kind = Literal["hmac", "ed25519", "ecdsa-p256", "token", "rfc9421", "none"]
Encoding = Literal["hex", "base64", "base64url", "text"]
Place = Literal["header", "query", "json", "field"]

_BARE_PARTS = frozenset({"ts", "body", "method", "url", "url_unquoted", "form_sorted"})
_NAMED_PARTS = frozenset({"lit", "header", "json"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Location:
    """Where one value stands in a request: a header, a query parameter, a JSON path, a field of the signature."""

    place: Place
    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of the signed bytes. Literals are kept apart from values, so neither can pass for the other."""

    kind: str
    name: str = ""
    literal: bytes = b""


def location_from_text(text: str) -> Location:
    """Read `header:X-Signature`, `query:key`, `json:signature.value` or `field:t`; ValueError otherwise."""
    place, _, name = text.partition(":")
    if not name:
        raise ValueError(f"{text!r} names no place; write for example 'header:X-Signature'")
    match place:
        case "header":
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a header")
            return Location("header", name.lower())
        case "query" | "json" | "field":
            return Location(place, name)
    raise ValueError(f"{text!r}: a place starts with header:, query:, json: or field:")


def part_from_text(text: str) -> Part:
    """Read one part of what is signed, such as `ts`, `lit:.`, `body` or `header:webhook-id`; ValueError otherwise."""
    kind, colon, name = text.partition(":")
    if not colon and kind in _BARE_PARTS:
        return Part(kind)
    if kind in _NAMED_PARTS and name:
        if kind == "lit":
            return Part("lit", literal=name.encode())
        return Part(kind, location_from_text(text).name)
    known = ", ".join(sorted(_BARE_PARTS))
    raise ValueError(f"{text!r} is no part of a signature; use {known}, lit:TEXT, header:NAME or json:PATH")


class Timestamp(BaseModel):
    """When a request was signed, and how far from our clock that may be, in both directions.

    The configuration may write `from` for `place`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: str = Field(description="header:NAME, field:KEY of the signature header, or json:PATH")
    unit: Literal["s", "ms", "iso"] = "s"
    tolerance: float = Field(default=300, gt=0, description="seconds")

    @cached_property
    def location(self) -> Location:
        return location_from_text(self.place)

    @model_validator(mode="before")
    @classmethod
    def _from_is_place(cls, data: Any) -> Any:
        # One spelling inside, so that a preset's `place` and a configured `from` override each other.
        return (
            {"place" if key == "from" else key: value for key, value in data.items()}
            if isinstance(data, dict)
            else data
        )

    @field_validator("place")
    @classmethod
    def _place_is_readable(cls, value: str) -> str:
        location_from_text(value)
        return value


class Scheme(BaseModel):
    """One way of signing. Every field is plain configuration; presets are rows of it.

    `signature` lists the places where the signature may stand; exactly one of them must hold exactly
    one value. `sign` lists the signed parts in order; a list, not a template, so that no value can
    reach into its neighbour. `prefixes` are stripped from a secret before `key` decodes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    algorithm: Literal["sha1", "sha256", "sha512", "ed25519", "ecdsa-p256"] = "sha256"
    allow_sha1: bool = False
    signature: tuple[str, ...] = ()
    parse: Literal["whole", "prefix", "pairs", "versions"] = "whole"
    prefix: str = ""
    separator: str = ","
    signature_key: str = "v1"
    version: str = "v1"
    encoding: Encoding = "hex"
    timestamp: Timestamp | None = None
    sign: tuple[str, ...] = ("body",)
    body_sha256_query: str | None = None
    key: Literal["utf8", "base64", "hex"] = "utf8"
    prefixes: tuple[str, ...] = ()
    min_key_bytes: int = Field(default=8, ge=1)
    public_url: str | None = None
    keyid: str | None = None
    covered: tuple[str, ...] = ("@method", "@authority", "@path")

    def revised(self, changes: Mapping[str, Any]) -> Self:
        """This scheme with some fields changed; within a table such as `timestamp`, only the given keys change.

        Raises pydantic's ValidationError.
        """
        fields = self.model_dump(exclude_unset=True)
        for name, value in changes.items():
            old = fields.get(name)
            fields[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        return type(self).model_validate(fields)

    @cached_property
    def locations(self) -> tuple[Location, ...]:
        return tuple(location_from_text(text) for text in self.signature)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part_from_text(text) for text in self.sign)

    @cached_property
    def signs_url(self) -> bool:
        """Whether the address is part of what is signed, so that `public_url` must be known."""
        return self.kind == "rfc9421" or any(part.kind in {"url", "url_unquoted"} for part in self.parts)

    @property
    def covers_body(self) -> bool:
        """Whether a verified request's body is the one that was signed."""
        return self.kind == "rfc9421" or (
            self.kind not in {"token", "none"} and any(part.kind in {"body", "form_sorted"} for part in self.parts)
        )

    @property
    def is_asymmetric(self) -> bool:
        """Whether its secrets are public keys, which prove nothing about whoever knows them."""
        return "sha" not in self.algorithm if self.kind == "rfc9421" else self.kind in {"ed25519", "ecdsa-p256"}

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        for problem in (self._algorithm_problem(), self._place_problem(), self._content_problem()):
            if problem:
                raise ValueError(problem)
        return self

    def _algorithm_problem(self) -> str | None:
        if self.algorithm == "sha1" and not self.allow_sha1:
            return "sha1 is broken for signatures in general; set allow_sha1 = true if the sender has no other"
        known = {"hmac": ("sha1", "sha256", "sha512"), "rfc9421": ("sha256", "ed25519", "ecdsa-p256")}
        allowed = known.get(self.kind)
        if allowed and self.algorithm not in allowed:
            return f"algorithm {self.algorithm!r} does not go with kind {self.kind!r}; use {', '.join(allowed)}"
        return None

    def _place_problem(self) -> str | None:
        if self.kind in {"none", "rfc9421"}:
            return None
        if not self.locations:
            return "signature names no place, for example signature = ['header:X-Signature']"
        if any(location.place == "field" for location in self.locations):
            return "a signature stands in header:, query: or json:; its key in a header of pairs is signature_key"
        if self.timestamp and self.timestamp.location.place == "field" and self.parse != "pairs":
            return "a timestamp in a field of the signature header needs parse = 'pairs'"
        if self.parse == "prefix" and not self.prefix:
            return "parse = 'prefix' needs a prefix, for example 'sha256='"
        return None if len(self.separator) == 1 else "separator is one character, for example ','"

    def _content_problem(self) -> str | None:
        if self.kind in {"none", "rfc9421", "token"}:
            return None
        if not self.parts:
            return "sign is empty, so the signature would cover nothing; for example sign = ['body']"
        if any(part.kind == "ts" for part in self.parts) and self.timestamp is None:
            return "sign holds 'ts' but no timestamp says where it is, for example {from = 'header:X-Time'}"
        return None
