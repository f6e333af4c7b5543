"""The Helm chart: what it renders, and what it refuses.

Helm renders without a cluster; the objects are checked against Kubernetes' own schemas. Each `connector.yaml` that it
renders must pass `sluice check --offline`.
"""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
CHART = REPOSITORY / "charts" / "sluice"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
CACHE = Path(os.environ.get("SLUICE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluice")
HELM = CACHE / "chart" / "helm" / "helm"
# The oldest that Chart.yaml admits, and the newest with a schema here.
KUBERNETES = ["1.25.0", "1.37.0"]
# Kinds of the Prometheus operator, for which Kubernetes has no schema.
OPERATOR_KINDS = {"ServiceMonitor", "PodMonitor"}

MINIMAL = {
    "source": {"brokers": ["kafka:9092"], "topics": ["orders"]},
    "decode": {"value": {"format": "json", "schema": "orderId STRING"}},
    "outputs": {"orders": {"table": "s3://lake/orders"}},
}


@pytest.fixture(scope="module", autouse=True)
def tools():
    """Helm and the schemas, built or downloaded on the first run."""
    subprocess.run([REPOSITORY / "integration" / "chart_setup.sh"], check=True, env={**os.environ, "PYTHON": sys.executable})
    sys.path.insert(0, str(CACHE / "chart" / "python"))
    yield
    sys.path.remove(str(CACHE / "chart" / "python"))


def helm(*arguments, values=None):
    """Runs Helm with `values` as its values file."""
    more = [] if values is None else ["--values", "-"]
    return subprocess.run(
        [HELM, *arguments, *more], input=None if values is None else json.dumps(values), capture_output=True, text=True
    )


def template(values=None, *arguments):
    """The rendered objects, by kind and name."""
    done = helm("template", "lake", CHART, "--namespace", "streams", *arguments, values=values)
    assert done.returncode == 0, done.stderr
    yaml = importlib.import_module("yaml")
    objects = [rendered for rendered in yaml.safe_load_all(done.stdout) if rendered]
    named = {(rendered["kind"], rendered["metadata"]["name"]): rendered for rendered in objects}
    assert len(named) == len(objects), "two objects of one kind and name"
    return named


def crate_version():
    """Chart, image and binary carry one version: a release changes all of them."""
    return tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]


def of_kind(objects, kind):
    return [rendered for (its_kind, _), rendered in objects.items() if its_kind == kind]


def one(config=MINIMAL, chart=None, **connector):
    """The objects of one connector `orders`, with its Deployment."""
    values = {**(chart or {}), "connectors": {"orders": {"config": config, **connector}}}
    objects = template({key: value for key, value in values.items() if value is not None})
    (deployment,) = of_kind(objects, "Deployment")
    return objects, deployment


def pod(deployment):
    return deployment["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_lint_is_clean(values):
    done = helm("lint", "--strict", CHART, "--values", values)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_objects_fit_kubernetes_schemas(values, version):
    validate = importlib.import_module("kubernetes_validate").validate
    for (kind, _), rendered in template(None, "--values", values, "--kube-version", version).items():
        if kind not in OPERATOR_KINDS:
            validate(rendered, version, strict=True)


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_rendered_configuration_passes_check(values, tmp_path):
    binary = os.environ.get("SLUICE_BIN") or CACHE / "target" / "release" / "sluice"
    for rendered in of_kind(template(None, "--values", values), "ConfigMap"):
        if "connector.yaml" not in rendered["data"]:
            continue
        path = tmp_path / "connector.yaml"
        path.write_text(rendered["data"]["connector.yaml"])
        done = subprocess.run([binary, "check", "--offline", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_one_pod_per_connector_and_never_two():
    objects = template({"connectors": {"orders": {"config": MINIMAL}, "clicks": {"config": MINIMAL}}})
    deployments = {rendered["metadata"]["name"]: rendered["spec"] for rendered in of_kind(objects, "Deployment")}
    assert set(deployments) == {"lake-sluice-orders", "lake-sluice-clicks"}
    for spec in deployments.values():
        assert spec["replicas"] == 1
        assert spec["strategy"] == {"type": "Recreate"}
    selectors = [spec["selector"]["matchLabels"]["sluice.io/connector"] for spec in deployments.values()]
    assert sorted(selectors) == ["clicks", "orders"]


def test_selectors_match_their_pods_only():
    objects = template(None, "--values", CHART / "ci" / "full-values.yaml")
    pods = [rendered["spec"]["template"]["metadata"]["labels"] for rendered in of_kind(objects, "Deployment")]
    for kind in ["Deployment", "Service", "PodDisruptionBudget"]:
        for rendered in of_kind(objects, kind):
            selector = rendered["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            matched = [labels for labels in pods if selector.items() <= labels.items()]
            assert [labels["sluice.io/connector"] for labels in matched] == [rendered["metadata"]["labels"]["sluice.io/connector"]]


def test_pod_is_restricted():
    _, deployment = one()
    spec = pod(deployment)
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/etc/sluice"]["readOnly"] is True
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert "emptyDir" in volumes[mounts["/tmp"]["name"]]


def test_probes_ask_the_process_only():
    _, deployment = one()
    (container,) = pod(deployment)["containers"]
    paths = {kind: container[kind]["httpGet"] for kind in ["startupProbe", "livenessProbe", "readinessProbe"]}
    assert paths == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment["SLUICE__HTTP__LISTEN"] == f"0.0.0.0:{container['ports'][0]['containerPort']}"


@pytest.mark.parametrize(
    ("shutdown_timeout", "given", "expected"),
    [(None, None, 35), ("25s", None, 35), ("1m30s", None, 100), ("500ms", None, 11), ("1h", None, 3610), ("40s", 41, 41)],
)
def test_grace_period_is_above_the_shutdown_timeout(shutdown_timeout, given, expected):
    config = {**MINIMAL, **({"shutdown_timeout": shutdown_timeout} if shutdown_timeout else {})}
    _, deployment = one(config, **({"terminationGracePeriodSeconds": given} if given else {}))
    assert pod(deployment)["terminationGracePeriodSeconds"] == expected


def test_grace_period_follows_a_configuration_given_as_text():
    _, deployment = one("name: a\nshutdown_timeout: 2m\n")
    assert pod(deployment)["terminationGracePeriodSeconds"] == 130


def test_a_changed_configuration_restarts_its_pod_only():
    def checksums(topic):
        clicks = {**MINIMAL, "source": {"brokers": ["kafka:9092"], "topics": [topic]}}
        objects = template({"connectors": {"orders": {"config": MINIMAL}, "clicks": {"config": clicks}}})
        return {
            rendered["metadata"]["labels"]["sluice.io/connector"]: rendered["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for rendered in of_kind(objects, "Deployment")
        }

    before, after = checksums("a"), checksums("b")
    assert before["clicks"] != after["clicks"]
    assert before["orders"] == after["orders"]


def test_configuration_survives_rendering():
    yaml = importlib.import_module("yaml")
    config = {
        **MINIMAL,
        "source": {**MINIMAL["source"], "client": {"sasl.password": "${env:KAFKA_PASSWORD}", "ssl.ca.pem": "a\nb: {{ c }}\n"}},
        "limits": {"max_records": 123456789012},
    }
    objects, _ = one(config)
    rendered = yaml.safe_load(objects["ConfigMap", "lake-sluice-orders"]["data"]["connector.yaml"])
    assert rendered == {"name": "orders", **config}
    assert "123456789012" in objects["ConfigMap", "lake-sluice-orders"]["data"]["connector.yaml"]


def test_flux_leaves_references_alone():
    objects = template(None, "--values", CHART / "ci" / "full-values.yaml")
    for kind in ["ConfigMap", "Deployment"]:
        for rendered in of_kind(objects, kind):
            if "sluice.io/connector" in rendered["metadata"].get("labels", {}):
                assert rendered["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/substitute"] == "disabled"


def test_an_own_config_map_is_used_instead():
    objects = template({"connectors": {"orders": {"existingConfigMap": "mine"}}})
    assert of_kind(objects, "ConfigMap") == []
    (deployment,) = of_kind(objects, "Deployment")
    volumes = {volume["name"]: volume for volume in pod(deployment)["volumes"]}
    assert volumes["config"]["configMap"]["name"] == "mine"
    assert "checksum/config" not in deployment["spec"]["template"]["metadata"]["annotations"]


def test_image_digest_wins_over_tag():
    digest = "sha256:" + "0" * 64
    for image, expected in [
        ({"digest": digest, "tag": "1.2.3"}, f"r/sluice@{digest}"),
        ({"tag": "1.2.3"}, "r/sluice:1.2.3"),
        ({}, f"r/sluice:{crate_version()}"),
    ]:
        _, deployment = one(chart={"image": {"repository": "r/sluice", **image}})
        assert pod(deployment)["containers"][0]["image"] == expected


def test_a_connector_overrides_the_chart():
    chart = {"resources": {"limits": {"memory": "1Gi"}}, "nodeSelector": {"a": "b"}, "tolerations": [{"key": "x"}]}
    _, deployment = one(chart=chart, replicas=0, nodeSelector={"c": "d"}, tolerations=[], service={"enabled": False})
    spec = pod(deployment)
    assert deployment["spec"]["replicas"] == 0
    assert spec["nodeSelector"] == {"a": "b", "c": "d"}
    assert "tolerations" not in spec
    assert spec["containers"][0]["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


def test_switches_work_per_connector():
    objects, _ = one(chart={"podDisruptionBudget": {"enabled": True}}, service={"enabled": False})
    assert of_kind(objects, "Service") == []
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    objects, _ = one()
    assert of_kind(objects, "PodDisruptionBudget") == []
    assert len(of_kind(objects, "Service")) == 1


def test_a_monitor_selects_services_or_pods():
    for kind, endpoints in [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]:
        objects, deployment = one(chart={kind[0].lower() + kind[1:]: {"enabled": True}})
        (monitor,) = of_kind(objects, kind)
        assert monitor["spec"][endpoints][0]["path"] == "/metrics"
        selected = objects["Service", "lake-sluice-orders"] if kind == "ServiceMonitor" else deployment["spec"]["template"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= selected["metadata"]["labels"].items()


def test_long_names_stay_valid_and_apart():
    keys = ["c" * 62 + "a", "c" * 62 + "b"]
    objects = template({"connectors": {key: {"config": MINIMAL} for key in keys}})
    names = [rendered["metadata"]["name"] for rendered in of_kind(objects, "Service")]
    assert len(set(names)) == 2
    assert all(len(name) <= 63 for name in names)


def test_a_parent_chart_may_pass_global_and_enabled():
    template({"global": {"anything": {"at": "all"}}, "enabled": True})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"conectors": {}}, "conectors"),
        ({"replicas": 2}, "replicas"),
        ({"connectors": {"orders": {}}}, "orders"),
        ({"connectors": {"orders": {"config": MINIMAL, "existingConfigMap": "both"}}}, "orders"),
        ({"connectors": {"orders": {"config": MINIMAL, "replica": 1}}}, "replica"),
        ({"connectors": {"Orders": {"config": MINIMAL}}}, "Orders"),
        ({"image": {"digest": "0.1.0"}}, "digest"),
        ({"http": {"port": 80}}, "port"),
        ({"connectors": {"orders": {"config": {**MINIMAL, "shutdown_timeout": 25}}}}, "shutdown_timeout"),
        (
            {"connectors": {"orders": {"config": {**MINIMAL, "shutdown_timeout": "40s"}, "terminationGracePeriodSeconds": 40}}},
            "must be above shutdown_timeout, 40 s",
        ),
        ({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "enable one of both"),
    ],
)
def test_wrong_values_are_refused(values, message):
    done = helm("template", "lake", CHART, values=values)
    assert done.returncode != 0
    assert message in done.stderr
