"""watermark engine: texts that vLLM, SGLang or SynthID-Text marked by themselves."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.acting import print_json, read_bytes
from app.cli.common import AsJson, out, plain_table

if TYPE_CHECKING:
    from detectors.watermark.compat.detection import Detection

MOST_BYTES = 1 << 26


class EngineScheme(StrEnum):
    """Whose mark."""

    VLLM_GUMBEL = "vllm-gumbel"
    VLLM_DUAL = "vllm-dual"
    VLLM_SBW = "vllm-sbw"
    VLLM_SYNTHID = "vllm-synthid"
    SGLANG = "sglang"
    SYNTHID = "synthid"


class Dedup(StrEnum):
    """Of vLLM's configuration."""

    NONE = "none"
    SINGLE_TURN = "single_turn"
    ALL = "all"


class Seeding(StrEnum):
    """Of vLLM's green lists."""

    SELFHASH = "selfhash"
    LEFTHASH = "lefthash"


class Weights(StrEnum):
    """Of SynthID's layers."""

    EVEN = "even"
    LINEAR = "linear"


def engine(
    tokens: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Tokens of the engine's own tokenizer: a JSON list, or JSON Lines of lists or of objects with tokens and, "
            "where known, prompt; '-' for standard input.",
        ),
    ],
    scheme: Annotated[EngineScheme, typer.Option("--scheme", "-s", help="Whose mark is looked for.")],
    key_file: Annotated[
        Path,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="File with the engine's key: a number for vLLM, one key or two in hexadecimal for SGLang, all keys for "
            "SynthID. Its mode must be 0600 or 0400.",
        ),
    ],
    context_width: Annotated[
        int | None,
        typer.Option("--context-width", metavar="N", help="Tokens of a context. Default: the engine's own, mostly 4."),
    ] = None,
    dedup: Annotated[
        Dedup | None,
        typer.Option("--dedup", help="vLLM's deduplicate_contexts. Default: single_turn."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", metavar="SHARE", help="Share of key B in vllm-dual. Default: 0.1."),
    ] = None,
    seeding: Annotated[Seeding | None, typer.Option("--seeding", help="Of vllm-sbw. Default: selfhash.")] = None,
    gamma: Annotated[
        float | None,
        typer.Option("--gamma", metavar="SHARE", help="Share of green tokens in vllm-sbw. Default: 0.5."),
    ] = None,
    depth: Annotated[int | None, typer.Option("--depth", metavar="N", help="Bits of vllm-synthid. Default: 32.")] = None,
    mixing: Annotated[
        float | None,
        typer.Option("--mixing", metavar="SHARE", help="Share of key A in sglang with two keys. Default: 0.5."),
    ] = None,
    weights: Annotated[Weights | None, typer.Option("--weights", help="Of synthid's layers. Default: even.")] = None,
    history: Annotated[
        int | None,
        typer.Option("--history", metavar="N", help="Contexts that synthid remembers. Default: 1024."),
    ] = None,
    field: Annotated[
        str, typer.Option(metavar="NAME", help="Field of JSON Lines with the list of tokens. Default: tokens.")
    ] = "tokens",
    as_json: AsJson = False,
) -> None:
    """Test texts against one key of an engine that marks by itself, with the exact p-value beside the engine's own.

    For one key alone, suspected before. Several texts are judged together too: that p-value is the one to go by.

    Example: [bold]stillwatch watermark engine tokens.jsonl --scheme vllm-dual --key-file key.txt[/bold]
    """
    from app.watermark.engine_marks import as_plain, judged, read_answers, scheme_of
    from app.watermark.sources import private_text

    options = {
        "context_width": context_width, "dedup": dedup, "alpha": alpha, "seeding": seeding, "gamma": gamma, "depth": depth,
        "mixing": mixing, "weights": weights, "history": history,
    }  # fmt: skip
    plain = {name: value.value if isinstance(value, StrEnum) else value for name, value in options.items()}
    mark = scheme_of(scheme.value, str(key_file), private_text(key_file, f"file {key_file}"), plain)
    answers = read_answers(str(tokens), read_bytes(tokens, MOST_BYTES), field)
    found, together = judged(answers, mark)
    if as_json:
        texts = [{"place": answer.place} | as_plain(one) for answer, one in zip(answers, found, strict=True)]
        print_json({"scheme": scheme.value, "texts": texts, "together": as_plain(together) if together else None})
        return
    rows = [_row(answer.place, one) for answer, one in zip(answers, found, strict=True)]
    if together:
        rows.append(_row("together", together))
    plain_table(rows, ("text", "tokens", "scored", "score", "log10 p", "engine: scored", "score", "log10 p"))
    if out.is_terminal:
        out.print("  log10 p of -6: one wrong key in a million fits so well. The engine's own may be off.", soft_wrap=True)


def _row(place: str, found: Detection) -> tuple[str, ...]:
    said = found.reported
    theirs = ("", "", "") if said is None else (f"{said.scored}", f"{said.score:.3f}", _log10(said.log10_p))
    return (
        place,
        f"{found.scored + found.skipped}",
        f"{found.scored}",
        f"{found.score:.3f}",
        _log10(found.log10_p),
        *theirs,
    )


def _log10(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
