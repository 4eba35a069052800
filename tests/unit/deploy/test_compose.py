"""docker-compose.yml: valid by the specification's own schema, and careful in what it gives to whom."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.settings import Settings
from app.state.events import STOP_SEC

OURS = ("gateway", "worker", "admin")
ALL = ("valkey", *OURS, "prometheus", "grafana")


def test_the_file_is_valid(compose: Any, root: Path) -> None:
    """The compose specification's own schema accepts it."""
    schema = json.loads((root / "tests/fixtures/compose-spec/compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(compose)
    assert sorted(compose["services"]) == sorted(ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_service_is_bounded_and_watched(compose: Any, name: str) -> None:
    """No service may write outside its volumes, gain rights, take all memory or logs, or fail unnoticed."""
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert service["logging"]["options"]["max-size"]
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices", "env_file"} & set(service)
    assert re.search(r":[^:/]+$", service["image"])
    assert not service["image"].endswith(":latest")


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(compose: Any, setting_names: set[str], name: str) -> None:
    """A misspelt variable would be a setting that nobody reads."""
    names = {key for key in compose["services"][name]["environment"] if key.startswith("STILLWATCH_")}
    assert names <= setting_names


def test_secrets_come_from_files_that_are_made_and_go_to_those_who_need_them(
    compose: Any, root: Path, made_secrets: set[str]
) -> None:
    """No secret has a default or stands in an environment; each process mounts its own alone; none is committed."""
    declared = compose["secrets"]
    assert set(declared) == made_secrets
    for name, secret in declared.items():
        assert secret == {"file": f"./deploy/secrets/{name}"}
    mounted = {name: set(service.get("secrets", ())) for name, service in compose["services"].items()}
    assert mounted == {
        "valkey": {"valkey_gateway", "valkey_worker", "valkey_admin", "valkey_probe"},
        "gateway": {"pepper", "redis_url_gateway"},
        "worker": {"pepper", "redis_url_worker"},
        "admin": {"pepper", "redis_url_admin", "admin_token"},
        "prometheus": set(),
        "grafana": {"grafana_password"},
    }
    for service in compose["services"].values():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PEPPER|TOKEN|PASSWORD|REDIS_URL", key):
                assert key.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert "/deploy/secrets/" in (root / ".gitignore").read_text().splitlines()


def test_only_what_must_is_reachable(compose: Any) -> None:
    """Clients reach the gateway; everything for people is on this machine's own address; the state server on none."""
    ports = {name: service.get("ports", []) for name, service in compose["services"].items()}
    assert ports.pop("gateway") == ["8080:8080"]
    assert ports["valkey"] == ports["worker"] == []
    for published in ports.values():
        assert all(port.startswith("127.0.0.1:") for port in published)
    assert compose["networks"]["state"] == compose["networks"]["watch"] == {"internal": True}
    on_state = {name for name, service in compose["services"].items() if "state" in service["networks"]}
    assert on_state == {"valkey", "gateway", "worker", "admin"}


def test_mounts_exist_and_the_archive_is_shared(compose: Any, root: Path) -> None:
    """What is mounted from the checkout is in it and read-only; what the worker writes, the admin API may read only."""
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source, _, *mode = volume.split(":")
            if source.startswith("."):
                assert (root / source).exists()
                assert mode == ["ro"]
            else:
                assert source in compose["volumes"]
    volumes = {name: compose["services"][name]["volumes"] for name in OURS}
    assert "archive:/var/lib/stillwatch/archive" in volumes["worker"]
    assert "archive:/var/lib/stillwatch/archive:ro" in volumes["admin"]


def test_investigations_are_kept(compose: Any, root: Path) -> None:
    """They lie in a volume that only the admin process has, in a folder of it whose parent the image gives to its user."""
    folder = Path(compose["services"]["admin"]["environment"]["STILLWATCH_WATERMARK__INVESTIGATIONS_DIR"])
    assert f"admin:{folder.parent}" in compose["services"]["admin"]["volumes"]
    assert not [
        volume for name in ("gateway", "worker") for volume in compose["services"][name]["volumes"] if "admin:" in volume
    ]
    made = re.findall(r"install -d -o stillwatch -g stillwatch -m 0700 (.*) \\\n", (root / "deploy/Dockerfile").read_text())
    assert str(folder.parent) in made[0].split()


def test_a_stop_waits_for_what_runs(compose: Any) -> None:
    """Nothing is killed within the grace of its streams and the time its events get."""
    grace = {name: int(compose["services"][name]["stop_grace_period"].removesuffix("s")) for name in OURS}
    assert grace["gateway"] >= Settings().gateway.grace_sec + STOP_SEC + 5


def test_prometheus_asks_every_process_where_it_listens(compose: Any, root: Path) -> None:
    """Names and ports of the scrape configuration are those of the services, and its rules are where it looks for them."""
    config = yaml.safe_load((root / "deploy/prometheus/prometheus.yml").read_text())
    asked = {(c["names"][0], c["port"]) for job in config["scrape_configs"] for c in job["dns_sd_configs"]}
    settings = Settings()
    assert asked == {
        ("gateway", settings.gateway.metrics_port),
        ("worker", settings.worker.metrics_port),
        ("admin", settings.admin.port),
    }
    assert asked <= {(name, port) for name in OURS for port in (9101, 9102, 8081)}
    for pattern in config["rule_files"]:
        assert list((root / "deploy/prometheus").glob(pattern))
    assert "./deploy/prometheus:/etc/prometheus:ro" in compose["services"]["prometheus"]["volumes"]


def test_grafana_finds_its_dashboards(compose: Any, root: Path) -> None:
    """The folder that the provisioning names is the one that is mounted, and the source of data is the service."""
    provisioning = root / "deploy/grafana/provisioning"
    (dashboards,) = (yaml.safe_load(path.read_text()) for path in (provisioning / "dashboards").glob("*.y*ml"))
    (sources,) = (yaml.safe_load(path.read_text()) for path in (provisioning / "datasources").glob("*.y*ml"))
    mounts = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert dashboards["providers"][0]["options"]["path"] in mounts
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
    assert "/etc/grafana/provisioning" in mounts


def test_the_kill_file_is_made_on_the_host(compose: Any, root: Path) -> None:
    """Every process looks for it in a folder of the host that no container may write to; the page says which."""
    for name in OURS:
        service = compose["services"][name]
        assert service["environment"]["STILLWATCH_CONTROL__KILL_FILE"] == "/etc/stillwatch/KILL"
        assert "./deploy/config:/etc/stillwatch:ro" in service["volumes"]
    assert "`touch deploy/config/KILL` on the host" in (root / "docs/deployment.md").read_text()
