"""Pools that harvests are made of: published instruction sets, exercises and personas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from benchmarks.corpora.repository import Repository
from benchmarks.corpora.row import Row


def instructions(repository: Repository, path: str, answer: str = "output") -> Iterator[Row]:
    """Alpaca's form: instruction, input, answer."""
    for item in repository.json(path):
        text = "\n\n".join(part for part in (item["instruction"], item.get("input", "")) if part)
        yield Row(text, item.get(answer) or None)


def reasoned(repository: Repository, path: str) -> Iterator[Row]:
    """A question whose last line asks for the reasoning, with a reasoned answer: sent as it was published."""
    for item in repository.json(path):
        question, _, asked = item["instruction"].rpartition("\n")
        yield Row(f"{question}\n{asked}" if question else asked, item["output"])


def questions(repository: Repository, path: str) -> Iterator[Row]:
    """Multiple-choice questions, one JSON line each, with their rationale."""
    for item in repository.lines(path):
        yield Row(f"{item['question']}\n{' '.join(item['options'])}", f"{item['rationale']}\n{item['correct']}")


def backward(repository: Repository, path: str) -> Iterator[Row]:
    """Exercises asked backwards; the questions they were made from are another corpus's."""
    return (Row(item["question"], item["answer"]) for item in repository.lines(path))


def sums(repository: Repository, path: str) -> Iterator[Row]:
    """Sums in words."""
    for item in repository.json(path):
        yield Row(f"{item['Body']} {item['Question']}", str(item["Answer"]))


def chinese(repository: Repository, path: str) -> Iterator[Row]:
    """Chinese tasks with model answers."""
    for item in repository.lines(path):
        yield Row(item["question"], item["std_answer"] or None)


def personas(repository: Repository, path: str) -> Iterator[Row]:
    """Requests as the published script of personas makes them: a task, the persona, a note."""
    for item in repository.lines(path):
        task = "Develop a tool (a function with a name, arguments and what it returns) that this person would need:"
        yield Row(f"{task}\n\n{item['input persona']}\n\nNote: answer with JSON only.", item["synthesized text"])


def programs(repository: Repository, path: str) -> Iterator[Row]:
    """Programming exercises with the assertion that a solution must satisfy."""
    for text in repository.json(path).values():
        yield Row(text)


def filled_sums(repository: Repository, path: str) -> Iterator[Row]:
    """Sums in words whose numbers stand in a column of their own."""
    for item in csv.DictReader(io.StringIO(repository.read(path).decode("utf-8"))):
        text = item["Question"]
        for number, value in enumerate(item["Numbers"].split()):
            text = text.replace(f"number{number} ", f"{value.removesuffix('.0')} ")
        yield Row(text, item["Answer"])


def opened(repository: Repository, path: str) -> Iterator[Row]:
    """What conversations with a model begin with."""
    for item in repository.json(path):
        first = next((turn for turn in item["conversations"] if turn["from"] == "human"), None)
        if first is not None:
            chosen = item.get("chosen")
            yield Row(first["value"], chosen["value"] if isinstance(chosen, dict) else None)
