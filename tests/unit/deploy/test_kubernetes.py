"""The Kubernetes manifests, held to what no tool here can check: known fields, names that meet, and restricted rights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings, load
from app.state.events import STOP_SEC

ANY: Any = None
"""Whatever stands here is the user's own."""

_LABELS = {"matchLabels": ANY}
_META = {"name": ANY, "namespace": ANY, "labels": ANY, "annotations": ANY}
_PROBE = {
    "httpGet": {"path": ANY, "port": ANY},
    "tcpSocket": {"port": ANY},
    "exec": {"command": ANY},
    "periodSeconds": ANY,
    "timeoutSeconds": ANY,
    "failureThreshold": ANY,
}
_CONTAINER = {
    "name": ANY,
    "image": ANY,
    "command": ANY,
    "args": ANY,
    "env": [{"name": ANY, "value": ANY}],
    "ports": [{"name": ANY, "containerPort": ANY}],
    "startupProbe": _PROBE,
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "lifecycle": {"preStop": {"exec": {"command": ANY}}},
    "resources": {"requests": ANY, "limits": ANY},
    "securityContext": {
        "allowPrivilegeEscalation": ANY,
        "readOnlyRootFilesystem": ANY,
        "capabilities": {"drop": ANY},
    },
    "volumeMounts": [{"name": ANY, "mountPath": ANY, "readOnly": ANY}],
}
_VOLUME = {
    "name": ANY,
    "configMap": {"name": ANY},
    "secret": {"secretName": ANY, "defaultMode": ANY, "items": [{"key": ANY, "path": ANY}]},
    "emptyDir": {"sizeLimit": ANY},
    "persistentVolumeClaim": {"claimName": ANY, "readOnly": ANY},
}
_POD = {
    "serviceAccountName": ANY,
    "automountServiceAccountToken": ANY,
    "enableServiceLinks": ANY,
    "terminationGracePeriodSeconds": ANY,
    "securityContext": {
        "runAsNonRoot": ANY,
        "runAsUser": ANY,
        "runAsGroup": ANY,
        "fsGroup": ANY,
        "seccompProfile": {"type": ANY},
    },
    "topologySpreadConstraints": [{"maxSkew": ANY, "topologyKey": ANY, "whenUnsatisfiable": ANY, "labelSelector": _LABELS}],
    "containers": [_CONTAINER],
    "volumes": [_VOLUME],
}
_TEMPLATE = {"metadata": _META, "spec": _POD}
_CLAIM = {"accessModes": ANY, "resources": {"requests": {"storage": ANY}}}
_PEER = {"podSelector": _LABELS, "namespaceSelector": _LABELS}
_RULE_PORTS = [{"protocol": ANY, "port": ANY}]
FIELDS: dict[tuple[str, str], Any] = {
    ("v1", "Namespace"): {},
    ("v1", "ServiceAccount"): {"automountServiceAccountToken": ANY},
    ("v1", "ConfigMap"): {"data": ANY},
    ("v1", "Service"): {
        "spec": {"selector": ANY, "clusterIP": ANY, "ports": [{"name": ANY, "port": ANY, "targetPort": ANY}]}
    },
    ("v1", "PersistentVolumeClaim"): {"spec": _CLAIM},
    ("apps/v1", "Deployment"): {
        "spec": {
            "replicas": ANY,
            "revisionHistoryLimit": ANY,
            "selector": _LABELS,
            "strategy": {"type": ANY, "rollingUpdate": {"maxUnavailable": ANY, "maxSurge": ANY}},
            "template": _TEMPLATE,
        }
    },
    ("apps/v1", "StatefulSet"): {
        "spec": {
            "serviceName": ANY,
            "replicas": ANY,
            "selector": _LABELS,
            "template": _TEMPLATE,
            "volumeClaimTemplates": [{"metadata": _META, "spec": _CLAIM}],
        }
    },
    ("policy/v1", "PodDisruptionBudget"): {"spec": {"maxUnavailable": ANY, "selector": _LABELS}},
    ("autoscaling/v2", "HorizontalPodAutoscaler"): {
        "spec": {
            "scaleTargetRef": {"apiVersion": ANY, "kind": ANY, "name": ANY},
            "minReplicas": ANY,
            "maxReplicas": ANY,
            "metrics": [{"type": ANY, "resource": {"name": ANY, "target": {"type": ANY, "averageValue": ANY}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": ANY}},
        }
    },
    ("networking.k8s.io/v1", "NetworkPolicy"): {
        "spec": {
            "podSelector": _LABELS,
            "policyTypes": ANY,
            "ingress": [{"from": [_PEER], "ports": _RULE_PORTS}],
            "egress": [{"to": [_PEER], "ports": _RULE_PORTS}],
        }
    },
}
"""Fields of the API reference of each kind, as far as the manifests use them. Others are slips, or to be added."""

PORTS = {"gateway": {"http", "metrics"}, "worker": {"metrics"}, "admin": {"admin"}, "valkey": {"valkey"}}


def _unknown(found: Any, known: Any, path: str) -> list[str]:
    if known is ANY:
        return []
    if isinstance(known, list):
        assert isinstance(found, list), path
        return [slip for at, item in enumerate(found) for slip in _unknown(item, known[0], f"{path}[{at}]")]
    assert isinstance(found, dict), path
    slips = [f"{path}.{name}" for name in found if name not in known]
    return slips + [
        slip for name in found if name in known for slip in _unknown(found[name], known[name], f"{path}.{name}")
    ]


def _of(manifests: list[Any], *kinds: str) -> dict[str, Any]:
    return {found["metadata"]["name"]: found for found in manifests if found["kind"] in kinds}


def _workloads(manifests: list[Any]) -> dict[str, Any]:
    return _of(manifests, "Deployment", "StatefulSet")


def _container(workload: Any) -> Any:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return container


def test_every_object_has_known_fields_only(manifests: list[Any]) -> None:
    """The server drops a misspelt field without a word, and with it what it should have done."""
    slips = []
    for found in manifests:
        kind = (found["apiVersion"], found["kind"])
        known = {"apiVersion": ANY, "kind": ANY, "metadata": _META, **FIELDS[kind]}
        slips += _unknown(found, known, f"{found['kind']}/{found['metadata']['name']}")
        assert found["kind"] == "Namespace" or found["metadata"]["namespace"] == "stillwatch"
    assert slips == []
    assert set(_workloads(manifests)) == set(PORTS)


@pytest.mark.parametrize("name", PORTS)
def test_a_workload_is_restricted_bounded_and_probed(manifests: list[Any], name: str) -> None:
    """Each pod meets the restricted Pod Security Standard, has a memory limit, and three probes on ports it opens."""
    workload = _workloads(manifests)[name]
    pod = workload["spec"]["template"]["spec"]
    container = _container(workload)
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] in _of(manifests, "ServiceAccount")
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for resource in ("memory", "ephemeral-storage"):
        assert container["resources"]["requests"][resource]
        assert container["resources"]["limits"][resource]
    assert container["resources"]["requests"]["cpu"]
    ports = {port["name"] for port in container["ports"]}
    assert ports == PORTS[name]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container[kind]
        asked = probe.get("httpGet", probe.get("tcpSocket", {})).get("port")
        assert asked in ports or "exec" in probe


@pytest.mark.parametrize("name", PORTS)
def test_selectors_mounts_and_secrets_meet(manifests: list[Any], made_secrets: set[str], name: str) -> None:
    """Selectors find the pods, mounts their volumes, volumes their objects, and secret items the files that are made."""
    workload = _workloads(manifests)[name]
    pod = workload["spec"]["template"]["spec"]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for constraint in pod.get("topologySpreadConstraints", ()):
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
    mounted = {mount["name"] for mount in _container(workload)["volumeMounts"]}
    assert mounted == set(volumes) | claims
    for volume in volumes.values():
        assert set(volume) - {"name"} <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
        if "configMap" in volume:
            assert volume["configMap"]["name"] in _of(manifests, "ConfigMap")
        if "secret" in volume:
            assert {item["key"] for item in volume["secret"]["items"]} <= made_secrets
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in _of(manifests, "PersistentVolumeClaim")


@pytest.mark.parametrize("name", ["gateway", "worker", "admin"])
def test_variables_ports_and_images_are_ours(manifests: list[Any], setting_names: set[str], name: str) -> None:
    """Variables are settings, ports are where the processes listen, secrets come as files, and all run one image."""
    workloads = _workloads(manifests)
    container = _container(workloads[name])
    assert container["image"] == _container(workloads["gateway"])["image"]
    assert container["args"] == [{"gateway": "serve"}.get(name, name)]
    variables = {pair["name"]: pair["value"] for pair in container["env"]}
    assert set(variables) <= setting_names
    for variable, value in variables.items():
        if variable.endswith("_FILE") and value.startswith("/run/secrets/stillwatch/"):
            volumes = {volume["name"]: volume for volume in workloads[name]["spec"]["template"]["spec"]["volumes"]}
            assert value.rsplit("/", 1)[1] in {item["path"] for item in volumes["secrets"]["secret"]["items"]}
        assert "PEPPER" not in variable or variable.endswith("_FILE")
    settings = Settings()
    listens = {
        "gateway": {"http": settings.gateway.port, "metrics": settings.gateway.metrics_port},
        "worker": {"metrics": settings.worker.metrics_port},
        "admin": {"admin": settings.admin.port},
    }
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == listens[name]


def test_investigations_are_kept(manifests: list[Any]) -> None:
    """They lie in a volume that outlives the pod, in a folder that the process makes; a new pod waits for the old one."""
    admin = _workloads(manifests)["admin"]
    variables = {pair["name"]: pair["value"] for pair in _container(admin)["env"]}
    folder = Path(variables["STILLWATCH_WATERMARK__INVESTIGATIONS_DIR"])
    (mount,) = [one for one in _container(admin)["volumeMounts"] if one["mountPath"] == str(folder.parent)]
    assert not mount.get("readOnly")
    (volume,) = [one for one in admin["spec"]["template"]["spec"]["volumes"] if one["name"] == mount["name"]]
    claim = _of(manifests, "PersistentVolumeClaim")[volume["persistentVolumeClaim"]["claimName"]]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert (admin["spec"]["strategy"]["type"], admin["spec"]["replicas"]) == ("Recreate", 1)


def test_services_budgets_and_scaling_find_their_pods(manifests: list[Any]) -> None:
    """Each names pods that exist, on ports that they open; the gateways that share a limit are as many as run at least."""
    workloads = _workloads(manifests)
    for service in _of(manifests, "Service").values():
        target = workloads[service["spec"]["selector"]["app.kubernetes.io/name"]]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= {p["name"] for p in _container(target)["ports"]}
    for budget in _of(manifests, "PodDisruptionBudget").values():
        assert budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] in workloads
        assert budget["spec"]["maxUnavailable"] == 1
    (scaler,) = _of(manifests, "HorizontalPodAutoscaler").values()
    gateways = workloads[scaler["spec"]["scaleTargetRef"]["name"]]["spec"]["replicas"]
    assert gateways == scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
    config = _of(manifests, "ConfigMap")["stillwatch"]["data"]["stillwatch.toml"]
    assert f"\nreplicas = {gateways} " in config


def test_a_stop_waits_for_what_runs(manifests: list[Any]) -> None:
    """The pod is not killed before load balancers know, streams had their grace, and events are handed over."""
    gateway = _workloads(manifests)["gateway"]
    (_, pause) = _container(gateway)["lifecycle"]["preStop"]["exec"]["command"]
    grace = gateway["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= float(pause) + Settings().gateway.grace_sec + STOP_SEC + 5
    assert gateway["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_network_policies_allow_exactly_the_flows(manifests: list[Any]) -> None:
    """Everything is denied first; a policy opens what its pods listen on; the state server hears three processes."""
    policies = _of(manifests, "NetworkPolicy")
    workloads = _workloads(manifests)
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, workload in workloads.items():
        spec = policies[name]["spec"]
        assert spec["podSelector"]["matchLabels"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        opened = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
        assert opened == {port["containerPort"] for port in _container(workload)["ports"]}
        assert all(rule["from"] for rule in spec["ingress"])
        reached = {port["port"] for rule in spec.get("egress", ()) for port in rule["ports"]}
        assert reached == {"gateway": {6379, 8000}, "valkey": set()}.get(name, {6379})
    heard = policies["valkey"]["spec"]["ingress"][0]["from"]
    assert {peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in heard} == {
        "gateway",
        "worker",
        "admin",
    }
    upstream = next(pair["value"] for pair in _container(workloads["gateway"])["env"] if pair["name"].endswith("UPSTREAM"))
    assert upstream.endswith(":8000")


def test_config_maps_are_the_files(manifests: list[Any], root: Path, tmp_path: Path) -> None:
    """There is one truth about the configuration: the maps hold the shipped files, and the settings are valid."""
    maps = _of(manifests, "ConfigMap")
    for key, text in maps["valkey"]["data"].items():
        assert text == (root / "deploy/valkey" / key).read_text()
    for key, text in maps["stillwatch"]["data"].items():
        shipped = (root / "deploy/config" / key).read_text()
        assert text == shipped.replace("replicas = 1  #", "replicas = 3  #")
    path = tmp_path / "stillwatch.toml"
    path.write_text(maps["stillwatch"]["data"]["stillwatch.toml"])
    assert load(path, {}).limits.replicas == 3


def test_the_kill_file_can_be_made_in_each_gateway(manifests: list[Any], root: Path) -> None:
    """By the command of the page: gateways bear the label that it asks for, and may write where they look for the file."""
    (gateway,) = [each for each in manifests if each["kind"] == "Deployment" and each["metadata"]["name"] == "gateway"]
    pod = gateway["spec"]["template"]
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "gateway"
    (container,) = pod["spec"]["containers"]
    (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == "/var/lib/stillwatch"]
    assert not mount.get("readOnly")
    assert not [each for each in container["env"] if each["name"] == "STILLWATCH_CONTROL__KILL_FILE"]
    assert "STILLWATCH_STATE__DATA_DIR=/var/lib/stillwatch " in (root / "deploy/Dockerfile").read_text()
    page = (root / "docs/deployment.md").read_text()
    assert "get pods -l app.kubernetes.io/name=gateway" in page
    assert 'exec "$pod" -- touch /var/lib/stillwatch/KILL' in page
