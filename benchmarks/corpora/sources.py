"""What each set is made of: sources by name, and which role or family draws on which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from benchmarks.corpora import attack, honest
from benchmarks.corpora.repository import Repository
from benchmarks.corpora.row import Row

Made = Callable[[], Iterable[Row]]


@dataclass(frozen=True, slots=True)
class Set:
    """One set of corpora.

    Attributes:
        attack: source → what makes its rows.
        benign: the same of honest customers' texts.
        roles: role → sources, as in a profile of the generator; a source alone, or a table of one with its filters.
        pools: family → sources.
    """

    attack: Mapping[str, Made]
    benign: Mapping[str, Made]
    roles: Mapping[str, Sequence[str]]
    pools: Mapping[str, Sequence[str]]


def _part(name: str, first: int, last: int, of: int) -> str:
    return f'{{ source = "{name}", parts = {list(range(first, last))}, of = {of} }}'


def _archived(repository: Repository, path: str, inside: str = "", untag: bool = False) -> list[str]:
    found = []
    for name, text in repository.archive(path).items():
        if inside in name and "README" not in name:
            found += list(honest.passages(honest.untagged(text) if untag else text))
    return found


def _all(make: Callable[[Repository, str], Iterator[Row]], repository: Repository, paths: Sequence[str]) -> Iterator[Row]:
    return chain.from_iterable(make(repository, path) for path in paths)


def _dialogues(source: str) -> dict[str, list[str]]:
    return {
        "human_dialogue": [_part(source, 0, 2, 16)],
        "dialogue": [_part(source, 2, 9, 16)],
        "segment": [_part(source, 9, 16, 16)],
    }


def _films(folder: Path) -> Iterator[Row]:
    booked = Repository(folder, "xiul-msr/e2e_dialog_challenge")
    played = Repository(folder, "google-research-datasets/simulated-dialogue")
    yield from honest.booked(booked, "data/movie_all.tsv", "Films")
    for path in played.paths("sim-", ".json"):
        yield from honest.simulated(played, path, "Restaurants" if path.startswith("sim-R") else "Tickets")


def _rides(folder: Path) -> Iterator[Row]:
    ordered = Repository(folder, "google-research-datasets/Taskmaster")
    yield from honest.booked(Repository(folder, "xiul-msr/e2e_dialog_challenge"), "data/taxi_all.tsv", "Taxis")
    yield from honest.found_tables(Repository(folder, "shawnwun/NNDIAL"), "data/CamRest676.json")
    yield from _all(honest.orders, ordered, [f"TM-4-2024/data/data_0{number}.json" for number in (3, 4)])


def set_b(folder: Path) -> Set:
    """Programs, tool use, Chinese tasks and reasoned questions against programmers, shoppers, reviews and essays."""
    teacher, cot, factory = (
        Repository(folder, name) for name in ("teknium1/GPTeacher", "PhoebusSi/Alpaca-CoT", "hiyouga/LLaMA-Factory")
    )
    nltk = Repository(folder, "nltk/nltk_data")
    formatted = "data/formatted_cot_data"
    reviews = _archived(nltk, "packages/corpora/movie_reviews.zip", ".txt")
    essays = _archived(nltk, "packages/corpora/brown.zip", "brown/c", untag=True)
    half = len(reviews) // 2
    return Set(
        attack={
            "codegen": partial(attack.instructions, teacher, "Codegen/codegen-instruct.json", "response"),
            "toolformer": partial(
                attack.instructions, teacher, "Toolformer/toolformer-similarity-0.7-dataset.json", "response"
            ),
            "cot_collection": partial(
                _all, attack.reasoned, cot, [f"{formatted}/{name}_train.json" for name in ("ecqa", "qasc")]
            ),
            "gsm8k_backward": partial(
                attack.backward, Repository(folder, "meta-math/MetaMath"), "data/test/GSM8K_Backward.jsonl"
            ),
            "belle_zh": partial(attack.chinese, Repository(folder, "LianjiaTech/BELLE"), "eval/eval_set.json"),
        },
        benign={
            "programmers": partial(
                honest.titles, Repository(folder, "jacoxu/StackOverflow"), "rawText/title_StackOverflow.txt", 7000
            ),
            "preferences": partial(honest.chats, factory, "data/dpo_en_demo.json"),
            "acts_zh": partial(honest.acts, Repository(folder, "PlexPt/awesome-chatgpt-prompts-zh"), "prompts-zh.json"),
            "films": partial(_films, folder),
            "clinc": partial(honest.utterances, Repository(folder, "clinc/oos-eval"), "data/data_full.json"),
            "harness_code": partial(honest.code, Repository(folder, "EleutherAI/lm-evaluation-harness"), "lm_eval/", ".py"),
            "aqua": partial(_all, attack.questions, Repository(folder, "google-deepmind/AQuA"), ["dev.json", "test.json"]),
            "preferred": partial(honest.preferred, factory, "data/dpo_en_demo.json"),
            "reviews": partial(honest.templated, "imdb", reviews[:half]),
            "other_reviews": partial(honest.templated, "xsum", reviews[half:]),
            "essays": partial(honest.templated, "wiki_bio", essays),
            "web": lambda: (Row(item["text"]) for item in factory.lines("data/c4_demo.jsonl")),
            "answers": partial(_all, honest.answers, (wild := Repository(folder, "allenai/WildBench")), _smallest(wild)),
        },
        roles={
            "human_prompt": ["programmers", "acts_zh"],
            "persona_prompt": ["acts_zh"],
            "human_session": ["preferences"],
            **_dialogues("films"),
            "utterance": ["clinc"],
            "code_file": ["harness_code"],
            "benchmark": ["aqua"],
            "judge_pair": ["preferred"],
            "answers": ["answers"],
            "template_doc": ["reviews"],
            "document": ["other_reviews"],
            "paste_document": ["essays"],
            "tool_text": ["web"],
        },
        pools={
            "seed_generation": ["codegen", "belle_zh"],
            "pool_answering": ["codegen", "belle_zh", "toolformer"],
            "forced_cot": ["cot_collection", "gsm8k_backward", "codegen", "belle_zh"],
            "reconstruction": ["gsm8k_backward", "codegen"],
            "rubric_judge": ["codegen", "belle_zh"],
            "evol_rewrite": ["codegen", "gsm8k_backward"],
            "persona_grid": [],
            "rejection_sampling": ["gsm8k_backward", "codegen"],
            "tool_trajectory": ["toolformer", "codegen"],
            "logit_sweep": [],
            "transcript_cleaning": ["gsm8k_backward", "codegen"],
            "relay": [],
            "probe": ["belle_zh", "toolformer"],
            "self_chat": ["belle_zh", "codegen"],
        },
    )


def _smallest(repository: Repository) -> list[str]:
    """Two of the models whose answers were kept."""
    return list(repository.paths("eval_results/v2.0625/", ".json")[:2])


def set_c(folder: Path) -> Set:
    """Personas, word sums, exercises and called tools against people who search, broadcast news and speeches."""
    cot, factory, arena, nltk = (
        Repository(folder, name)
        for name in ("PhoebusSi/Alpaca-CoT", "hiyouga/LLaMA-Factory", "lm-sys/arena-hard-auto", "nltk/nltk_data")
    )
    formatted, bench = "data/formatted_cot_data", "data/arena-hard-v0.1"
    news = _archived(nltk, "packages/corpora/abc.zip", ".txt")
    half = len(news) // 2
    exercises = partial(attack.programs, Repository(folder, "nlpxucan/WizardLM"), "WizardCoder/data/mbppplus.json")
    return Set(
        attack={
            "personahub_requests": partial(
                attack.personas, Repository(folder, "tencent-ailab/persona-hub"), "data/tool.jsonl"
            ),
            "cot_collection": partial(
                _all,
                attack.reasoned,
                cot,
                [f"{formatted}/{name}_train.json" for name in ("strategyqa", "creak", "sensemaking")],
            ),
            "svamp": partial(attack.sums, Repository(folder, "arkilpatel/SVAMP"), "SVAMP.json"),
            "word_sums": partial(
                attack.filled_sums, Repository(folder, "arkilpatel/SVAMP"), "data/mawps-asdiv-a_svamp/train.csv"
            ),
            "exercises": exercises,
            "called_tools": partial(
                _all, attack.opened, factory, ["data/glaive_toolcall_en_demo.json", "data/glaive_toolcall_zh_demo.json"]
            ),
            "cot_zh": partial(attack.opened, factory, "data/dpo_zh_demo.json"),
        },
        benign={
            "searches": partial(
                _all,
                honest.asked,
                Repository(folder, "brmson/dataset-factoid-webquestions"),
                [f"main/{name}.json" for name in ("trainmodel", "test", "val")],
            ),
            "typed": partial(honest.typed, nltk, "packages/corpora/qc.zip"),
            "arena_hard": partial(honest.arena, arena, f"{bench}/question.jsonl"),
            "preferences": partial(honest.chats, factory, "data/kto_en_demo.json"),
            "patterns": partial(honest.texts_of, Repository(folder, "danielmiessler/fabric"), "", "system.md"),
            "rides": partial(_rides, folder),
            "robot": partial(
                honest.commands, Repository(folder, "xliuhw/NLU-Evaluation-Data"), "CrossValidation/out4RasaReal/"
            ),
            "remarks": partial(honest.remarks, nltk, "packages/corpora/pros_cons.zip", 6000),
            "evals_code": partial(honest.code, Repository(folder, "openai/evals"), "evals/", ".py"),
            "exercises": exercises,
            "judged": partial(
                honest.judged,
                arena,
                f"{bench}/question.jsonl",
                f"{bench}/model_answer/gpt-4-0314.jsonl",
                f"{bench}/model_answer/gpt-3.5-turbo-0125.jsonl",
            ),
            "news": partial(honest.templated, "cnn_dailymail_3_0_0", news[:half]),
            "other_news": partial(honest.templated, "xsum", news[half:]),
            "speeches": partial(honest.templated, "wiki_bio", _archived(nltk, "packages/corpora/state_union.zip", ".txt")),
            "addresses": lambda: honest.plain(_archived(nltk, "packages/corpora/inaugural.zip", ".txt")),
            "answers": partial(honest.choices, arena, f"{bench}/model_answer/gpt-4-0613.jsonl"),
        },
        roles={
            "human_prompt": ["searches", "typed", "arena_hard"],
            "persona_prompt": ["patterns"],
            "human_session": ["preferences"],
            **_dialogues("rides"),
            "utterance": ["robot", "remarks"],
            "code_file": ["evals_code"],
            "benchmark": ["exercises"],
            "judge_pair": ["judged"],
            "answers": ["answers"],
            "template_doc": ["news"],
            "document": ["other_news"],
            "paste_document": ["speeches"],
            "tool_text": ["addresses"],
        },
        pools={
            "seed_generation": ["cot_zh", "word_sums"],
            "pool_answering": ["called_tools", "cot_zh", "word_sums"],
            "forced_cot": ["cot_collection", "svamp", "word_sums"],
            "reconstruction": ["svamp", "word_sums"],
            "rubric_judge": ["word_sums", "cot_zh"],
            "evol_rewrite": ["svamp", "word_sums"],
            "persona_grid": ["personahub_requests"],
            "rejection_sampling": ["svamp", "word_sums"],
            "tool_trajectory": ["called_tools", "word_sums"],
            "logit_sweep": [],
            "transcript_cleaning": ["word_sums", "cot_zh"],
            "relay": [],
            "probe": ["called_tools"],
            "self_chat": ["called_tools", "cot_zh"],
        },
    )


SETS: Mapping[str, Callable[[Path], Set]] = {"b": set_b, "c": set_c}
