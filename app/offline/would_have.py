"""What enforcement did, or would have done, in a period: sums over the archive.

Each archived exchange says what an action meant for it (`Event.action`): it was done, or only counted because policy is in
shadow mode or the key is outside the enforced share. So the report is true of the requests that came, whatever the policy
was then; what another policy would do is a question for the preview of a policy. An exchange does not say who asked for
its action, policy or a person's order: both are in the sums.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from app.errors import BadInput
from app.settings import LADDER
from app.state.partition import parse_id
from app.worker.archive import list_files
from app.worker.rows import SCHEMA

TOP = 20
"""Customers that a report names."""

KEYS_OF_CUSTOMER = 50
"""Keys of a customer that are looked at for its level: those that were touched most."""

MAX_DAYS = 90

_COLUMNS = ("at_us", "key_id", "org_id", "plan", "action", "decision", "outcome", "input_tokens", "output_tokens")
_PARTS = ("org_id", "plan", "action", "decision", "outcome")
_AGO = re.compile(r"(\d{1,4})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_WOULD = "would_"


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer of a period.

    Attributes:
        customer: "org:" and its name, or "key:" and the id of a key without one.
        key_ids: the keys that were touched most, the first of them; keys: how many it has.
        action: the highest one.
        touched: requests that an action touched, or would have; refused: of those, refused or would have been.
    """

    customer: str
    key_ids: tuple[str, ...]
    keys: int
    plan: str
    action: str
    requests: int
    touched: int
    refused: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums of a period; rows have the names of the columns of the answers."""

    until_us: int
    requests: int
    tokens: int
    keys: int
    organisations: int
    would_refuse: int
    actions: tuple[Mapping[str, Any], ...]
    plans: tuple[Mapping[str, Any], ...]
    customers: tuple[Customer, ...]


def parse_since(text: str, now: datetime) -> datetime:
    """ "12h", "2026-11-24" or "2026-11-24T08:00:00Z" → the time in UTC.

    Raises:
        BadInput: it is neither, in the future, or too long ago.
    """
    found = _AGO.fullmatch(text)
    try:
        if found:
            since = now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        else:
            since = datetime.fromisoformat(text)
            since = since.replace(tzinfo=UTC) if since.tzinfo is None else since.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInput("since: must be a time such as 2026-11-24T08:00Z, or so long before now: 30m, 12h, 7d") from None
    if not now - timedelta(days=MAX_DAYS) <= since < now:
        raise BadInput(f"since: must be in the past, and at most {MAX_DAYS} days ago")
    return since


def figures(archive: Path, since_us: int) -> Figures | None:
    """Sums of the exchanges since a time; None when there is no archive to read here.

    Raises:
        BadInput: a file is damaged.
    """
    try:
        files = [file.path for file in list_files(archive) if parse_id(file.last)[0] * 1000 >= since_us]
    except BadInput:
        return None
    if not files:
        return Figures(since_us, 0, 0, 0, 0, 0, (), (), ())
    schema = {name: SCHEMA[name] for name in _COLUMNS}
    try:
        # Files of an earlier release have no actions, and each file has more columns than these.
        rows = (
            pl.scan_parquet(files, schema=schema, missing_columns="insert", extra_columns="ignore", hive_partitioning=False)
            .filter(pl.col("at_us") >= since_us)
            .group_by("key_id", *(pl.col(name).fill_null("") for name in _PARTS))
            .agg(
                pl.len().alias("requests"),
                (pl.col("input_tokens") + pl.col("output_tokens")).sum().alias("tokens"),
                pl.col("at_us").max(),
            )
            # A day may hold more exchanges than fit into memory; there are a few rows for each key.
            .collect(engine="streaming")
            .sort("at_us", "key_id", *_PARTS)
        )
    except (PolarsError, OSError) as error:
        raise BadInput(f"archive {archive}: cannot be read ({type(error).__name__})") from None
    return _summed(rows, since_us)


def _summed(rows: pl.DataFrame, since_us: int) -> Figures:
    """`rows`: how many requests of each key and of each combination of `_PARTS`, their tokens, and the newest."""
    asked = pl.col("action").str.strip_prefix(_WOULD).replace({"refuse": "throttle"})  # what refuses is a throttle's budget
    refuses = (pl.col("action") == f"{_WOULD}refuse") | asked.is_in(["step_up", "suspend"])
    # A throttled request says so whether its smaller budget let it pass or not; the outcome tells which.
    refused = pl.col("decision").is_in(["limited", "blocked", "refused"]) | (pl.col("outcome") == "refused")
    rows = rows.with_columns(
        asked=asked,
        really=(pl.col("action") != "") & ~pl.col("action").str.starts_with(_WOULD),
        touched=pl.col("requests") * (pl.col("action") != ""),
        stopped=pl.col("requests") * ((pl.col("action") != "") & (refuses | refused)),
        rung=asked.replace_strict({name: at for at, name in enumerate(LADDER)}, default=0, return_dtype=pl.Int64),
        customer=pl.when(pl.col("org_id") != "").then("org:" + pl.col("org_id")).otherwise("key:" + pl.col("key_id")),
    )
    named = pl.col("org_id").filter(pl.col("org_id") != "").n_unique()
    newest = rows["at_us"].max()
    requests, tokens = int(rows["requests"].sum()), int(rows["tokens"].sum())
    actions = (
        rows.filter(pl.col("touched") > 0)
        .group_by("asked", "really")
        .agg(
            pl.col("key_id").n_unique().alias("keys"),
            named.alias("organisations"),
            pl.col("requests").sum(),
            pl.col("stopped").sum(),
            pl.col("tokens").sum(),
            pl.col("rung").first(),
        )
        .sort("really", "rung", descending=True)
    )
    plans = (
        rows.group_by("plan")
        .agg(
            pl.col("key_id").n_unique().alias("keys"),
            pl.col("key_id").filter(pl.col("touched") > 0).n_unique().alias("touched_keys"),
            pl.col("requests").sum(),
            pl.col("touched").sum().alias("touched_requests"),
        )
        .sort("touched_requests", "requests", "plan", descending=[True, True, False])
    )
    return Figures(
        until_us=int(newest) if isinstance(newest, int) else since_us,
        requests=requests,
        tokens=tokens,
        keys=rows["key_id"].n_unique(),
        organisations=int(rows.select(named).item()),
        would_refuse=int(rows.filter(pl.col("action") == f"{_WOULD}refuse")["requests"].sum()),
        actions=tuple(
            {
                "action": row["asked"],
                "really": row["really"],
                "keys": row["keys"],
                "organisations": row["organisations"],
                "requests": row["requests"],
                "refused": row["stopped"],
                "tokens": row["tokens"],
                "requests_share": round(row["requests"] / max(1, requests), 6),
                "tokens_share": round(row["tokens"] / max(1, tokens), 6),
            }
            for row in actions.iter_rows(named=True)
        ),
        plans=tuple(plans.iter_rows(named=True)),
        customers=_customers(rows),
    )


def _customers(rows: pl.DataFrame) -> tuple[Customer, ...]:
    hit = (
        rows.sort("touched", "key_id", descending=[True, False])
        .group_by("customer", maintain_order=True)
        .agg(
            pl.col("key_id").n_unique().alias("keys"),
            pl.col("key_id").filter(pl.col("touched") > 0).unique(maintain_order=True).head(KEYS_OF_CUSTOMER),
            pl.col("plan").sort_by("at_us").last(),
            pl.col("rung").max(),
            pl.col("requests").sum(),
            pl.col("touched").sum(),
            pl.col("stopped").sum(),
        )
        .filter(pl.col("touched") > 0)
        .sort("touched", "customer", descending=[True, False])
        .head(TOP)
    )
    return tuple(
        Customer(
            customer=row["customer"],
            key_ids=tuple(row["key_id"]),
            keys=row["keys"],
            plan=row["plan"],
            action=LADDER[row["rung"]],
            requests=row["requests"],
            touched=row["touched"],
            refused=row["stopped"],
        )
        for row in hit.iter_rows(named=True)
    )
