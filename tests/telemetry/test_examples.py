"""examples/observability/ is of one piece: its files parse, point at one another and ask for metrics that we send."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from home import ROOT

STACK = ROOT / "examples" / "observability"
DOCS = (ROOT / "docs" / "telemetry.md").read_text("utf-8")

COMPOSE: Mapping[str, Any] = yaml.safe_load((STACK / "compose.yaml").read_text("utf-8"))
COLLECTOR: Mapping[str, Any] = yaml.safe_load((STACK / "collector.yaml").read_text("utf-8"))
PROMETHEUS: Mapping[str, Any] = yaml.safe_load((STACK / "prometheus.yaml").read_text("utf-8"))
PROVISIONING = STACK / "grafana" / "provisioning"
SOURCES: Mapping[str, Mapping[str, Any]] = {
    source["uid"]: source
    for source in yaml.safe_load((PROVISIONING / "datasources" / "streambench.yaml").read_text("utf-8"))["datasources"]
}
DASHBOARD: Mapping[str, Any] = json.loads((STACK / "grafana" / "dashboards" / "streambench.json").read_text("utf-8"))
VARIABLES: Mapping[str, Mapping[str, Any]] = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
PANELS: list[Mapping[str, Any]] = DASHBOARD["panels"]
FILLED = [panel for panel in PANELS if panel["type"] != "row"]

METRICS = [
    (name, kind, unit)
    for name, kind, unit in re.findall(
        r"^\| `([\w.]+)` \| (histogram|counter|updowncounter) \| (\S+) \|", DOCS, re.MULTILINE
    )
]
"""Name, kind and unit of each row in the docs' table of metrics."""
BEYOND_THE_REQUEST = {"streambench.run.id", "streambench.outcome", "error.type", "gen_ai.token.type"}
UNITS = {"s": "seconds"}


# --- the files


@pytest.mark.parametrize("file", sorted(STACK.rglob("*.yaml")), ids=lambda file: str(file.relative_to(STACK)))
def test_every_yaml_parses(file: Path) -> None:
    """To a mapping, as all of these programs want it."""
    assert isinstance(yaml.safe_load(file.read_text("utf-8")), dict)


def test_compose_mounts_only_what_is_there() -> None:
    """A bind mount of a missing file makes Docker create a folder of that name, and the service fail on it."""
    mounts = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", ())]
    bound = [mount.split(":")[0] for mount in mounts if mount.startswith(".")]
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith(".")}
    assert bound
    assert [path for path in bound if not (STACK / path).exists()] == []
    assert named == set(COMPOSE["volumes"])


def test_configs_are_where_the_commands_look() -> None:
    """Each `...config...=PATH` of a command is the target of a mount of that service."""
    for name, service in COMPOSE["services"].items():
        targets = {mount.split(":")[1] for mount in service.get("volumes", ())}
        wanted = re.findall(r"config(?:\.file)?=(\S+)", " ".join(service.get("command", ())))
        assert [path for path in wanted if path not in targets] == [], name


def test_ports_are_open_to_this_computer_only() -> None:
    """Nothing here has a password."""
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not str(port).startswith("127.0.0.1:")] == []


def test_images_are_pinned() -> None:
    """To a full version; what `latest` is differs from day to day."""
    images = [service["image"] for service in COMPOSE["services"].values()]
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+$", image)] == []


def test_collector_pipelines_use_what_is_defined() -> None:
    """A pipeline that names something else stops the Collector at its start."""
    for name, pipeline in COLLECTOR["service"]["pipelines"].items():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(COLLECTOR[part]), name
    assert set(COLLECTOR["service"]["pipelines"]) == {"traces", "metrics"}


def test_hosts_are_services_of_the_compose_file() -> None:
    """Addresses between containers are service names."""
    texts = [json.dumps(COLLECTOR["exporters"]), *(source["url"] for source in SOURCES.values())]
    hosts = {host for text in texts for host in re.findall(r"(?:http://|\")([a-z]+):\d+", text)}
    assert hosts == {"tempo", "prometheus"}
    assert hosts <= set(COMPOSE["services"])


def test_prometheus_takes_otlp_and_keeps_exemplars() -> None:
    """Both are off unless asked for."""
    command = " ".join(COMPOSE["services"]["prometheus"]["command"])
    assert "--web.enable-otlp-receiver" in command
    assert re.search(r"--enable-feature=\S*exemplar-storage", command)


def test_the_runs_id_is_a_label() -> None:
    """The dashboard selects by it; otherwise it would only be on target_info."""
    assert PROMETHEUS["otlp"]["promote_resource_attributes"] == ["streambench.run.id"]


def test_exemplars_lead_to_the_traces() -> None:
    """Prometheus names the label trace_id."""
    (link,) = SOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "trace_id"
    assert SOURCES[link["datasourceUid"]]["type"] == "tempo"


# --- the dashboard


def test_panels_have_ids_of_their_own() -> None:
    """Grafana mixes up two with the same."""
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))


def test_panels_have_titles() -> None:
    """Each says what it shows."""
    assert [panel["id"] for panel in PANELS if not panel.get("title")] == []


def test_panels_do_not_overlap() -> None:
    """Grafana would move them."""
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {(x, y) for x in _span(place["x"], place["w"]) for y in _span(place["y"], place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", FILLED, ids=lambda panel: panel["title"])
def test_panels_ask_a_provisioned_source(panel: Mapping[str, Any]) -> None:
    """By a variable whose first choice is a source of the provisioning file, of the same type."""
    assert panel["targets"]
    for one in (panel, *panel["targets"]):
        variable = VARIABLES[one["datasource"]["uid"].strip("${}")]
        assert variable["type"] == "datasource"
        assert variable["query"] == one["datasource"]["type"]
        assert SOURCES[variable["current"]["value"]]["type"] == one["datasource"]["type"]


def test_dashboard_is_where_grafana_looks() -> None:
    """The provider's folder, and the first page, are what the compose file mounts."""
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "streambench.yaml").read_text("utf-8"))["providers"]
    grafana = COMPOSE["services"]["grafana"]
    mounts = dict(mount.split(":")[:2] for mount in grafana["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/streambench.json"


@pytest.mark.parametrize("title", ["Time to first chunk by model", "Request duration by model"])
def test_waits_show_exemplars(title: str) -> None:
    """They link a point to its trace."""
    (panel,) = [panel for panel in PANELS if panel["title"] == title]
    assert any(target.get("exemplar") for target in panel["targets"])


# --- its queries


@pytest.mark.parametrize(
    ("name", "kind", "unit", "prometheus"),
    [
        ("gen_ai.client.operation.duration", "histogram", "s", "gen_ai_client_operation_duration_seconds"),
        ("gen_ai.client.token.usage", "histogram", "{token}", "gen_ai_client_token_usage"),
        (
            "streambench.output_speed",
            "histogram",
            "{token}/s",
            "streambench_output_speed_per_second",
        ),
        ("streambench.requests", "counter", "{request}", "streambench_requests_total"),
        ("streambench.requests.active", "updowncounter", "{request}", "streambench_requests_active"),
    ],
)
def test_names_are_translated_as_prometheus_does(name: str, kind: str, unit: str, prometheus: str) -> None:
    """As otlptranslator 1.0.0, which Prometheus 3.14 uses, answered for these."""
    assert translated(name, kind, unit) == prometheus


def test_the_docs_have_the_table_of_metrics() -> None:
    """Eight rows; otherwise the tests below would prove nothing."""
    assert len(METRICS) == 8


def _filled(query: str) -> str:
    """With a value for each of Grafana's variables, and nothing left of them."""
    for variable, value in (("$__rate_interval", "40s"), ("$__range", "1h"), ("$$__tags", 'streambench_model="x"')):
        query = query.replace(variable, value)
    for name in VARIABLES:
        query = query.replace(f"${name}", "x")
    assert "$" not in query
    return query


def queries() -> Iterator[tuple[str, str]]:
    """Where each PromQL query stands, and its text with Grafana's variables filled in."""
    for panel in FILLED:
        for target in panel["targets"]:
            if target["datasource"]["type"] == "prometheus":
                yield f"{panel['title']} {target['refId']}", _filled(target["expr"])
    for variable in VARIABLES.values():
        if found := re.fullmatch(r"label_values\((.+), \w+\)", str(variable.get("definition", ""))):
            yield f"${variable['name']}", _filled(found[1])
    for source in SOURCES.values():
        for query in source["jsonData"].get("tracesToMetrics", {}).get("queries", ()):
            yield f"{source['name']}: {query['name']}", _filled(query["query"])


QUERIES = list(queries())


@pytest.mark.parametrize(("place", "query"), QUERIES, ids=[place for place, _ in QUERIES])
def test_queries_are_promql_over_our_metrics(place: str, query: str) -> None:
    """Each parses, and each metric in it is one of ours under its translated name."""
    asked = [node.name for node in _nodes(query) if isinstance(node, promql.VectorSelector)]
    assert asked
    assert [name for name in asked if name not in _series()] == [], place


@pytest.mark.parametrize(("place", "query"), QUERIES, ids=[place for place, _ in QUERIES])
def test_queries_use_our_labels(place: str, query: str) -> None:
    """Those of the docs' attributes of metrics, and `le`; a mistyped label matches nothing and says nothing."""
    (sentence,) = re.findall(r"^Attributes of all metrics: (.+?)\.\s", DOCS, re.MULTILINE | re.DOTALL)
    known = {name.replace(".", "_") for name in {*re.findall(r"`([\w.]+)`", sentence), *BEYOND_THE_REQUEST}}
    assert [label for label in _labels(query) if label not in {*known, "le"}] == [], place


def test_every_metric_is_on_the_dashboard() -> None:
    """Under one of its series' names."""
    text = "\n".join(query for _, query in QUERIES)
    assert [name for name, *rest in METRICS if translated(name, *rest) not in text] == []


def test_counts_do_not_guess() -> None:
    """`increase` stretches a short run's counts to the window; whole-run panels take each series' last value."""
    whole = [target["expr"] for panel in FILLED for target in panel["targets"] if target.get("instant")]
    assert whole
    assert [query for query in whole if "increase(" in query or "rate(" in query] == []


# --- helpers


def translated(name: str, kind: str, unit: str) -> str:
    """The name that Prometheus gives a metric that came by OTLP (UnderscoreEscapingWithSuffixes): the units that we
    use. Braces are no unit; `/s` adds per_second whatever the name ends with.
    """
    main, _, per = unit.partition("/")
    parts = name.replace(".", "_").split("_")
    if main in UNITS and UNITS[main] not in parts:
        parts.append(UNITS[main])
    if per == "s":
        parts += ["per", "second"]
    if kind == "counter":
        parts = [*(part for part in parts if part != "total"), "total"]
    return "_".join(parts)


def _series() -> set[str]:
    """All names that our metrics have in Prometheus."""
    found = set()
    for name, kind, unit in METRICS:
        plain = translated(name, kind, unit)
        found |= {f"{plain}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {plain}
    return found


def _nodes(query: str) -> list[promql.Expr]:
    found: list[promql.Expr] = []
    promql.walk(promql.parse(query), found.append)
    return found


def _labels(query: str) -> list[str]:
    """Labels that a query selects or groups by."""
    found: list[str] = []
    for node in _nodes(query):
        if isinstance(node, promql.VectorSelector):
            found += [matcher.name for matcher in node.matchers.matchers]
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            found += node.modifier.labels
    return found


def _span(start: int, length: int) -> range:
    return range(start, start + length)
