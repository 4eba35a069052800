"""The alert rules: valid, tested both ways, explained, and about metrics that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from app.cli.program import program as stillwatch
from app.telemetry import metrics
from app.telemetry.dashboards import DASHBOARDS
from benchmarks.prometheus import shortened

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/prometheus"
RULE_FILES = sorted((FOLDER / "rules").glob("*.yml"))
TEST_FILES = sorted((FOLDER / "tests").glob("*.yml"))
RULES = [rule for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
EXPORTED = {family.name + ending for family in metrics.REGISTRY.collect() for ending in ENDINGS[family.type]}


@pytest.fixture(scope="module")
def promtool() -> str:
    """Debian's promtool."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is not installed, and this is CI; apt-get install prometheus")
        pytest.skip("promtool is not installed; apt-get install prometheus")
    return found


def run(*command: str | Path) -> None:
    """Fails with what the command said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_configuration_are_valid(promtool: str) -> None:
    """promtool takes every rule file, and the configuration that names them."""
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    run(promtool, "check", "config", FOLDER / "prometheus.yml")


def test_every_case_comes_out_as_written(promtool: str) -> None:
    """promtool plays the series of every case and finds exactly the alerts that it expects."""
    run(promtool, "test", "rules", *TEST_FILES)


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    """No alert is trusted that was never seen to fire, nor one that was never seen to keep still."""
    cases: dict[str, set[bool]] = defaultdict(set)
    for path in TEST_FILES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                assert test["name"].startswith(case["alertname"])
                cases[case["alertname"]].add(bool(case["exp_alerts"]))
    assert dict(cases) == {name: {True, False} for name in ALERTS}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_explains_itself(alert: str) -> None:
    """Summary, description, and a page that tells meaning, customers, first look, repair and silence."""
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    notes = rule["annotations"]
    assert notes["summary"].endswith(".")
    assert re.sub(r"{{.*?}}", "", notes["description"]).endswith(".")
    assert notes["runbook_url"] == f"docs/runbooks/{alert}.md"
    page = (ROOT / notes["runbook_url"]).read_text(encoding="utf-8")
    assert page.startswith(f"# {alert}\n")
    assert f"**{rule['labels']['severity']}**" in page
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert headings == [
        "What it means",
        "What customers notice",
        "First look",
        "How to fix it",
        "How to silence it",
    ]


def test_no_page_is_left_of_an_alert_that_is_gone() -> None:
    """Every page but the list belongs to an alert, and the list names them all."""
    pages = {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")} - {"README"}
    assert pages == set(ALERTS)
    listed = (ROOT / "docs/runbooks/README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\[(Stillwatch\w+)\]", listed)) == pages


def test_links_between_pages_lead_somewhere() -> None:
    """No page sends somebody who is on call to a page that is not there."""
    for path in (ROOT / "docs/runbooks").glob("*.md"):
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).is_file(), f"{path.name}: {link}"


def test_commands_of_the_pages_exist() -> None:
    """Nobody who is on call types a command that is not there."""
    program: Any = typer.main.get_command(stillwatch)
    for path in (ROOT / "docs/runbooks").glob("*.md"):
        for words in re.findall(r"`stillwatch ([a-z-]+(?: [a-z-]+)?)", path.read_text(encoding="utf-8")):
            command: Any = program
            for word in words.split():
                if not hasattr(command, "commands") or word.startswith("-"):
                    break
                assert word in command.commands, f"{path.name}: stillwatch {words}"
                command = command.commands[word]


def test_rules_are_about_metrics_that_exist() -> None:
    """Every name is exported by some process, or recorded by a rule."""
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    for rule in RULES:
        names = set(re.findall(r"stillwatch[_:][\w:]+", rule["expr"]))
        assert names <= EXPORTED | recorded, names


def test_a_fault_pages_within_two_minutes() -> None:
    """Scrape, evaluation, `for` and one more evaluation together stay under 120 s for pages about faults of the service."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["global"]
    steps = _seconds(config["scrape_interval"]) + 2 * _seconds(config["evaluation_interval"])
    for name in ("NoGateway", "NoWorker", "StateDown", "FallbackActive", "EventsDropped", "SpoolFilling", "KillSwitch"):
        rule = ALERTS[f"Stillwatch{name}"]
        assert steps + _seconds(rule.get("for", "0s")) < 120


def test_shortened_rules_wait_and_look_back_less_and_judge_alike() -> None:
    """Every `for` and window is divided, and thresholds, labels and names stay."""
    rules: Any = yaml.safe_load(shortened((FOLDER / "rules/page.yml").read_text(), 10))
    short = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}
    assert set(short) == {rule["alert"] for rule in RULES if rule.get("labels", {}).get("severity") == "page"}
    assert short["StillwatchStateDown"]["for"] == "6s"
    assert "[30s]" in short["StillwatchDecisionSlow"]["expr"]
    assert short["StillwatchDecisionSlow"]["expr"].endswith("> 0.05")
    assert short["StillwatchVerdictsStale"]["expr"].startswith("max(stillwatch_verdict_age_seconds) > 300")


def _seconds(duration: str) -> int:
    number, unit = int(duration[:-1]), duration[-1]
    return number * {"s": 1, "m": 60}[unit]


@pytest.mark.parametrize(
    ("series", "shown"),
    [
        ({}, {"none": 0}),
        ({"StillwatchLag": "pending"}, {"none": 0}),
        ({"StillwatchLag": "firing", "StillwatchNoWorker": "firing"}, {"StillwatchLag": 1, "StillwatchNoWorker": 1}),
    ],
)
def test_the_overview_names_what_fires(
    promtool: str, tmp_path: Path, series: dict[str, str], shown: dict[str, int]
) -> None:
    """Every alert that fires is shown by its name, and where none does the panel says so."""
    (panel,) = [each for dashboard in DASHBOARDS for each in dashboard.panels if each.title == "Alerts that fire"]
    assert panel.queries[0].legend == "{{alertname}}"
    case = {
        "interval": "10s",
        "input_series": [
            {"series": f'ALERTS{{alertname="{name}", alertstate="{state}"}}', "values": "1x10"}
            for name, state in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": panel.queries[0].expr,
                "eval_time": "1m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": value} for name, value in shown.items()],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "10s", "tests": [case]}))
    run(promtool, "test", "rules", path)


def test_the_address_of_the_runbooks_is_set_as_the_page_says(promtool: str, tmp_path: Path) -> None:
    """The command of docs/dashboards.md makes every link of an alert a whole address, and changes nothing else."""
    (command,) = re.findall(r"^RUNBOOKS=.*?^sed .*?$", (ROOT / "docs/dashboards.md").read_text(), re.MULTILINE | re.DOTALL)
    shutil.copytree(FOLDER, tmp_path / "deploy/prometheus")
    subprocess.run(["sh", "-euc", command], cwd=tmp_path, check=True)
    changed = sorted((tmp_path / "deploy/prometheus/rules").glob("*"))
    assert [path.name for path in changed] == [path.name for path in RULE_FILES]
    run(promtool, "check", "rules", *changed)
    links = re.findall(r"runbook_url: (\S+)", "".join(path.read_text() for path in changed))
    assert links == [
        rule["annotations"]["runbook_url"].replace("docs/", "https://wiki.example.com/stillwatch/", 1)
        for rule in ALERTS.values()
    ]
