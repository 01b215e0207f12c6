"""What we ship to run the bridge with says nothing that the bridge would refuse."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from bridge import metrics
from bridge.loading import EMBEDDED, load
from bridge.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
ANYTHING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"


class AnyOptions(BaseModel, extra="allow"):
    """Stands in for an adapter that is not part of this checkout."""


def adapter_settings(name: str) -> type[BaseModel]:
    try:
        module = importlib.import_module(f"adapters.{name}")
    except ModuleNotFoundError:
        return AnyOptions
    model: type[BaseModel] = getattr(module, "Settings", AnyOptions)
    return model


def loaded(text: str, folder: Path) -> Settings:
    names = set(re.findall(r"\$\{(\w+)\}", re.sub(r"(?m)^#.*", "", text)))
    (folder / "bridge.toml").write_text(text, encoding="utf-8")
    return load(folder / "bridge.toml", dict.fromkeys(names, ANYTHING), adapter_settings)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_example_loads(tmp_path: Path) -> None:
    settings = loaded((DEPLOY / "bridge.example.toml").read_text("utf-8"), tmp_path)
    assert list(settings.sources) == ["orders", "team", "helpdesk"]
    assert str(settings.bridge.listen) == "127.0.0.1:8080"


def test_every_option_the_example_only_mentions_loads_too(tmp_path: Path) -> None:
    text = (DEPLOY / "bridge.example.toml").read_text("utf-8")
    text = re.sub(r"(?m)^# (?=\w+ *= |\[bridge)", "", text)
    text = re.sub(r"(?m)^listen .*", 'listen = "0.0.0.0:80"', text)
    settings = loaded(text, tmp_path)
    assert settings.bridge.limits.attempts == 8
    assert settings.bridge.public_url == "https://bridge.example.com"
    assert settings.sources["orders"].common.capture


def test_the_compose_file_holds_a_configuration_that_loads(tmp_path: Path) -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    text = document["configs"]["bridge"]["content"].replace("$$", "$").replace('"${BRIDGE_PUBLIC_URL}"', '"http://x"')
    assert loaded(text, tmp_path).bridge.database_url.startswith("postgresql://bridge:")
    given = document["services"]["bridge"]["environment"]
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= given.keys()


def kubernetes() -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text("utf-8"))


def test_the_kubernetes_files_hold_a_configuration_that_loads(tmp_path: Path) -> None:
    (text,) = (document["data"]["bridge.toml"] for document in kubernetes() if document["kind"] == "ConfigMap")
    settings = loaded(text.replace("${BRIDGE_DATABASE_URL}", "postgresql://u:p@h/d"), tmp_path)
    assert settings.bridge.files_url == "s3://agent-bridge/files"


def test_the_deployment_runs_two_nodes_without_any_privilege() -> None:
    (deployment,) = (document["spec"] for document in kubernetes() if document["kind"] == "Deployment")
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert deployment["replicas"] == 2
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_every_alert_asks_for_numbers_that_are_told_and_says_what_to_do() -> None:
    (group,) = yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text("utf-8"))["groups"]
    runbook = (DEPLOY.parent / "docs" / "operating.md").read_text("utf-8")
    told = {metric.name: set(metric.labels) for metric in vars(metrics).values() if isinstance(metric, metrics.Metric)}
    for rule in group["rules"]:
        for name, labels in re.findall(r"(bridge_\w+)(?:\{(.*?)\})?", rule["expr"]):
            assert set(re.findall(r"(\w+)=", labels)) <= told[name], rule["alert"]
        assert f"| `{rule['alert']}` |" in runbook


def test_the_embedded_default_can_be_moved_by_the_environment(tmp_path: Path) -> None:
    environ = {"BRIDGE_LISTEN": "0.0.0.0:9000", "BRIDGE_PUBLIC_URL": "https://bridge.example.com"}
    settings = load(None, environ, adapter_settings)
    assert str(settings.bridge.listen) == environ["BRIDGE_LISTEN"]
    assert settings.bridge.public_url == environ["BRIDGE_PUBLIC_URL"]
    assert load(None, {}, adapter_settings).bridge.public_url == "http://127.0.0.1:8080"
    assert (tmp_path / "data" / "demo_secret").exists()
    assert 'adapter                 = "webhook"' in EMBEDDED
