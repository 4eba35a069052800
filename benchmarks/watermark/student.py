"""A suspect student: how well one that was trained on marked text is told, by how much of its training text was marked.

A teacher (`teacher`) is marked for one key, the leaker, and for twenty others whose answers nobody trained on. Students are
trained on 120,000 tokens of the teacher, a part of them the leaker's answers, the rest unmarked. What the leaker was served
is what the student was trained on: a harvester keeps what it pays for. 30,000 tokens of the student are scored.

    python -m benchmarks.watermark student [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.watermark.neural import SEES, Neural
from benchmarks.watermark.teacher import Mark, Tokens, Trigram, corpus
from detectors.watermark.conditional import ConditionalNull
from detectors.watermark.evidence import Evidence, values
from detectors.watermark.keys import MasterSecret, codewords, issued
from detectors.watermark.prf import Prf
from detectors.watermark.registry import WORDS, MarkProfile, Scheme
from detectors.watermark.served import Served
from detectors.watermark.student import Asked, Generation, Reading, Verdict, closed, fit, of_keys, only, reading
from detectors.watermark.tails import log_binomial_tails, log_gamma_tails

NAME = "student"

LENGTH = 250
"""Tokens of an answer."""

TEMPERATURE = 0.7
"""At which a student is asked; teachers speak at 1."""

EPOCHS = 10
OTHERS, OTHERS_ANSWERS = 20, 12
WRONG = 1000
LEVEL = 0.01
"""p-value at which wrong keys are counted."""

MARKS: tuple[tuple[Scheme, int], ...] = (("gumbel", 1), ("gumbel", 2), ("gumbel", 4), ("green", 1), ("green", 2))
SHARES = (1.0, 0.2, 0.05, 0.01, 0.0)

PARTS = ("n-gram", "neural", "innocents")

COLUMNS = (
    "student",
    "mark",
    "marked",
    "closed",
    "closed, served contexts",
    "closed, own contexts",
    "names the key",
    "reading",
    "1,000 wrong numbers",
    "1,000 wrong keys",
)


@dataclass(slots=True)
class _Plan:
    tokens: int = 120_000
    said: int = 30_000
    marks: Sequence[tuple[Scheme, int]] = MARKS
    ngram: Sequence[float] = SHARES
    neural: dict[tuple[Scheme, int], Sequence[float]] = field(
        default_factory=lambda: {mark: SHARES if mark == ("gumbel", 2) else (0.05,) for mark in MARKS}
    )
    innocents: int = 1000


QUICK = _Plan(30_000, 10_000, (("gumbel", 2),), (0.2,), {("gumbel", 2): (0.2,)}, 50)


def add(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--quick", action="store_true", help="one mark, one share, a quarter of the text: half a minute")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="parts of it (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints the tables."""
    began, used = time.perf_counter(), time.process_time()
    plan = QUICK if args.quick else _Plan()
    school = _School(plan, args.seed)
    entropy = school.teacher.entropy(school.clean[:20])
    print(f"Teacher: {entropy:.2f} bits a token. z (log10 p); marked: share of the training text.\n")
    students = set(args.only) & {"n-gram", "neural"}
    if students:
        print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS), flush=True)
    rows = []
    for mark in plan.marks if students else ():
        lesson = school.lesson(*mark)
        for kind, shares in (("n-gram", plan.ngram), ("neural", plan.neural[mark])):
            if kind not in args.only:
                continue
            for share in shares:
                row = school.examined(lesson, kind, share)
                rows.append(row)
                print(row.line(), flush=True)
    if rows:
        _wrong(rows)
    if "innocents" in args.only:
        _innocents(school, plan)
    print(f"\n{time.perf_counter() - began:.0f} s, {time.process_time() - used:.0f} s of one processor.")
    return 0


@dataclass(frozen=True, slots=True)
class _Lesson:
    """One mark and what was served under it."""

    mark: Mark
    secret: MasterSecret
    leaked: list[Tokens]
    others: dict[str, list[Tokens]]

    def word(self, name: str) -> NDArray[np.uint8]:
        return issued(self.secret, name, self.mark.profile.positions, self.mark.profile.symbols)

    def served(self, answers: int) -> Served:
        made = Served(self.mark.prf, 1 << 22, 1 << 24)
        for name, texts in {"leaker": self.leaked[:answers], **self.others}.items():
            for text in texts:
                made.add(name, text)
        return made


@dataclass(frozen=True, slots=True)
class _Row:
    kind: str
    mark: str
    share: float
    verdicts: Sequence[Verdict]
    wrong: Sequence[tuple[float, float, int]]
    """(lowest z, highest z, how many p ≤ LEVEL) of unused numbers and of codewords never issued."""
    others_known: float
    others_named: float
    named: bool

    def line(self) -> str:
        cells = [self.kind, self.mark, f"{self.share:.0%}"]
        cells += [f"{found.z:.1f} ({found.log10_p:.1f})" for found in self.verdicts]
        cells += [f"{low:.1f}..{high:.1f}, {count}" for low, high, count in self.wrong]
        return "| " + " | ".join(cells) + " |"


class _School:
    def __init__(self, plan: _Plan, seed: int) -> None:
        self.plan = plan
        self.seed = seed
        self.begin("clean")
        self.corpus = corpus()
        self.teacher = Trigram([self.corpus])
        self.clean = self.teacher.said(self.prompts(plan.tokens // LENGTH), LENGTH, self.randomness)

    def begin(self, *what: object) -> None:
        """What is drawn from here on depends on nothing that was drawn before, so a part alone gives its figures."""
        self.randomness = np.random.default_rng([self.seed, *" ".join(map(str, what)).encode()])

    def prompts(self, number: int) -> list[Tokens]:
        starts = self.randomness.integers(0, len(self.corpus) - SEES, number)
        return [self.corpus[start : start + SEES] for start in starts]

    def lesson(self, scheme: Scheme, width: int) -> _Lesson:
        self.begin(scheme, width)
        profile = MarkProfile(f"{scheme}-{width}", scheme, WORDS, "e1", context_width=width)
        secret = MasterSecret(self.seed.to_bytes(32, "big"))
        lesson = _Lesson(Mark(Prf(secret, profile), profile), secret, [], {})
        lesson.leaked.extend(self.marked(lesson, "leaker", self.plan.tokens // LENGTH))
        for number in range(OTHERS):
            lesson.others[f"other-{number}"] = self.marked(lesson, f"other-{number}", OTHERS_ANSWERS)
        return lesson

    def marked(self, lesson: _Lesson, name: str, answers: int) -> list[Tokens]:
        return self.teacher.marked(self.prompts(answers), LENGTH, lesson.mark, lesson.word(name), self.randomness)

    def student(self, lesson: _Lesson, kind: str, share: float) -> Trigram | Neural:
        leaked = round(share * len(self.clean))
        texts = lesson.leaked[:leaked] + self.clean[leaked:]
        return Trigram(texts) if kind == "n-gram" else Neural(texts, EPOCHS, self.seed)

    def answers(self, student: Trigram | Neural) -> Iterator[Generation]:
        prompts = self.prompts(self.plan.said // LENGTH)
        said = student.said(prompts, LENGTH, self.randomness, TEMPERATURE)
        return (Generation(prompt, answer) for prompt, answer in zip(prompts, said, strict=True))

    def examined(self, lesson: _Lesson, kind: str, share: float) -> _Row:
        prf, profile = lesson.mark
        self.begin(profile.id, kind, share)
        student = self.student(lesson, kind, share)
        # A student that saw nothing of the leaker's is asked about a leaker, too.
        leaked = round((share or 0.05) * len(self.clean))
        served = lesson.served(leaked)
        evidence = closed(prf, profile, self.answers(student)).evidence
        word, own = lesson.word("leaker"), only(evidence, served.keys["leaker"])
        keys = of_keys(evidence, [Asked(name, lesson.word(name), contexts) for name, contexts in served.keys.items()])
        leaker = next(key for key in keys if key.name == "leaker")
        others = [key for key in keys if key.name != "leaker"]
        read = reading(prf, profile, (Reading(text, student.predicted(text)) for text in lesson.leaked[: min(leaked, 48)]))
        return _Row(
            kind,
            profile.id,
            share,
            [
                fit(evidence, word),
                fit(only(evidence, served.model), word),
                leaker.knows,
                leaker.fits,
                fit(read.evidence, word),
            ],
            [_unused(own), _unissued(own, lesson.secret)],
            min(key.log10_knows for key in others),
            min(key.log10_p for key in others),
            leaker.named,
        )


def _unused(evidence: Evidence) -> tuple[float, float, int]:
    """The same n-grams under numbers that nobody was ever marked with."""
    profile, total = evidence.profile, np.zeros(WRONG)
    symbols = profile.symbols + 1 + np.arange(WRONG)
    for low in range(0, len(evidence.seeds), 1000):
        total += values(profile, evidence.seeds[low : low + 1000], evidence.tokens[low : low + 1000], symbols).sum(axis=0)
    count = len(evidence.seeds)
    if profile.scheme == "green":
        z = (total - count * profile.gamma) / np.sqrt(max(1e-12, count * profile.gamma * (1.0 - profile.gamma)))
        log_p = log_binomial_tails(count, profile.gamma, np.rint(total))
    else:
        z, log_p = (total - count) / np.sqrt(max(1, count)), log_gamma_tails(count, total)
    return float(z.min()), float(z.max()), int((log_p <= np.log(LEVEL)).sum())


def _unissued(evidence: Evidence, secret: MasterSecret) -> tuple[float, float, int]:
    """The same n-grams under codewords that nobody was ever given."""
    profile = evidence.profile
    words = codewords(secret, (f"never-{number}" for number in range(WRONG)), profile.positions, profile.symbols)
    null = ConditionalNull(evidence.pooled())
    scores = null.scores(words)
    z = (scores - null.mean) / max(null.spread, 1e-12)
    return float(z.min()), float(z.max()), int((null.log_tail(scores) <= np.log(LEVEL)).sum())


def _band(trials: int) -> str:
    return f"{binom.ppf(0.005, trials, LEVEL):.0f} to {binom.ppf(0.995, trials, LEVEL):.0f}"


def _wrong(rows: Sequence[_Row]) -> None:
    low, high = binom.ppf(0.005, WRONG, LEVEL), binom.ppf(0.995, WRONG, LEVEL)
    print(f"\nOf {WRONG:,} wrong ones, p ≤ {LEVEL} is expected {_band(WRONG)} times (99 %).")
    for number, what in enumerate(("numbers never used", "codewords never issued")):
        counts = [row.wrong[number][2] for row in rows]
        outside = sum(not low <= count <= high for count in counts)
        print(f"- {what}: {min(counts)} to {max(counts)} times, {outside} of {len(rows)} students outside.")
    taught = [row for row in rows if row.share]
    print(f"- Leaker named: with {sum(row.named for row in taught)} of {len(taught)} students that it taught,")
    clean = [row for row in rows if not row.share]
    print(f"  with {sum(row.named for row in clean)} of {len(clean)} others; {OTHERS + 1} keys asked.")
    print(f"- The {OTHERS} other keys: lowest corrected log10 p to be named {min(row.others_named for row in rows):.1f};")
    print(f"  of knowing {min(row.others_known for row in rows):.1f}.")


def _innocents(school: _School, plan: _Plan) -> None:
    """Keys that were served marked answers which nobody trained on, each on the contexts that it was served itself."""
    number = plan.innocents
    lesson = school.lesson("gumbel", 2)
    prf, profile = lesson.mark
    school.begin("innocents")
    served = Served(prf, 1 << 16, 1 << 24)
    for name in (f"innocent-{at}" for at in range(number)):
        for text in school.marked(lesson, name, 4):
            served.add(name, text)
    asked = [Asked(name, lesson.word(name), contexts) for name, contexts in served.keys.items()]
    print(f"\n{number:,} innocent keys, served {4 * LENGTH:,} tokens each, on their own contexts; p ≤ {LEVEL} is expected")
    print(f"{_band(number)} times (99 %). Student: n-gram, gumbel-2.\n")
    print(
        "| marked for another key | knows: z, mean ± sd | p ≤ 0.01 | named by: z, mean ± sd | p ≤ 0.01 | lowest log10 p |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for share in sorted({0.0, *plan.ngram} - {0.01}):
        school.begin("innocents", share)
        evidence = closed(prf, profile, school.answers(school.student(lesson, "n-gram", share))).evidence
        keys = of_keys(evidence, asked)
        cells = [f"{share:.0%}"]
        for found in ([key.knows for key in keys], [key.fits for key in keys]):
            z = np.array([verdict.z for verdict in found])
            cells += [f"{z.mean():.2f} ± {z.std():.2f}", str(sum(10.0**verdict.log10_p <= LEVEL for verdict in found))]
        cells.append(f"{min(key.fits.log10_p for key in keys):.1f}")
        print("| " + " | ".join(cells) + " |", flush=True)
