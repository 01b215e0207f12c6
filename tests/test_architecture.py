"""The drawing of the rooms as data, and the budgets. A new module has to be put into the drawing."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the ground up. An import points down, or stays in its row where the row holds together.
DRAWING = {
    "words": "model errors agent_rows",
    "tools": "adapter abilities entrance clock tokens sealing backoff markdown telemetry metrics redaction documents"
    " cpu sniffing storable circuit patience digests"
    " signing signing_keys signing_request signing_scheme signature_base"
    " settings loading surprises options places problems expansion units secrets_file"
    " egress transport dialling http1 gate addresses",
    "world": "store agent files",
    "ground": "circuits shares destinations lanes handing endings answers pauses views calls results recording watching"
    " captures standby routing enriching custody",
    "stages": "inbox reading connections turns outbox sweeper operations feedback resealing retention counting",
    "edge": "web app world rehearsal adapters_by_name embedded server serving standalone"
    " cli console trial demo __main__",
}
APART = {"world", "stages"}  # the rooms of these rows never import each other

ONLY_IN = {
    "sqlalchemy": "bridge.store bridge.cli",
    "alembic": "bridge.store",
    "psycopg": "bridge.store",
    "aiohttp": "adapters.slack",  # slack_sdk speaks through a session of it
    "httptools": "bridge.http1 bridge.serving",
    "aiohappyeyeballs": "bridge.dialling bridge.gate",
    "itsdangerous": "bridge.tokens",
    "cryptography": "bridge.sealing bridge.signing_keys adapters.email",  # certificates of one provider's posts
    "obstore": "bridge.files",
    "puremagic": "bridge.sniffing",
    "markdown_it": "bridge.markdown adapters.email",  # the one platform that takes HTML as it is
    "prometheus_client": "bridge.metrics",
    "typer": "bridge.cli adapters.*.commands",
    "starlette": "bridge.web bridge.agent.server bridge.app bridge.serving adapters.*.pages adapters.*.fake",
    "uvicorn": "bridge.serving bridge.embedded adapters.*.fake",
    "slack_bolt": "adapters.slack",
    "slack_sdk": "adapters.slack",
    "jmespath": "adapters.webhook",
    "aiosmtplib": "adapters.email",
    "idna": "adapters.email",
    "aiosmtpd": "adapters.email",
    "dkim": "adapters.email",
    "authheaders": "adapters.email",
    "nh3": "adapters.email",
    "html_to_markdown": "adapters.email",
}

PLATFORM_WORDS = re.compile(r"slack|discord|telegram|github|stripe|mailgun|postmark|sendgrid|gmail", re.IGNORECASE)
WITH_EXAMPLES = {"bridge.options", "bridge.loading", "bridge.cli"}
REFUSED_FILES = {"utils", "helpers", "common", "misc", "base", "handlers", "manager", "managers", "service", "services"}
REFUSED_CLASSES = re.compile(r"(Manager|Handler|Service|Helper|Utils|Session|Impl)$|^(Base|Abstract)[A-Z]")
LOOPS_THAT_SURVIVE = 11


def modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            path.read_text("utf-8")
        )
        for room in ("bridge", "adapters")
        for path in sorted((ROOT / room).rglob("*.py"))
    }


MODULES = modules()


def imports(module: str) -> Iterator[str]:
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def within(module: str, places: str) -> bool:
    patterns = (place.replace(".", r"\.").replace("*", r"\w+") for place in places.split())
    return any(re.fullmatch(rf"{pattern}(\..+)?", module) for pattern in patterns)


def place(module: str) -> tuple[int, str, str]:
    """The row, its name and the room of a module of `bridge`."""
    room = module.split(".")[1]
    for height, (row, rooms) in enumerate(DRAWING.items()):
        if room in rooms.split():
            return height, row, room
    raise AssertionError(f"{module} has no place in the drawing")


@pytest.mark.parametrize("module", [name for name in MODULES if name.count(".") and name.startswith("bridge.")])
def test_imports_point_down_the_rooms(module: str) -> None:
    height, row, room = place(module)
    for other in imports(module):
        assert not other.startswith("adapters"), f"{module} may know {other} by name only, through importlib"
        if other.startswith("bridge."):
            below, _, neighbour = place(other)
            assert below < height or (below == height and (row not in APART or room == neighbour)), (
                f"{module} -> {other}"
            )


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("adapters.")])
def test_an_adapter_knows_words_and_tools_and_no_other_adapter(module: str) -> None:
    for other in imports(module):
        if other.startswith("adapters."):
            assert other.split(".")[1] == module.split(".")[1], f"{module} -> {other}"
        elif other.startswith("bridge."):
            assert place(other)[1] in {"words", "tools"}, f"{module} -> {other}"


@pytest.mark.parametrize("module", MODULES)
def test_a_foreign_library_has_one_room(module: str) -> None:
    for other in imports(module):
        library = other.split(".")[0]
        assert library not in ONLY_IN or within(module, ONLY_IN[library]), f"{module} imports {library}"


def test_there_is_one_http_client() -> None:
    makers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"httpx2.AsyncClient", "httpx2.Client", "EgressClient"}
    }
    # The second: a Backend that is used alone, outside the bridge, works on whatever loop calls it.
    assert makers == {"bridge.egress", "bridge.agent.backend"}


def test_no_import_leads_back_to_where_it_came_from() -> None:
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for other in sorted(set(imports(module)) & MODULES.keys()):
                visit(other, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def docstrings(tree: ast.Module) -> set[int]:
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name.startswith("bridge") and name not in WITH_EXAMPLES]
)
def test_no_platform_is_named_in_the_core(module: str) -> None:
    prose = docstrings(MODULES[module])
    for node in ast.walk(MODULES[module]):
        if id(node) not in prose:
            for word in (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "value")):
                assert not (isinstance(word, str) and PLATFORM_WORDS.search(word)), f"{module}: {word}"


def test_nothing_is_named_after_what_has_no_name() -> None:
    assert not [module for module in MODULES if module.split(".")[-1] in REFUSED_FILES]
    classes = [node.name for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert not [name for name in classes if REFUSED_CLASSES.search(name)]


def test_only_loops_that_must_survive_their_item_catch_everything() -> None:
    broad = [
        f"{module}:{node.lineno}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
    ]
    swallowing = [place for place in broad if not _raises_again(place)]
    assert len(swallowing) <= LOOPS_THAT_SURVIVE, swallowing


def _raises_again(where: str) -> bool:
    module, line = where.split(":")
    clause = next(
        node for node in ast.walk(MODULES[module]) if isinstance(node, ast.ExceptHandler) and node.lineno == int(line)
    )
    return isinstance(clause.body[-1], ast.Raise)


def test_files_and_functions_stay_small() -> None:
    grown = {name: tree for name, tree in MODULES.items() if ".migrations.versions." not in name}
    lines = {name: tree.body[-1].end_lineno or 0 for name, tree in grown.items() if tree.body}
    functions = {
        f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, tree in grown.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    sizes = sorted(functions.values())
    assert {name: size for name, size in lines.items() if size > 400} == {}
    assert {name: size for name, size in functions.items() if size > 60} == {}
    assert statistics.median(lines.values()) <= 150
    assert statistics.median(sizes) <= 10
    assert sizes[int(len(sizes) * 0.9)] <= 30
