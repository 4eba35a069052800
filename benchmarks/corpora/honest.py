"""What honest customers send: prompts and chats of people, dialogues, utterances, code, documents, judgements."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.corpora.repository import Repository
from benchmarks.corpora.row import Row

PASSAGE_CHARS = 900
_TAGGED = re.compile(r"(\S+)/[^\s/]+(?=\s)")
_SPACED = re.compile(r"\s+([.,;:!?%)])")

WORDINGS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "imdb": (
        ("tone", "Text: {text}\nIs the writer pleased or not? One word:"),
        ("headline", "Give a headline of at most eight words for what follows.\n{text}"),
        ("subject", "{text}\n\nWhat is this about? (a noun phrase)"),
    ),
    "cnn_dailymail_3_0_0": (
        ("gist", "Sum up in one sentence.\n---\n{text}\n---"),
        ("names", "{text}\nList every person and organisation named above, comma separated."),
        ("desk", "Which desk should handle this piece: science, rural, politics, culture, other?\n\n{text}"),
    ),
    "xsum": (
        ("short", "TL;DR of:\n{text}"),
        ("question", "Passage: {text}\nWrite down the question that the passage answers."),
        ("tags", "Tag the following (max. 4 tags, lower case): {text}"),
    ),
    "wiki_bio": (
        ("dates", "Extract all dates and numbers.\n\n{text}"),
        ("who", "Who or what acts in this passage? Answer from the text only.\n\n{text}"),
        ("plain", "{text}\n=> in plain words:"),
    ),
}  # fmt: skip
"""Our own templates; the names are those under which the generator groups templates of one data set."""


_SIDES = ((True, "usr", "transcript"), (False, "sys", "sent"))


def plain(texts: Sequence[str]) -> Iterator[Row]:
    """A prompt a line."""
    return (Row(text.strip()) for text in texts)


def titles(repository: Repository, path: str, most: int) -> Iterator[Row]:
    """Questions of programmers, a line each."""
    return plain(repository.read(path).decode("utf-8", "replace").splitlines()[:most])


def asked(repository: Repository, path: str) -> Iterator[Row]:
    """Questions that people typed into a search engine."""
    return (Row(item["qText"], ", ".join(item["answers"][:3])) for item in repository.json(path))


def typed(repository: Repository, path: str) -> Iterator[Row]:
    """Questions with a class before them, in words apart."""
    lines = repository.archive(path)["qc/train.txt"].splitlines()
    return (Row(_SPACED.sub(r"\1", line.partition(" ")[2])) for line in lines)


def arena(repository: Repository, path: str) -> Iterator[Row]:
    """Prompts of an arena's users."""
    return (Row(item["turns"][0]["content"]) for item in repository.lines(path))


def acts(repository: Repository, path: str) -> Iterator[Row]:
    """Prompts that give the model a part to play."""
    return (Row(item["prompt"]) for item in repository.json(path))


def texts_of(repository: Repository, prefix: str, suffix: str) -> Iterator[Row]:
    """Whole files as prompts: system prompts."""
    return (Row(repository.read(path).decode("utf-8", "replace")) for path in repository.paths(prefix, suffix))


def chats(repository: Repository, path: str) -> Iterator[Row]:
    """Conversations of people with a model, of preference data in either of two forms."""
    for number, item in enumerate(repository.json(path)):
        turns = item.get("conversations") or item["messages"]
        said = [(turn.get("from") or turn["role"], turn.get("value") or turn["content"]) for turn in turns]
        if isinstance(item.get("chosen"), dict):
            said.append(("gpt", item["chosen"]["value"]))
        asked_now: str | None = None
        turn_number = 0
        for who, text in said:
            if who in ("human", "user"):
                asked_now = text
            elif asked_now is not None:
                yield Row(asked_now, text, session=f"{path}#{number}", turn=turn_number)
                asked_now, turn_number = None, turn_number + 1


def spoken(said: Iterable[tuple[bool, str]], session: str, service: str) -> Iterator[Row]:
    """Turns of a dialogue: what the user says (True) and the answer; consecutive lines of a side are one."""
    mine: list[str] = []
    theirs: list[str] = []
    turn = 0
    for user, text in [*said, (True, "")]:
        if not user:
            if mine:
                theirs.append(text)
            continue
        if theirs:
            yield Row(" ".join(mine), " ".join(theirs), None, session, turn, {"services": [service]})
            mine, theirs, turn = [], [], turn + 1
        mine.append(text)


def orders(repository: Repository, path: str) -> Iterator[Row]:
    """Dialogues in which food and drinks are ordered."""
    for item in repository.json(path):
        said = ((line["speaker"].lower() == "user", line["text"]) for line in item["utterances"])
        yield from spoken(said, item["conversation_id"], item.get("vertical") or "Orders")


def booked(repository: Repository, path: str, service: str) -> Iterator[Row]:
    """Dialogues in which something is booked, one message a line: session, number, time, side, text."""
    held: dict[str, list[tuple[bool, str]]] = {}
    for line in repository.read(path).decode("utf-8-sig", "replace").splitlines()[1:]:
        cells = line.split("\t")
        if len(cells) > 4:
            held.setdefault(cells[0], []).append((cells[3] == "user", cells[4]))
    for session, said in held.items():
        yield from spoken(said, f"{service}-{session}", service)


def simulated(repository: Repository, path: str, service: str) -> Iterator[Row]:
    """Dialogues played by machines and reworded by people."""
    for item in repository.json(path):
        said: list[tuple[bool, str]] = []
        for turn in item["turns"]:
            sides = ((False, turn.get("system_utterance")), (True, turn.get("user_utterance")))
            said += [(user, side["text"]) for user, side in sides if side]
        yield from spoken(said, item["dialogue_id"], service)


def found_tables(repository: Repository, path: str) -> Iterator[Row]:
    """Dialogues in which a restaurant is looked for."""
    text = repository.read(path).decode("utf-8")
    for item in json.loads(text[text.index("[\n") :]):
        said = ((user, turn[side][part]) for turn in item["dial"] for user, side, part in _SIDES)
        yield from spoken(said, f"table-{item['dialogue_id']}", "Restaurants")


def utterances(repository: Repository, path: str) -> Iterator[Row]:
    """Lines that users said to an assistant."""
    for name, pairs in sorted(repository.json(path).items()):
        yield from (Row(text, intent) for text, intent in pairs if name.endswith(("train", "test", "val")))


def commands(repository: Repository, prefix: str) -> Iterator[Row]:
    """Commands to a home robot; every file holds most of them, so the first is taken."""
    path = next(name for name in repository.paths(prefix, ".json") if "Merged" in name)
    found = repository.json(path)["rasa_nlu_data"]
    return (Row(item["text"], item["intent"]) for item in found["common_examples"])


def remarks(repository: Repository, path: str, most: int) -> Iterator[Row]:
    """Short remarks of buyers, between tags a line."""
    for text in repository.archive(path).values():
        found = re.findall(r"<(?:Pros|Cons)>(.{25,}?)</", text)
        yield from plain(found[:most])


def code(repository: Repository, prefix: str, suffix: str) -> Iterator[Row]:
    """Stretches of source files of forty to eighty lines, with the line that comes next."""
    for path in repository.paths(prefix, suffix):
        lines = repository.read(path).decode("utf-8", "replace").split("\n")
        size = 40 + len(path) % 41
        for first in range(0, max(1, len(lines) - 12), size):
            part = lines[first : first + size]
            after = lines[first + size] if first + size < len(lines) else None
            yield Row("\n".join(part), after, session=f"{path}:{first}")


def passages(text: str) -> Iterator[str]:
    """Stretches of about PASSAGE_CHARS, cut at sentences."""
    held = ""
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        held = f"{held} {sentence}".strip()
        if len(held) >= PASSAGE_CHARS:
            yield held[: 2 * PASSAGE_CHARS]
            held = ""


def untagged(text: str) -> str:
    """A text whose words carry their classes ("said/vbd"), without them."""
    return _SPACED.sub(r"\1", " ".join(_TAGGED.findall(text + " ")).replace("`` ", '"').replace(" ''", '"'))


def templated(kind: str, texts: Sequence[str]) -> Iterator[Row]:
    """Every text under each wording of a kind, in the same order: the generator puts the rows of one text together."""
    for name, wording in WORDINGS[kind]:
        for text in texts:
            answer = " ".join(text.split()[:9])
            yield Row(wording.format(text=text), answer, user=f"{kind}_{name}")


def judged(repository: Repository, asked_in: str, first: str, second: str) -> Iterator[Row]:
    """Two models' answers to one prompt, laid out for a judge as the generator looks for them."""
    answers = [
        {item["question_id"]: item["choices"][0]["turns"][0]["content"] for item in repository.lines(path)}
        for path in (first, second)
    ]
    for item in repository.lines(asked_in):
        if all(item["question_id"] in held for held in answers):
            a, b = (held[item["question_id"]][:2000] for held in answers)
            yield pair(item["turns"][0]["content"], a, b)


def preferred(repository: Repository, path: str) -> Iterator[Row]:
    """The chosen and the rejected answer of preference data, laid out for a judge."""
    for item in repository.json(path):
        last = item["conversations"][-1]["value"]
        yield pair(last, item["chosen"]["value"][:2000], item["rejected"]["value"][:2000])


def pair(question: str, a: str, b: str) -> Row:
    """One pairwise judgement."""
    shown = [text.replace('"""', "'''") for text in (question, a, b)]
    layout = (
        'Compare two outputs.\n{{\n    "instruction": """{}""",\n}}\n'
        '[{{\n    "model": "first",\n    "output": """{}"""\n    }},'
        '\n{{\n    "model": "second",\n    "output": """{}"""\n    }}]'
    )
    return Row(layout.format(*shown), "first")


def answers(repository: Repository, path: str) -> Iterator[Row]:
    """A model's answers, under the names of their sessions."""
    return (Row(item["session_id"], item["model_output"]) for item in repository.json(path) if item.get("model_output"))


def choices(repository: Repository, path: str) -> Iterator[Row]:
    """A model's answers, under the numbers of their questions."""
    return (Row(item["question_id"], item["choices"][0]["turns"][0]["content"]) for item in repository.lines(path))
