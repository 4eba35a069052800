"""The archive as replay reads it: one partition after the other, each in the order in which the worker applied it.

A key and its organisation lie in one partition, so analysing partition by partition gives the verdicts that live gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from app.worker.archive import list_files, read_file
from detectors.event import Event
from detectors.fingerprint import Fingerprint


def read_partitions(directory: Path) -> Iterator[tuple[int, Iterator[tuple[Event, Fingerprint]]]]:
    """(partition, its exchanges in order), partitions ascending. Use up an inner iterator before taking the next.

    Raises:
        BadInput: the folder cannot be read, or a file is damaged.
    """
    for partition, files in groupby(list_files(directory), key=lambda file: file.partition):
        yield partition, ((row.event, row.fingerprint) for file in files for row in read_file(file))


def read(directory: Path) -> Iterator[tuple[Event, Fingerprint]]:
    """Every exchange: partition by partition, each in order."""
    for _, exchanges in read_partitions(directory):
        yield from exchanges
