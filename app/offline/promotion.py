"""`stillwatch promote`: a person puts a candidate in the place from which the workers load their model.

`worker.model_dir` becomes a link into a store beside it, `<model_dir>.promoted`, where every promoted model keeps its
folder with a `promotion.json` (who, when, why, what was checked), and `promotions.jsonl` holds the same in order. The link
is exchanged in one step, so a worker that starts finds the old model or the new one; going back is one call, as nothing is
deleted.

The first model that is promoted is the baseline. Later candidates are compared with that one, see `detectors.promote`.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from app.errors import BadInput, ConfigError
from detectors import artefacts
from detectors import model as models
from detectors.model_files import MANIFEST
from detectors.promote import Anchors, BadAnchors, Checked, check, joined

LOG, BESIDE, STORE_SUFFIX = "promotions.jsonl", "promotion.json", ".promoted"
SHIPPED = "anchors"
LEAST_REASON, MOST_REASON = 10, 500
MAX_FILE_BYTES = 64 << 20


class Promotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step, as it is recorded.

    Attributes:
        action: adopted: what was in the place before the first promotion.
        folder: of the model, in the store.
        previous: folder of the model that was in the place before; "" for none.
        baseline: folder of the model that candidates are compared with.
        at: UTC, ISO 8601.
    """

    action: Literal["adopted", "promoted", "rolled back"]
    model: str
    folder: str
    previous: str
    baseline: str
    at: str
    by: str
    reason: str
    figures: dict[str, float] = {}


class Refused(BadInput):
    """The candidate did not pass; `checked` says why."""

    def __init__(self, message: str, checked: Checked) -> None:
        super().__init__(message)
        self.checked = checked


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts, when (UTC, ISO 8601) and why."""

    by: str
    at: str
    reason: str


class Place:
    """The place from which workers load their model.

    Args:
        path: `worker.model_dir`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path.with_name(path.name + STORE_SUFFIX)

    def history(self) -> list[Promotion]:
        """Every step so far, oldest first.

        Raises:
            BadInput: the record cannot be read.
        """
        path = self.store / LOG
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror or 'cannot be read'}") from None
        try:
            return [msgspec.json.decode(line, type=Promotion) for line in lines]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: {error}") from None

    def examine(self, candidate: Path, anchors: Anchors, new_baseline: bool = False) -> tuple[models.Model, Checked]:
        """The candidate and how it does.

        Args:
            candidate: its folder.
            anchors: see `anchors_of`.
            new_baseline: the drift so far is accepted: only the anchors are judged.

        Raises:
            ConfigError: the folder holds no model, or the baseline cannot be read by this release.
        """
        model = _load(candidate, "CANDIDATE")
        baseline = None
        steps = self.history()
        if not new_baseline and steps:
            baseline = _load(self.store / steps[-1].baseline, "the baseline", " (--new-baseline begins a new one)")
        elif not new_baseline and (self.path / MANIFEST).exists():
            baseline = _load(self.path, "worker.model_dir", " (--new-baseline begins a new one)")
        return model, check(model, baseline, anchors)

    def promote(self, candidate: Path, anchors: Anchors, person: Person, new_baseline: bool = False) -> Promotion:
        """Put a candidate in the place.

        Raises:
            Refused: it does not pass.
            ConfigError: as `examine`; or the reason is none.
            BadInput: the place or the store cannot be written; the model in use stays.
        """
        check_reason(person)
        model, checked = self.examine(candidate, anchors, new_baseline)
        if not checked.passed:
            raise Refused(f"{candidate}: model {model.id} is not promoted: {'; '.join(checked.failures)}", checked)
        try:
            self.store.mkdir(parents=True, exist_ok=True)
            self._adopt(person)
            steps = self.history()
            folder = f"{len(steps) + 1:04d}-{model.id}"
            whole = self.store / folder
            part = self.store / f"{folder}.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(candidate, part)
            part.replace(whole)
            step = Promotion(
                action="promoted",
                model=model.id,
                folder=folder,
                previous=steps[-1].folder if steps else "",
                baseline=folder if new_baseline or not steps else steps[-1].baseline,
                at=person.at,
                by=person.by,
                reason=person.reason,
                figures={name: round(value, 6) for name, value in checked.figures.items()},
            )
            self._take(step)
        except OSError as error:
            raise BadInput(f"worker.model_dir {self.path}: {error.strerror or 'cannot be written'}") from None
        return step

    def back(self, person: Person) -> Promotion:
        """Put the model before the present one in the place again.

        Raises:
            ConfigError: the reason is none, or the model cannot be read by this release.
            BadInput: there is none before, or the place cannot be written.
        """
        check_reason(person)
        steps = self.history()
        if not steps or not steps[-1].previous:
            raise BadInput(f"worker.model_dir {self.path}: there is no model before the present one to go back to")
        folder = steps[-1].previous
        first = next(step for step in steps if step.folder == folder)
        model = _load(self.store / folder, "the model before")
        step = Promotion(
            action="rolled back",
            model=model.id,
            folder=folder,
            previous=first.previous,
            baseline=first.baseline,
            at=person.at,
            by=person.by,
            reason=person.reason,
        )
        try:
            self._take(step)
        except OSError as error:
            raise BadInput(f"worker.model_dir {self.path}: {error.strerror or 'cannot be written'}") from None
        return step

    def _adopt(self, person: Person) -> None:
        """A model that stands in the place as a plain folder moves into the store, and is the baseline."""
        if self.path.is_symlink() or not (self.path / MANIFEST).exists():
            return
        model = _load(self.path, "worker.model_dir")
        folder = f"0001-{model.id}"
        self.path.rename(self.store / folder)
        step = Promotion(
            action="adopted",
            model=model.id,
            folder=folder,
            previous="",
            baseline=folder,
            at=person.at,
            by=person.by,
            reason="was in the place before the first promotion",
        )
        self._take(step)

    def _take(self, step: Promotion) -> None:
        """Record the step, then exchange the link."""
        data = msgspec.json.encode(step)
        if step.action != "rolled back":
            (self.store / step.folder / BESIDE).write_bytes(msgspec.json.format(data, indent=2) + b"\n")
        with (self.store / LOG).open("ab") as file:
            file.write(data + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new = self.path.with_name(self.path.name + ".new")
        new.unlink(missing_ok=True)
        new.symlink_to(Path(self.store.name) / step.folder)
        new.replace(self.path)


def anchors_of(cases: Sequence[Path] = ()) -> Anchors:
    """The shipped anchors and the operator's own confirmed cases.

    Raises:
        BadInput: a file of cases cannot be read or used.
        ConfigError: the shipped ones are damaged.
    """
    try:
        parts = [Anchors.from_arrays(artefacts.load(SHIPPED).arrays)]
    except (artefacts.BadArtefact, BadAnchors) as error:
        raise ConfigError(f"the installation is damaged: {error}") from None
    for path in cases:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise BadInput(f"--cases {path}: is larger than {MAX_FILE_BYTES:,} bytes")
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
                parts.append(Anchors.from_arrays({name: held[name] for name in held.files}))
        except (BadAnchors, ValueError, EOFError) as error:
            raise BadInput(f"--cases {path}: {error}") from None
        except OSError as error:
            raise BadInput(f"--cases {path}: {error.strerror or 'cannot be read'}") from None
    try:
        return joined(parts)
    except BadAnchors as error:
        raise BadInput(f"--cases: {error}") from None


def save_cases(path: Path, anchors: Anchors) -> None:
    """Write anchors; the file appears whole or not at all.

    Raises:
        BadInput: it cannot be written.
    """
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **anchors.arrays())
    try:
        new = path.with_name(path.name + ".new")
        new.write_bytes(held.getvalue())
        new.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be written'}") from None


def check_reason(person: Person) -> None:
    """Before anything is asked or done.

    Raises:
        ConfigError: the reason is no line of 10 to 500 characters.
    """
    reason = person.reason.strip()
    if not LEAST_REASON <= len(reason) <= MOST_REASON or "\n" in reason:
        raise ConfigError(f"--reason must be one line of {LEAST_REASON} to {MOST_REASON} characters")


def _load(folder: Path, name: str, hint: str = "") -> models.Model:
    try:
        return models.load(folder)
    except models.BadModel as error:
        raise ConfigError(f"{name}: {error}{hint}") from None
