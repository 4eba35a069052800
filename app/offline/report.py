"""report.md: what a replay found, for an analyst who has not read our documentation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.offline import campaign_page, campaign_plot, plots
from app.offline.labels import Labelled, by_stratum
from app.offline.linking import Reported
from app.offline.records import BadLines
from app.offline.replay import Run
from app.offline.tracks import Track
from detectors.contract import Level
from detectors.features import CATALOGUE, INDEX
from detectors.looks import DELAY_US
from detectors.templates_view import View

REPORT = "report.md"
SCORES, LEVELS, TIMELINES, FEATURES = _OF_KEYS = ("scores.png", "levels.png", "timelines.png", "features.png")
PICTURES = (*_OF_KEYS, *campaign_page.PICTURES)

MAX_ROWS = 100
MAX_TIMELINES = 12
MAX_DETAILS = 25
MAX_DRIVERS = 15

_PEERS = "A score near 1 means that few comparable customers ever looked like this."
_RULES = (
    "A score says how far a named rule is fulfilled; without a peer model no customer is compared with others, and a "
    "pattern that is suspicious only where it is rare flags nobody."
)


@dataclass(frozen=True, slots=True)
class Page:
    """What a report is made of.

    Attributes:
        run: facts about the run.
        ranked: every key's track, most suspicious first.
        bad: lines that could not be used.
        notes: sentences about the input.
        labelled: keys that people know about.
        campaigns: groups of keys that were reported, the most suspicious first.
        alike: per campaign what its members write alike; None: no texts could be read again.
    """

    run: Run
    ranked: Sequence[Track]
    bad: BadLines
    notes: Sequence[str]
    labelled: Sequence[Labelled] = ()
    campaigns: Sequence[Reported] = ()
    alike: Sequence[Sequence[View]] | None = None


def write(out: Path, page: Page) -> Path:
    """Write report.md and its pictures into an existing folder; returns the report's path.

    Pictures of an earlier report go: one that this report does not draw anew would be taken for its own.
    """
    for name in PICTURES:
        (out / name).unlink(missing_ok=True)
    run = page.run
    active = [track for track in page.ranked if track.requests]
    judged = [track for track in active if track.judged]
    flagged = [track for track in active if track.flagged]
    parts = [_head(run, active, judged, flagged, page.campaigns)]
    if judged:
        plots.score_distribution(judged, out / SCORES)
        by_plan = _by_plan(judged)
        plots.levels_by_plan(by_plan, out / LEVELS)
        parts.append(_scores(by_plan, run))
    if page.campaigns:
        tracks = {track.key_id: track for track in page.ranked}
        campaign_plot.graphs(page.campaigns, tracks, out / campaign_page.GRAPH)
        campaign_plot.hours(page.campaigns, tracks, out / campaign_page.HOURS, run.judged_from_us, run.end_us)
        parts.append(campaign_page.section(page.campaigns, tracks, page.alike))
    if flagged:
        plots.timelines(flagged[:MAX_TIMELINES], out / TIMELINES, run.judged_from_us, run.end_us)
        parts.append(_flagged(flagged))
        if found := _drivers(flagged):
            plots.drivers(found, out / FEATURES)
            parts.append(_decided(found))
        parts.append(_details(flagged))
    if run.looks:
        parts.append(_looks(run))
    if page.labelled:
        parts.append(_labels(page.labelled))
    parts += [_input(page), _reading(run)]
    path = out / REPORT
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _head(
    run: Run, active: Sequence[Track], judged: Sequence[Track], flagged: Sequence[Track], campaigns: Sequence[Reported]
) -> str:
    levels = Counter(track.level for track in judged)
    young = len(active) - len(judged)
    before = "what came before is history and raises no alarm" if run.warmup_events else "the whole log"
    rows = [
        ("Log", cell(run.source)),
        ("Time span (UTC)", f"{_time(run.start_us)} to {_time(run.end_us)}"),
        ("Judged from (UTC)", f"{_time(run.judged_from_us)}; {before}"),
        ("Exchanges", f"{run.events:,}, of which {run.warmup_events:,} are history"),
        ("Keys in the judged part", f"{len(active):,}; {young:,} of them showed too little to be judged"),
        ("Model", _model(run)),
        ("Flagged", f"**{len(flagged):,}** keys: {levels[Level.CONFIRMED]} confirmed, {levels[Level.SUSPECT]} suspect"),
        ("On watch", f"{levels[Level.WATCH]:,} keys"),
        ("Campaigns", _campaigns(campaigns, run)),
        ("Leak alarm", _leaking(judged)),
    ]
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    return f"# Replay report\n\n| | |\n| --- | --- |\n{table}\n"


def _campaigns(campaigns: Sequence[Reported], run: Run) -> str:
    keys = len({key for one in campaigns for key in one.keys})
    found = f"**{len(campaigns):,}** with {keys:,} keys" if campaigns else "**0**"
    return f"{found}; the linker looked {run.passes:,} times"


def _leaking(judged: Sequence[Track]) -> str:
    raised = [track for track in judged if track.leaking_us is not None]
    alone = sum(not track.flagged for track in raised)
    early = sum(track.flagged and (track.leaking_us or 0) < (track.flagged_us or 0) for track in raised)
    return f"{len(raised):,} keys: {alone:,} that were never flagged, {early:,} before they were"


def _model(run: Run) -> str:
    if not run.peers:
        return f"{cell(run.model)}, the named rules alone: no key was compared with its peers"
    return f"{cell(run.model)}, {'fitted on the history of this log' if run.fitted else 'a saved one'}"


def _scores(by_plan: dict[str, dict[Level, int]], run: Run) -> str:
    head = "| Plan | Keys | Watch | Suspect | Confirmed |\n| --- | ---: | ---: | ---: | ---: |\n"
    rows = []
    for plan, counts in sorted(by_plan.items()):
        above = " | ".join(str(counts.get(level, 0)) for level in (Level.WATCH, Level.SUSPECT, Level.CONFIRMED))
        rows.append(f"| {cell(plan)} | {sum(counts.values()):,} | {above} |")
    return (
        "## Scores and levels\n\n![Histogram of the keys' highest scores, by level](scores.png)\n\n"
        + (_PEERS if run.peers else _RULES)
        + " It is not the probability of guilt: where honest keys outnumber attackers by thousands, many high scores are "
        "honest.\n\n"
        "![Share of keys above clear, by plan](levels.png)\n\n" + head + "\n".join(rows) + "\n"
    )


def _flagged(flagged: Sequence[Track]) -> str:
    head = (
        "| Key | Organisation | Plan | Level | Score | First alarm (UTC) | Requests | Leaked | Main reason |\n"
        "| --- | --- | --- | --- | ---: | --- | ---: | ---: | --- |\n"
    )
    rows = []
    for track in flagged[:MAX_ROWS]:
        level = track.level.name.lower() + (" (authorised use)" if track.authorised else "")
        reason = cell(track.reasons[0].text) if track.reasons else ""
        rows.append(
            f"| `{_code(track.key_id)}` | `{_code(track.org_id) or '–'}` | {cell(track.plan)} | {level} "
            f"| {track.score:.3f} | {_time(track.flagged_us or 0)} | {track.requests:,} | {track.leaked:,} | {reason} |"
        )
    more = f"\n{len(flagged) - MAX_ROWS:,} more are in `verdicts.jsonl`.\n" if len(flagged) > MAX_ROWS else ""
    shown = min(len(flagged), MAX_TIMELINES)
    return (
        "## Flagged keys\n\n"
        "Most suspicious first. *Leaked* counts the unique valuable answers taken since the first exchange that was above "
        "clear: what could already be in a training set.\n\n" + head + "\n".join(rows) + "\n" + more + "\n"
        f"![Requests per hour, score and first alarm of the {shown} most suspicious keys](timelines.png)\n"
    )


def _decided(found: Sequence[plots.Driver]) -> str:
    rows = []
    for driver in found:
        if driver.feature in INDEX:
            entry = CATALOGUE[INDEX[driver.feature]]
            meaning, raises = entry.meaning, entry.raises
        else:
            meaning, raises = "", ""
        rows.append(f"| `{driver.feature}` | {driver.keys} | {driver.weight:.0%} | {cell(meaning)} | {cell(raises)} |")
    return (
        "## What decided\n\n![Features behind the flagged keys' scores](features.png)\n\n"
        "| Feature | Keys | Mean share | Meaning | Honest customers who raise it |\n| --- | ---: | ---: | --- | --- |\n"
        + "\n".join(rows)
        + "\n"
    )


def _details(flagged: Sequence[Track]) -> str:
    parts = [f"## Reasons\n\nThe {min(len(flagged), MAX_DETAILS)} most suspicious keys, with every reason given.\n"]
    for track in flagged[:MAX_DETAILS]:
        reasons = (
            "\n".join(f"{i}. {cell(reason.text)}" for i, reason in enumerate(track.reasons, 1)) or "No reason was recorded."
        )
        parts.append(f"### `{_code(track.key_id)}` — {track.level.name.lower()}, score {track.score:.3f}\n\n{reasons}\n")
    return "\n".join(parts)


def _looks(run: Run) -> str:
    """What was frozen, and who stood out at the newest look."""
    head = "| Until (UTC) | Voting organisations | Frozen | Keys compared | Called |\n| --- | ---: | --- | ---: | ---: |\n"
    rows = []
    for look in run.looks:
        frozen = ", ".join(f"`{name}`" for name in look.frozen) or "nothing"
        old = "; more moved than may be frozen" if look.too_many else ""
        until = _time(look.from_us - DELAY_US)
        rows.append(f"| {until} | {look.voters:,} | {frozen}{old} | {look.judged:,} | {look.called:,} |")
    parts = [
        "## Looks at the whole fleet\n\nA feature in which settled customers moved all at once says nothing about one of "
        "them, so it is frozen: scorers are not shown it. *Called* are the keys that stand out among all that were "
        "compared; few of them are expected to be honest, and being called raises no level.\n\n"
        + head
        + "\n".join(rows)
        + "\n"
    ]
    if run.looks[-1].too_many:
        parts.append("**The model is of other days**: more features moved than may be frozen. Fit a new one.\n")
    if run.called:
        shown = "\n".join(f"| `{_code(key_id)}` | {p_value:.2g} |" for key_id, p_value in run.called[:MAX_ROWS])
        more = f"\n{len(run.called) - MAX_ROWS:,} more are called.\n" if len(run.called) > MAX_ROWS else ""
        parts.append(f"Called at the newest look:\n\n| Key | p-value |\n| --- | ---: |\n{shown}\n{more}")
    return "\n".join(parts)


def _labels(labelled: Sequence[Labelled]) -> str:
    """False positives by stratum among the keys that people found benign; and how many abusive ones were found."""
    parts = ["## Labelled keys\n"]
    benign = by_stratum(labelled, "benign")
    if benign:
        rows = [f"| {cell(name)} | {judged} | {flagged} | {flagged / judged:.1%} |" for name, judged, flagged in benign]
        parts.append(
            "Keys that people found benign, an appeal that was granted among them, by stratum: plan / age / workload. Each "
            "flag is a false positive.\n\n"
            "| Stratum | Benign keys judged | Flagged | Share |\n| --- | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
        )
    abusive = by_stratum(labelled, "abusive")
    if abusive:
        judged, flagged = sum(row[1] for row in abusive), sum(row[2] for row in abusive)
        parts.append(
            f"Keys that people found abusive: {flagged} of {judged} judged ones are flagged. They gave nothing to the "
            "history that a model is fitted on.\n"
        )
    if not benign and not abusive:
        parts.append("None of the labelled keys showed enough to be judged.\n")
    return "\n".join(parts)


def _input(page: Page) -> str:
    lines = [cell(note) for note in page.notes]
    if page.bad.bad:
        lines += [f"line {number:,}: {cell(rule)}" for number, rule in page.bad.examples]
        if page.bad.bad > len(page.bad.examples):
            lines.append(f"and {page.bad.bad - len(page.bad.examples):,} more such lines")
    text = "\n".join(f"- {line}" for line in lines) or "Every line was used and in time order."
    return f"## Input\n\n{text}\n"


def _history(run: Run) -> str:
    if not run.warmup_events:
        return ""
    usual = " and tells what is usual in each peer group (plan, age of the account, kind of work)" if run.fitted else ""
    return f"The history before {_time(run.judged_from_us)} builds each key's profile{usual}. "


def _reading(run: Run) -> str:
    return (
        "## How to read this\n\n"
        f"{_history(run)}Time is the log's own: a verdict rests only on what had been seen until then, and the live "
        "service, given the same model and the same exchanges, says the same.\n\n"
        "- **watch**: unusual; nothing is done. **suspect**, **confirmed**: flagged; the default policy only counts what a "
        "throttle would have done.\n"
        "- The level shown is the highest one reached; levels fall again when behaviour does.\n"
        "- Levels say how unusual a key is, not why its owner does it. Evaluation harnesses, judges, template pipelines "
        "and contracted data customers can look like extraction. Read the reasons and ask before acting.\n"
        "- A campaign says that keys act as one and harvest together. Customers of one reseller, users of one popular app "
        "and machines of one company also share a wording or a client: see beside each evidence how many honest keys show "
        "the same.\n"
    )


def _by_plan(tracks: Sequence[Track]) -> dict[str, dict[Level, int]]:
    counts: dict[str, dict[Level, int]] = defaultdict(lambda: defaultdict(int))
    for track in tracks:
        counts[track.plan or "unknown"][track.level] += 1
    if len(counts) > 12:  # a log with a plan per customer: the rare ones together
        order = sorted(counts, key=lambda plan: (-sum(counts[plan].values()), plan))
        for plan in order[11:]:
            for level, number in counts.pop(plan).items():
                counts["others"][level] += number
    return counts


def _drivers(flagged: Sequence[Track]) -> list[plots.Driver]:
    keys: Counter[str] = Counter()
    weights: defaultdict[str, float] = defaultdict(float)
    for track in flagged:
        for name in {reason.feature for reason in track.reasons}:
            keys[name] += 1
        for reason in track.reasons:
            weights[reason.feature] += reason.weight
    found = [plots.Driver(name, keys[name], weights[name] / len(flagged)) for name in keys]
    return sorted(found, key=lambda d: (-d.weight, d.feature))[:MAX_DRIVERS]


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, tz=UTC).strftime("%Y-%m-%d %H:%M")


def cell(text: str) -> str:
    """Text for a Markdown table: no cell or line may be broken, no link or tag started, by what a log contains."""
    plain = " ".join(text.split())
    for mark in "\\|<>[]*_`":
        plain = plain.replace(mark, "\\" + mark)
    return plain


def _code(text: str) -> str:
    """Text inside back-ticks, where nothing can be escaped."""
    return " ".join(text.replace("`", "'").replace("|", "¦").split())
