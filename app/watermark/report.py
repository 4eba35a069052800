"""report.md: what an investigation found, its first paragraph for a lawyer, the rest for who must check it.

Nothing secret is in it and nothing of the suspect's text. It names tenants and tells p-values: for the operator alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.errors import BadInput
from app.offline.report import cell
from app.watermark import plot
from app.watermark.chances import odds, power
from app.watermark.findings import FINDINGS, Findings, Key, dumped

REPORT = "report.md"
KEYS, SHARES, DOCUMENTS = PICTURES = ("keys.png", "shares.png", "documents.png")
FILES = (FINDINGS, REPORT, *PICTURES)

MOST_TRACED = 50
MOST_NAMED = 5
"""In the first paragraph."""


def write(findings: Findings, folder: Path) -> list[Path]:
    """Write findings.json, report.md and its pictures into a folder, which is made; returns them, the report last.

    Raises:
        BadInput: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        made = [folder / FINDINGS]
        made[0].write_bytes(dumped(findings))
        plot.keys(findings, folder / KEYS)
        made.append(folder / KEYS)
        if any(key.share is not None for key in findings.named):
            plot.shares(findings, folder / SHARES)
            made.append(folder / SHARES)
        if findings.cells:
            plot.documents(findings, folder / DOCUMENTS)
            made.append(folder / DOCUMENTS)
        made.append(folder / REPORT)
        made[-1].write_text(markdown(findings, [path.name for path in made]), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror or 'cannot be written'}") from None
    return made


def markdown(findings: Findings, pictures: Sequence[str] = FILES) -> str:
    """The page; `pictures` are those that lie beside it."""
    parts = [
        "# Whose answers are in this text\n",
        first_paragraph(findings),
        _confidential(),
        _named(findings, pictures),
        _documents(findings, pictures),
        _stretches(findings),
        _model(findings),
        _limits(findings),
        _method(findings),
        _facts(findings),
    ]
    return "\n".join(part for part in parts if part)


def summary(findings: Findings) -> str:
    """One sentence for the terminal."""
    named, ours = findings.named, is_ours(findings)
    whose = "the text carries the model's mark" if ours else "no mark of the model shows in the text as a whole"
    if not named:
        return f"No key is named among {findings.tested:,}; {whose} (p = {power(findings.model.log10_p)})."
    told = ", ".join(f"{key.name} (p = {power(key.log10_p)})" for key in named[:MOST_NAMED])
    more = f" and {len(named) - MOST_NAMED:,} more" if len(named) > MOST_NAMED else ""
    return f"{_count(len(named), 'key')} of {findings.tested:,} named: {told}{more}; {whose}."


def is_ours(findings: Findings) -> bool:
    """Whether the model-level test is significant, at the same bound as the naming."""
    return findings.model.log10_p <= math.log10(findings.fwer)


def first_paragraph(findings: Findings) -> str:
    """What was tested, what was found, what it means, and what it does not prove."""
    corpus, named = findings.corpus, findings.named
    tested = (
        f"**What was tested:** the data set `{cell(corpus.name)}` ({_count(corpus.documents, 'document')}, "
        f"{corpus.tokens:,} tokens, SHA-256 {corpus.sha256[:16]}…) was searched for the invisible marks that our service "
        f"puts into its answers, a different one for each of {_count(findings.tested, 'key')}."
    )
    return f"{tested} {_found(findings)} {_proves_not(findings, named)}\n"


def _found(findings: Findings) -> str:
    named = findings.named
    ours = is_ours(findings)
    if named:
        who = _listed([f"`{cell(key.name)}`" for key in named])
        how_many = "the mark of exactly one key" if len(named) == 1 else f"the marks of {len(named):,} keys"
        weakest = max(key.log10_p for key in named)
        return (
            f"**What was found:** {how_many}, {who}. **What it means:** the text, or part of it, was written by our model "
            f"in answer to requests made with {'this key' if len(named) == 1 else 'these keys'}. A key whose answers are "
            f"not in the text would fit it so well by chance with a probability of at most {odds(weakest)}, and the "
            f"probability that this search names any such key at all is at most {odds(math.log10(findings.fwer))}; these "
            "are probabilities of chance, not of anybody's guilt or innocence."
        )
    if ours:
        return (
            "**What was found:** the mark that all our answers carry, but no single key's. **What it means:** part of the "
            "text was written by our model; a text that was not would show this mark by chance with a probability of at "
            f"most {odds(findings.model.log10_p)}. Through which key it came cannot be said."
        )
    return (
        "**What was found:** no mark, neither of a key nor of our service as a whole. **What it means:** there is no "
        "evidence here that the text comes from our service, and the finding must not be used as if there were."
    )


def _proves_not(findings: Findings, named: Sequence[Key]) -> str:
    greedy = "" if findings.profile["scheme"] == "green" else "given without any randomness, "
    limits = (
        f"Answers that were rewritten in other words or translated, {greedy}or that are too short or too predictable, "
        "carry too little of a mark to be found."
    )
    if not named:
        return f"**What it does not prove:** that no answer of ours is in the text. {limits}"
    return (
        "**What it does not prove:** that the holder of a key trained a model on the text, made this data set, or knew of "
        "it. Answers can be passed on, published or stolen, whoever has them can put them anywhere, and who has collected "
        "very many answers to a key can imitate its mark; other records, such as the volume of requests, must say who did "
        f"what. Nor is a key cleared by not being named. {limits}"
    )


def _confidential() -> str:
    return (
        "> For the operator and those it has to answer to. Whoever can ask for scores of texts of his own can learn to "
        "wash the marks out; customers are shown neither scores nor p-values.\n"
    )


def _named(findings: Findings, pictures: Sequence[str]) -> str:
    named = findings.named
    rows = [
        f"| `{cell(key.name)}` | {_kind(key)} | {power(key.log10_p)} | {_tests(key)} | "
        f"{'–' if key.documents is None else f'{key.documents:,}'} | {_share(key)} |"
        for key in named
    ]
    text = ["## Keys\n"]
    if rows:
        text.append(
            "| Named | Kind | p-value | pooled / split | Documents | Share of the marked text |\n"
            "| --- | --- | ---: | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
        )
        if any(key.share is None for key in named):
            text.append(
                "Where no share is told, the model-level mark in the text is too weak to compare with: key and text are "
                "tied all the same.\n"
            )
    else:
        text.append("No key is named.\n")
    rest = [key for key in findings.keys if not key.named][:3]
    if rest:
        told = ", ".join(f"`{cell(key.name)}` ({power(key.log10_p)})" for key in rest)
        text.append(
            f"The next best, which are **not** named: {told}. Among {findings.tested:,} keys the smallest p-value is about "
            f"{power(-math.log10(findings.tested))} by chance alone; codewords that were never issued, "
            f"{findings.decoys.total:,} of them, reached {power(findings.decoys.log10_p[0])} on the same text.\n"
        )
    if KEYS in pictures:
        text.append(f"![p-value of every key beside never-issued codewords]({KEYS})\n")
    if SHARES in pictures:
        text.append(f"![Share of the marked text per named key, with 95 % intervals]({SHARES})\n")
    return "\n".join(text)


def _documents(findings: Findings, pictures: Sequence[str]) -> str:
    text = ["## Documents\n"]
    if findings.traced:
        shown = findings.traced[:MOST_TRACED]
        rows = [f"| `{cell(one.place)}` | `{cell(one.name)}` | {power(one.log10_p)} | {one.ngrams:,} |" for one in shown]
        more = len(findings.traced) - len(shown)
        text.append(
            "Documents that carry the mark of a named key by themselves, the strongest first. Each p-value is of this "
            "document under this key; less than one document of the whole corpus is listed by chance for a key.\n\n"
            "| Document | Key | p-value at most | n-grams |\n| --- | --- | ---: | ---: |\n" + "\n".join(rows) + "\n"
        )
        if more > 0:
            text.append(f"{more:,} more are in `{FINDINGS}`.\n")
    else:
        text.append("No document by itself carries the mark of a named key.\n")
    if DOCUMENTS in pictures:
        text.append(f"![The documents in their order, by the key whose mark they carry]({DOCUMENTS})\n")
    return "\n".join(text)


def _stretches(findings: Findings) -> str:
    if not findings.looked:
        return ""
    if not findings.stretches:
        return f"## Within documents\n\n{_count(len(findings.looked), 'document')} looked at: no marked stretch found.\n"
    rows = [
        f"| `{cell(one.place)}` | {f'`{cell(one.name)}`' if one.name else 'the model'} | {one.start:,}–{one.end - 1:,} | "
        f"{power(one.log10_p)} | {one.ngrams:,} |"
        for one in findings.stretches
    ]
    return (
        "## Within documents\n\nStretches that carry a mark, by numbers of tokens from 0.\n\n"
        "| Document | Mark of | Tokens | p-value | n-grams |\n| --- | --- | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


def _model(findings: Findings) -> str:
    model = findings.model
    rank = sum(value <= model.log10_p for value in model.decoy_log10_p)
    return (
        "## Is it the model's at all\n\n"
        f"A share of the tokens ({findings.profile['coin']:.0%}) is marked alike for all keys. {model.ngrams:,} such "
        f"n-grams score {model.score:,.1f}, where a text without marks scores {model.expected:,.1f}: "
        f"p = {power(model.log10_p)}. Of {model.decoys:,} channels that nobody is marked with, scored on "
        f"{model.decoy_ngrams:,} of the same n-grams, {rank:,} have a p-value as small; their smallest is "
        f"{power(model.decoy_log10_p[0])}, and {sum(value <= -2 for value in model.decoy_log10_p):,} are at 0.01 or below, "
        f"where {model.decoys / 100:,.0f} are expected. In a text of which only a small part is ours this test can be "
        "blind where the one by key is not.\n"
    )


def _limits(findings: Findings) -> str:
    lines = [f"- {note}" for note in findings.notes]
    lines += [
        "- Marks of other profiles, epochs or secrets than the one below were not looked for.",
        "- A text must be cut into the same tokens as when it was made; another tokenizer finds nothing.",
        "- Repeated n-grams count once, in the document where they come first: a copy of a document shows no evidence.",
    ]
    return "## To be known\n\n" + "\n".join(lines) + "\n"


def _method(findings: Findings) -> str:
    grouped = (
        f" {_count(findings.groups, 'group')} of tenants that were found to be one campaign have a codeword, too: the "
        "second half of their members'; members are judged on the first half, groups on the second."
        if findings.groups
        else ""
    )
    return (
        "## Method\n\n"
        "Each key has a secret codeword, derived from its name with a master secret; at each token, a hash of the tokens "
        "before it says which symbol of the codeword steers the choice of the token. From the text a table is made: how "
        "well it fits every possible symbol at every position. Given the text, a codeword that has nothing to do with it "
        "is drawn by lot, so its score has an exactly known distribution, whatever the text is, however often it repeats "
        "itself, and whoever else is in it. Two tests are made of each key: all documents pooled; and split, where one "
        "half of the codeword selects documents and the other half is tested on them, which finds a key that went into "
        "one document of a hundred. The p-value is twice the smaller one, and Holm's procedure over all keys keeps the "
        f"probability that any innocent one is named below {findings.fwer:g}.{grouped}\n\n"
        "A share is the excess of the key's own symbols over that of the model-level mark, n-gram for n-gram, with "
        "Fieller's 95 % interval for each key by itself.\n"
    )


def _facts(findings: Findings) -> str:
    corpus, profile = findings.corpus, findings.profile
    rows = [
        ("data set", f"`{cell(corpus.name)}`, {_count(corpus.files, 'file')}, {corpus.size_bytes:,} bytes, newest of "
                     f"{corpus.modified}"),
        ("SHA-256", f"`{corpus.sha256}`"),
        ("read as", cell(corpus.said)),
        ("documents", f"{corpus.documents:,}; empty {corpus.empty:,}; cut at {corpus.limit_bytes:,} bytes {corpus.cut:,}"),
        ("tokens", f"{corpus.tokens:,}; n-grams scored {corpus.ngrams:,}, left out as repeated {corpus.repeated:,}"),
        ("profile", f"`{profile['id']}`: {_settings(profile)}"),
        ("master secret", f"fingerprint `{findings.secret}`"),
        ("family-wise error", f"{findings.fwer:g} over {findings.tested:,} codewords"),
        ("made", f"{findings.at} by Stillwatch {findings.version}"),
    ]  # fmt: skip
    return "## Facts\n\n| | |\n| --- | --- |\n" + "\n".join(f"| {name} | {text} |" for name, text in rows) + "\n"


def _settings(profile: dict[str, Any]) -> str:
    """Every field but those that mean nothing to its scheme."""
    left_out = {"id", "valid_from", "valid_until"}
    left_out |= set() if profile["scheme"] == "green" else {"gamma", "delta"}
    left_out |= set() if profile["scheme"] == "choice" else {"candidates"}
    return ", ".join(
        f"{name.replace('_', ' ')} {cell(str(value))}" for name, value in profile.items() if name not in left_out
    )


def _kind(key: Key) -> str:
    if key.kind == "group":
        return "group"
    return f"tenant of `{cell(key.group)}`" if key.group else "tenant"


def _tests(key: Key) -> str:
    split = power(key.log10_split) if key.log10_split < 0 else "–"
    return f"{power(key.log10_pooled)} / {split}"


def _share(key: Key) -> str:
    if key.share is None:
        return "–"
    return f"{key.share:.0%} ({key.share_low or 0.0:.0%} to {key.share_high or 0.0:.0%})"


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED:,} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
