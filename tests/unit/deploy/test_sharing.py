"""What makes a deployment share: an overlay of docker-compose.yml, and one of the Kubernetes manifests."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.intel import group_keys, signing
from app.intel.signing import SigningKey

SECRET_FILES = {"keys", "signing", "peers"}
"""Folders of deploy/sharing that hold secrets."""


@pytest.fixture(scope="session")
def overlay(root: Path) -> Any:
    """deploy/sharing.compose.yml."""
    return yaml.safe_load((root / "deploy/sharing.compose.yml").read_text())


@pytest.fixture(scope="session")
def patches(root: Path) -> dict[str, Any]:
    """Deployment → the pod that its patch adds to it."""
    folder = root / "deploy/kubernetes-sharing"
    read = {name: yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("worker", "admin")}
    return {name: patch["spec"]["template"]["spec"] for name, patch in read.items()}


def _merged(compose: Any, overlay: Any) -> Any:
    services = {name: dict(service) for name, service in compose["services"].items()}
    for name, more in overlay["services"].items():
        services[name]["environment"] = {**services[name]["environment"], **more["environment"]}
        services[name]["volumes"] = [*services[name]["volumes"], *more["volumes"]]
    return {**compose, **{key: value for key, value in overlay.items() if key.startswith("x-")}, "services": services}


def test_overlay_is_valid_and_reads_settings(compose: Any, overlay: Any, root: Path, setting_names: set[str]) -> None:
    """Alone and laid over docker-compose.yml it meets the specification's schema, and its variables are settings."""
    schema = json.loads((root / "tests/fixtures/compose-spec/compose-spec.json").read_text())
    for document in (overlay, _merged(compose, overlay)):
        jsonschema.Draft7Validator(schema).validate(document)
    assert set(overlay["services"]) == {"worker", "admin"}
    for service in overlay["services"].values():
        assert set(service) == {"environment", "volumes"}
        assert set(service["environment"]) <= setting_names


def test_mounts_are_given_read_only(overlay: Any, root: Path) -> None:
    """No folder is made by a slip, none is written to, each path that a setting names lies in one, and git has none."""
    for service in overlay["services"].values():
        targets = [volume["target"] for volume in service["volumes"]]
        for volume in service["volumes"]:
            assert volume["source"].startswith("./deploy/sharing/")
            assert (volume["type"], volume["read_only"]) == ("bind", True)
            assert volume["bind"] == {"create_host_path": False}
        for name, value in service["environment"].items():
            assert "PROVIDER" in name or any(value == target or value.startswith(f"{target}/") for target in targets)
    assert "/deploy/sharing/" in (root / ".gitignore").read_text().splitlines()


def test_workers_get_keys_and_no_voice(overlay: Any, patches: dict[str, Any]) -> None:
    """What signs, and what opens peers' servers, is with the admin process alone; gateways get nothing at all."""
    mounted = {
        name: {volume["source"].removeprefix("./deploy/sharing/") for volume in service["volumes"]}
        for name, service in overlay["services"].items()
    }
    assert mounted == {"worker": {"keys", "warning-list.txt"}, "admin": {*SECRET_FILES, "warning-list.txt"}}
    given = {
        name: {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        for name, pod in patches.items()
    }
    assert given == {"worker": {"sharing-keys"}, "admin": {f"sharing-{name}" for name in SECRET_FILES}}


@pytest.mark.parametrize("name", ["worker", "admin"])
def test_patched_pods_fit(patches: dict[str, Any], overlay: Any, name: str, setting_names: set[str]) -> None:
    """Mounts have volumes, all of these are mounted, variables are those of the compose overlay, nothing gains rights."""
    pod = patches[name]
    (container,), (init,) = pod["containers"], pod["initContainers"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for each in (container, init) for mount in each["volumeMounts"]} == volumes
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    variables = {pair["name"]: pair["value"] for pair in container["env"]}
    assert set(variables) == set(overlay["services"][name]["environment"]) <= setting_names
    targets = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert all("PROVIDER" in key or any(value.startswith(target) for target in targets) for key, value in variables.items())
    assert init["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert init["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", ["worker", "admin"])
def test_copied_keys_are_private(patches: dict[str, Any], name: str, tmp_path: Path) -> None:
    """Of files as a volume of secrets has them, the copies are what the processes take, also at a second start."""
    given, copies = tmp_path / "run/given", tmp_path / "run/sharing"
    copies.mkdir(parents=True)
    for folder, file in (("keys", "labs.json"), ("signing", "signing.pem")):
        (given / folder / "..data").mkdir(parents=True)
        held = given / folder / "..data" / file
        if folder == "keys":
            held.write_text(json.dumps({"2026-11": "5e" * 32}))
        else:
            SigningKey.made().write(held)
        held.chmod(0o440)
        (given / folder / file).symlink_to(Path("..data", file))
    (init,) = patches[name]["initContainers"]
    (script,) = init["args"]
    for _ in range(2):
        subprocess.run([*init["command"], script.replace("/run/", f"{tmp_path}/run/")], check=True)
    assert set(group_keys.load(copies / "keys")) == {"labs"}
    if name == "admin":
        assert signing.read_private(copies / "signing/signing.pem").public.fingerprint


def test_policy_opens_what_sharing_needs(root: Path) -> None:
    """Members come to the admin port alone, and peers are asked over TLS, nobody in a private network by a slip."""
    steps = yaml.safe_load((root / "deploy/kubernetes-sharing/networkpolicy.yaml").read_text())
    assert [step["path"] for step in steps] == ["/spec/ingress/-", "/spec/egress/-"]
    assert [step["value"]["ports"] for step in steps] == [
        [{"protocol": "TCP", "port": 8081}],
        [{"protocol": "TCP", "port": 443}],
    ]
    assert all(peer["ipBlock"]["except"] for peer in steps[1]["value"]["to"])


def test_kustomize_lays_it_over(root: Path) -> None:
    """kubectl renders it: what was there stays, and each pod has its own mounts beside those of sharing, once each."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    command = [kubectl, "kustomize", str(root / "deploy/kubernetes-sharing")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
    for name, port in (("worker", 9102), ("admin", 8081)):
        pod = found["Deployment", name]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["ports"][0]["containerPort"] == port
        places = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(set(places)) == len(places)
        assert {"/etc/stillwatch", "/run/sharing", "/tmp"} <= set(places)
        assert {"STILLWATCH_CONFIG", "STILLWATCH_INTEL__KEYS_DIR"} <= {pair["name"] for pair in container["env"]}
    policy = found["NetworkPolicy", "admin"]["spec"]
    assert [len(policy["ingress"]), len(policy["egress"])] == [2, 2]
