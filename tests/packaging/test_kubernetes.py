"""The Kubernetes manifests: names, ports, mounts and times fit each other, the command and the routes.

Held against Kubernetes' own schemas they are not: `kubectl --dry-run` asks a cluster for them and kubeconform fetches
them from the network, and a gate has neither. What `kubectl kustomize` can say without a cluster is asked where it is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.packaging.packaged import KUBERNETES, flags_of, instructions, manifests, serve_flags

from trunkline_server.config.routes import load_routes
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.doors import Doors

SERVER = "Deployment/trunkline"
NAME = {"app.kubernetes.io/name": "trunkline"}


def pod() -> dict[str, Any]:
    found: dict[str, Any] = manifests()[SERVER]["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    assert isinstance(found, dict)
    return found


def flags() -> dict[str, str]:
    return flags_of(container()["args"][1:])


def ports() -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container()["ports"]}


def kustomization() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    return found


def test_it_is_all_applied_but_the_secrets() -> None:
    """Every manifest is one of the kustomization's resources; the example of secrets is not."""
    files = {path.name for path in KUBERNETES.glob("*.yaml")}
    resources = set(kustomization()["resources"])
    assert files == resources | {"kustomization.yaml", "routes.yaml", "secrets.example.yaml"}


def test_the_server_is_started_with_flags_that_there_are() -> None:
    """Every argument is a flag of `trunkline serve`, and its ports are those that the pod names."""
    assert container()["args"][0] == "serve"
    assert set(flags()) <= serve_flags()
    listens = {"grpc": "--listen", "admin": "--admin-listen", "http": "--http-listen"}
    assert ports() == {name: int(flags()[flag].rpartition(":")[2]) for name, flag in listens.items()}


def test_a_pod_is_given_time_to_drain() -> None:
    """Kubernetes kills only when load balancers were told, calls had their grace, and a few seconds more are over."""
    drain_s = float(flags()["--lb-wait-s"]) + float(flags()["--drain-grace-s"])
    assert pod()["terminationGracePeriodSeconds"] >= drain_s + 5


def test_load_balancers_learn_of_a_drain_in_time() -> None:
    """A pod that drains is not ready any more well before it takes no more calls."""
    probe = container()["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] + 5 <= float(flags()["--lb-wait-s"])


@pytest.mark.parametrize(
    ("probe", "path"), [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")]
)
def test_probes_ask_the_http_port(probe: str, path: str) -> None:
    """Readiness and life are different questions, and are put to the port that answers both."""
    assert container()[probe]["httpGet"] == {"path": path, "port": "http"}


def test_directories_are_mounted_where_the_flags_say() -> None:
    """Routes, secrets, certificate and data are volumes at the paths of the flags; none of them by `subPath`."""
    mounts = container()["volumeMounts"]
    assert not any("subPath" in mount for mount in mounts)
    where = {mount["name"]: Path(mount["mountPath"]) for mount in mounts}
    assert set(where) == {volume["name"] for volume in pod()["volumes"]}
    assert Path(flags()["--routes"]).parent == where["routes"]
    assert Path(flags()["--secrets-dir"]) == where["secrets"]
    assert Path(flags()["--data-dir"]) == where["data"]
    assert {Path(flags()[flag]).parent for flag in ("--tls-cert", "--tls-key")} == {where["tls"]}
    assert [mount["name"] for mount in mounts if not mount.get("readOnly")] == ["data"]


def test_volumes_name_what_there_is() -> None:
    """ConfigMap and Secrets are those that are made, with the files that the flags and the routes read."""
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    (generated,) = kustomization()["configMapGenerator"]
    assert volumes["routes"]["configMap"]["name"] == generated["name"]
    assert generated["files"] == [Path(flags()["--routes"]).name]
    assert kustomization()["generatorOptions"]["disableNameSuffixHash"] is True
    tls = manifests()[f"Secret/{volumes['tls']['secret']['secretName']}"]["stringData"]
    assert {Path(flags()[flag]).name for flag in ("--tls-cert", "--tls-key")} == set(tls)
    secrets = manifests()[f"Secret/{volumes['secrets']['secret']['secretName']}"]["stringData"]
    assert set(re.findall(r"file:([\w-]+)", (KUBERNETES / "routes.yaml").read_text())) == set(secrets)


def test_the_routes_are_valid_and_open_no_door(tmp_path: Path) -> None:
    """The example passes the check, and may be served on the addresses of the flags."""
    for name, value in manifests()["Secret/trunkline-secrets"]["stringData"].items():
        (tmp_path / name).write_text(value)
    routes = load_routes(KUBERNETES / "routes.yaml", SecretResolver(tmp_path, frozenset(), {}))
    assert not routes.findings
    Doors(flags()["--listen"], flags()["--admin-listen"], tls=True).check(routes.document)


def test_selectors_find_the_pods() -> None:
    """Deployment, service, disruption budget and policy speak of the same pods."""
    assert manifests()[SERVER]["spec"]["template"]["metadata"]["labels"] == NAME
    assert manifests()[SERVER]["spec"]["selector"] == {"matchLabels": NAME}
    assert manifests()["Service/trunkline"]["spec"]["selector"] == NAME
    assert manifests()["PodDisruptionBudget/trunkline"]["spec"]["selector"] == {"matchLabels": NAME}
    assert manifests()["NetworkPolicy/trunkline"]["spec"]["podSelector"] == {"matchLabels": NAME}


def test_clients_balance_over_all_pods() -> None:
    """The service is headless, names ports of the pod, and keeps the admin port to itself."""
    spec = manifests()["Service/trunkline"]["spec"]
    assert spec["clusterIP"] == "None"
    assert {port["name"]: (port["port"], port["targetPort"]) for port in spec["ports"]} == {
        name: (ports()[name], name) for name in ("grpc", "http")
    }


def test_each_port_has_a_rule_and_the_admin_port_a_narrow_one() -> None:
    """Callers, operators and scrapers each reach their own port; operators are pods, not namespaces."""
    rules = manifests()["NetworkPolicy/trunkline"]["spec"]["ingress"]
    by_port = {rule["ports"][0]["port"]: rule for rule in rules}
    assert set(by_port) == set(ports())
    assert all(len(rule["ports"]) == 1 and rule["from"] for rule in rules)
    assert [set(peer) for peer in by_port["admin"]["from"]] == [{"podSelector"}]


def test_a_disruption_always_leaves_a_pod() -> None:
    """With two pods at least, one may go at a time."""
    assert manifests()[SERVER]["spec"]["replicas"] >= 2
    assert manifests()["PodDisruptionBudget/trunkline"]["spec"]["maxUnavailable"] == 1
    assert manifests()[SERVER]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_a_pod_may_do_little() -> None:
    """Not root, nothing to gain, nothing to write but its data, no account; the user is the image's."""
    context = pod()["securityContext"]
    (user,) = [rest for word, rest in instructions() if word == "USER"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["automountServiceAccountToken"] is False
    assert container()["resources"]["limits"]["memory"]


def test_kustomize_puts_it_together() -> None:
    """What `kubectl apply -k` would send holds every manifest, and the routes as a ConfigMap of a lasting name."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on this machine: the kustomization is checked by the tests above alone")
    done = subprocess.run([kubectl, "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    sent = {f"{each['kind']}/{each['metadata']['name']}": each for each in yaml.safe_load_all(done.stdout)}
    assert set(sent) == {name for name in manifests() if not name.startswith("Secret/")} | {
        "ConfigMap/trunkline-routes"
    }
    assert sent["ConfigMap/trunkline-routes"]["data"] == {"routes.yaml": (KUBERNETES / "routes.yaml").read_text()}
