"""A real Prometheus over processes on this machine, with the rules of `deploy/prometheus`."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from benchmarks.machine import Child, Cores, free_port, program

DEPLOY = Path(__file__).parents[1] / "deploy/prometheus"
RULES = tuple(sorted((DEPLOY / "rules").glob("*.yml")))

_DURATION = re.compile(r"\b(\d+)(s|m|h|d)\b")
_UNIT_SEC = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Point = tuple[float, float]
"""(unix seconds, value)."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer; `points` is one for an instant query."""

    labels: dict[str, str]
    points: tuple[Point, ...]


def shortened(rules: str, factor: int) -> str:
    """Rules whose every `for` and every window in brackets is `factor` times shorter, but at least a second.

    Thresholds stay, those in seconds too: what fires after a minute fires then after `60 / factor` seconds of the same
    fault. What a rule says about a fault is tested so, and not how long it waits.
    """

    def shorter(found: re.Match[str]) -> str:
        seconds = int(found[1]) * _UNIT_SEC[found[2]]
        return f"{max(1, seconds // factor)}s"

    tree = yaml.safe_load(rules)
    for group in tree["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(
                r"\[(\d+)(s|m|h|d)\]", lambda found: f"[{_DURATION.sub(shorter, found[0][1:-1])}]", rule["expr"]
            )
            if "for" in rule:
                rule["for"] = _DURATION.sub(shorter, rule["for"])
    return yaml.safe_dump(tree, sort_keys=False)


def configured_interval_sec() -> int:
    """Seconds between scrapes, as shipped."""
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    return int(config["global"]["scrape_interval"].removesuffix("s"))


class Prometheus:
    """A running server; as a context manager it stops at the end. Scraped data stay for as long as it runs."""

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, Sequence[str]],
        *,
        interval_sec: int = 1,
        rules: Mapping[str, str] | None = None,
    ) -> None:
        """Start and wait until it is ready.

        Args:
            folder: existing one, for configuration and data.
            targets: job → "host:port" of each process.
            interval_sec: of scrapes and of evaluations.
            rules: file name → text; None takes those of `deploy/prometheus` as they are.

        Raises:
            CannotMeasure: Prometheus is not installed or does not start.
        """
        self._port = free_port()
        every = f"{interval_sec}s"
        texts = rules if rules is not None else {path.name: path.read_text(encoding="utf-8") for path in RULES}
        (folder / "rules").mkdir()
        for name, text in texts.items():
            (folder / "rules" / name).write_text(text, encoding="utf-8")
        config = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(folder / "rules" / "*.yml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(places)}]} for job, places in targets.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=error",
        ]
        self._child = Child(command, Cores.share().rest)
        try:
            self._child.until(self._ready, "prometheus")
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def query(self, expr: str, at: float | None = None) -> list[Series]:
        """An instant query, at a unix time or now."""
        found = self._ask("query", {"query": expr} | ({} if at is None else {"time": f"{at:.3f}"}))
        if found["resultType"] == "scalar":
            return [Series({}, (_point(found["result"]),))]
        return [Series(each["metric"], (_point(each["value"]),)) for each in found["result"]]

    def value(self, expr: str, at: float | None = None) -> float:
        """The one value of an instant query; NaN without one."""
        found = self.query(expr, at)
        return found[0].points[0][1] if found else float("nan")

    def query_range(self, expr: str, begin: float, end: float, step_sec: float = 1.0) -> list[Series]:
        """A query over a stretch of unix time."""
        asked = {"query": expr, "start": f"{begin:.3f}", "end": f"{end:.3f}", "step": f"{step_sec:g}"}
        found = self._ask("query_range", asked)
        return [Series(each["metric"], tuple(map(_point, each["values"]))) for each in found["result"]]

    def alerts(self) -> dict[str, str]:
        """Name → pending or firing, of alerts that are not inactive; firing where several series differ."""
        states: dict[str, str] = {}
        for alert in self._ask("alerts", {})["alerts"]:
            name = alert["labels"]["alertname"]
            if states.get(name) != "firing":
                states[name] = alert["state"]
        return states

    def up(self) -> dict[str, bool]:
        """Target → its last scrape went well."""
        return {target["scrapeUrl"]: target["health"] == "up" for target in self._ask("targets", {})["activeTargets"]}

    def until_up(self, limit_sec: float = 20.0) -> None:
        """Returns once every target was scraped."""
        self._child.until(lambda: bool(up := self.up()) and all(up.values()), "the scrape of every target", limit_sec)

    def _ask(self, path: str, arguments: dict[str, str]) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def __enter__(self) -> Prometheus:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._child.__exit__(kind, error, trace)


def wait_for_alert(prometheus: Prometheus, name: str, limit_sec: float) -> float | None:
    """Seconds until it fires, None if it does not in time."""
    began = time.monotonic()
    while time.monotonic() - began < limit_sec:
        if prometheus.alerts().get(name) == "firing":
            return time.monotonic() - began
        time.sleep(0.2)
    return None


def wait_for_quiet(prometheus: Prometheus, names: Sequence[str], limit_sec: float) -> bool:
    """Waits until none of these alerts fires; false if one still does after the limit."""
    until = time.monotonic() + limit_sec
    while time.monotonic() < until:
        alerts = prometheus.alerts()
        if not any(alerts.get(name) == "firing" for name in names):
            return True
        time.sleep(0.2)
    return False


def wait_for_value(prometheus: Prometheus, expr: str, least: float, limit_sec: float) -> bool:
    """Waits until an instant query gives at least so much; false if it does not in time."""
    until = time.monotonic() + limit_sec
    while time.monotonic() < until:
        if prometheus.value(expr) >= least:
            return True
        time.sleep(0.2)
    return False


def _point(pair: Sequence[Any]) -> Point:
    return float(pair[0]), float(pair[1])
