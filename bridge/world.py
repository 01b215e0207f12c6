"""What the configuration names, made real: adapters, agents, links and keys."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel

from bridge import loading
from bridge.adapter import Adapter, Addresses, Closes, Kit
from bridge.adapters_by_name import adapter_module, build
from bridge.agent.backend import Backend
from bridge.agent.server.attachments import Attachments as AgentFiles
from bridge.agent.server.brains import BrainFault, File
from bridge.calls import Agent
from bridge.clock import Clock
from bridge.cpu import Workers
from bridge.custody import Custody
from bridge.egress import open_client
from bridge.embedded import EmbeddedServer, embedded_server
from bridge.entrance import Entrance
from bridge.errors import ConfigError, TooLarge
from bridge.files import Attachments
from bridge.model import FileRef
from bridge.options import EmbeddedAgent, RemoteAgent, guard_from, guard_of
from bridge.routing import Route
from bridge.sealing import Sealer
from bridge.secrets_file import read_or_make
from bridge.settings import Settings, Source
from bridge.shares import Limits, Shares
from bridge.store.database import Store
from bridge.store.files import StoredFileRows
from bridge.store.vault import StoredVault
from bridge.tokens import Tokens
from bridge.web.access import STATUS

FILE_LINK: Final = timedelta(days=7)
MAX_BODY: Final = 1 << 20


def load_settings(config: Path | None, environ: Mapping[str, str], kept: loading.KeptSecret = read_or_make) -> Settings:
    """The configuration, every adapter's own table checked by that adapter. Raises ConfigError."""
    return loading.load(config, environ, adapter_settings, kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The parts that face the outside."""

    settings: Settings
    store: Store
    clock: Clock
    tokens: Tokens
    sealer: Sealer
    http: httpx2.AsyncClient
    files: Attachments
    custody: Custody
    workers: Workers
    adapters: dict[str, Adapter]
    agents: dict[str, Agent]
    pages: list[Any]
    """What the embedded agent shows to people."""

    @classmethod
    async def open(cls, settings: Settings, store: Store, clock: Clock, stack: AsyncExitStack) -> "World":
        """Build every adapter and agent; `stack` closes what they hold. Raises ConfigError."""
        keys = [key.get_secret_value() for key in settings.bridge.secret_keys]
        tokens, workers = Tokens(keys), Workers()
        stack.push_async_callback(workers.aclose)
        files = Attachments(
            settings.bridge.files_url,
            StoredFileRows(store),
            tokens,
            clock,
            public_url=settings.public_url(),
            max_bytes=settings.bridge.max_file,
        )
        world = cls(
            settings=settings,
            store=store,
            clock=clock,
            tokens=tokens,
            files=files,
            custody=await _custody(settings, files, stack),
            workers=workers,
            sealer=Sealer(keys),
            http=await stack.enter_async_context(open_client()),
            adapters={},
            agents={},
            pages=[],
        )
        await world._fill(stack)
        return world

    @property
    def entrances(self) -> dict[str, Entrance]:
        """The sources as the inbox knows them."""
        return {name: self._entrance(self.settings.sources[name], adapter) for name, adapter in self.adapters.items()}

    @property
    def shares(self) -> Shares:
        """Places for turns, as the configuration divides them."""
        sources = self.settings.sources
        limits = Limits(
            total=self.settings.bridge.concurrency,
            agents={name: one.concurrency for name, one in self.settings.agents.items() if one.concurrency},
            sources={name: one.common.concurrency for name, one in sources.items() if one.common.concurrency},
            people={name: one.common.per_person for name, one in sources.items() if one.common.per_person},
        )
        return Shares(limits)

    @property
    def routes(self) -> dict[str, Route]:
        """Where the answers of sources with `reply_via` go. Raises ConfigError."""
        found, problems = {}, []
        for name, source in self.settings.sources.items():
            if (via := source.common.reply_via) is None:
                continue
            adapter = self.adapters[via.source]
            if not isinstance(adapter, Addresses):
                problems.append(
                    f"sources.{name}.reply_via.source: {via.source!r} cannot begin a conversation by itself"
                )
                continue
            try:
                found[name] = Route(source=via.source, return_address=adapter.return_address(via.address))
            except ValueError as error:
                problems.append(f"sources.{name}.reply_via.address: {error}")
        if problems:
            raise ConfigError(problems)
        return found

    @property
    def admin_token(self) -> str:
        """What opens `/v1`."""
        token = self.settings.bridge.admin_token
        assert token is not None, "settings are loaded with a token, or not at all"
        return token.get_secret_value()

    def status_url(self, message_id: str) -> str:
        """Where whoever sent a message may ask for it: the same each time, good for this message only."""
        token = self.tokens.sign(message_id, purpose=STATUS)  # of characters that a URL takes as they are
        return f"{self.settings.public_url()}/v1/messages/{message_id}?token={token}"

    def link(self, ref: FileRef) -> str:
        """Where the agent can open a file, for a while."""
        return self.files.link(ref, FILE_LINK)

    async def _fill(self, stack: AsyncExitStack) -> None:
        """All adapters and agents, so that the problems of all of them are told at once."""
        problems: list[str] = []
        for name, source in self.settings.sources.items():
            try:
                self.adapters[name] = await self._adapter(source, stack)
            except ConfigError as error:
                problems += error.problems
            except ValueError as error:  # a secret of the wrong form, say
                problems.append(f"sources.{name}: {error}")
        try:
            await self._add_agents(stack)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)

    async def _adapter(self, source: Source, stack: AsyncExitStack) -> Adapter:
        guard = guard_from(self.settings.bridge, source.common)
        kit = Kit(
            source=source.name,
            public_url=self.settings.public_url(source),
            http=self.http,
            guarded_http=await stack.enter_async_context(open_client(guard=guard)),
            clock=self.clock,
            tokens=self.tokens,
            vault=StoredVault(self.store, self.sealer, source.name),
            files=self.files,
            cpu=self.workers,
            max_body=_max_body(source),
            options={"name": self.settings.bridge.name},
        )
        adapter = build(source.common.adapter, source.own, kit)
        if isinstance(adapter, Closes):
            stack.push_async_callback(adapter.close)
        return adapter

    def _entrance(self, source: Source, adapter: Adapter) -> Entrance:
        usual: str = getattr(adapter_module(source.common.adapter), "BUSY", "queue")
        return Entrance(
            name=source.name,
            adapter=adapter,
            agent=source.common.agent,
            busy=source.common.busy or usual,
            max_body=_max_body(source),
            keep=self.settings.bridge.limits.dedupe,
            capture=source.common.capture,
        )

    async def _add_agents(self, stack: AsyncExitStack) -> None:
        configured = self.settings.agents
        local = {name: o for name, o in configured.items() if isinstance(o, EmbeddedAgent)}
        server = None
        if local:
            guarded = await stack.enter_async_context(open_client(guard=guard_of(self.settings.bridge)))
            attach = AgentFiles(guarded, self.workers, own_file=self.custody.own_content)
            serving = embedded_server(
                local,
                self.store,
                self.clock,
                public_url=self.settings.public_url(),
                http=self.http,
                attach=attach,
                keep=self._keep,
            )
            server = await stack.enter_async_context(serving)
            self.pages.extend(server.pages)
        at_sources = {name: source.common.defaults.given() for name, source in self.settings.sources.items()}
        for name, options in configured.items():
            backend = self._backend(name, options, server)
            self.agents[name] = Agent(
                backend=backend,
                # with its address, or every request would be made, and checked, a second time
                defaults={**options.defaults.given(), "agent_id": backend.agent_id},
                source_defaults=at_sources,
                decisions=options.decisions,
                feedback=options.feedback,
            )

    async def _keep(self, file: File) -> dict[str, Any]:
        """Store a file that an agent made; how a task's record names it."""
        try:
            ref = await self.files.store(file.name, file.media_type, file.content, origin="agent")
        except TooLarge as error:
            raise BrainFault(str(error)) from error
        return {"url": self.link(ref), "name": ref.name, "media_type": ref.media_type, "size": ref.size}

    def _backend(self, name: str, options: RemoteAgent | EmbeddedAgent, server: EmbeddedServer | None) -> Backend:
        shared: dict[str, Any] = {"mode": options.mode, "timeout": options.timeout, "clock": self.clock}
        if isinstance(options, RemoteAgent):
            key = options.api_key.get_secret_value()
            return Backend(
                self.http,
                base_url=options.base_url,
                api_key=key,
                agent_id=options.agent_id,
                choose_task_ids=options.choose_task_ids,
                **shared,
            )
        assert server is not None, "an embedded agent has a server"
        return Backend(server.http, base_url=server.base_url, api_key=server.api_key, agent_id=name, **shared)


async def _custody(settings: Settings, files: Attachments, stack: AsyncExitStack) -> Custody:
    guard = guard_of(settings.bridge)
    homes = {name: agent.base_url for name, agent in settings.agents.items() if isinstance(agent, RemoteAgent)}
    hosts = frozenset(filter(None, (urlsplit(url).hostname for url in homes.values())))
    at_home = replace(guard, allow_hosts=guard.allow_hosts | hosts)
    return Custody(
        files,
        await stack.enter_async_context(open_client(guard=guard)),
        await stack.enter_async_context(open_client(guard=at_home)),
        ours=f"{settings.public_url()}/files/",
        homes=homes,
        max_bytes=settings.bridge.max_file,
    )


def adapter_settings(name: str) -> type[BaseModel]:
    """What an adapter can be told in the configuration. Raises LookupError where there is none of that name."""
    model: type[BaseModel] = adapter_module(name).Settings
    return model


def _max_body(source: Source) -> int:
    usual: int = getattr(adapter_module(source.common.adapter), "MAX_BODY", MAX_BODY)
    return source.common.max_body or usual
