"""A model as a folder: `peers.npz` and `manifest.json`, with a checksum for every file. No pickle is written or read.

The manifest says which release can use the model: format, catalogue, fingerprint and scorer versions must be ours.
"""

from __future__ import annotations

import io
import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import Artefact, BadArtefact
from detectors.calibrate import Conformal
from detectors.catalogue import CATALOGUE, CATALOGUE_VERSION
from detectors.drift import LEVELS, Fleet
from detectors.fingerprint.record import FINGERPRINT_VERSION
from detectors.policy import Policy
from detectors.reference import GRID, Reference
from detectors.scorers import boosted
from detectors.scorers.boosted import Boosted
from detectors.scorers.forest import Forest
from detectors.scorers.pools import Pools
from detectors.scorers.surprise import HARVEST

if TYPE_CHECKING:
    from detectors.model import Model

FORMAT_VERSION = 2
CONFORMALS = ("tails", "isolation", "boosted", "leak")
TREE_ARRAYS = ("feature", "threshold", "left", "right", "missing_left", "value", "base", "peers")
MANIFEST, ARRAYS = "manifest.json", "peers.npz"
MAX_FILE_BYTES = 256 * 1024 * 1024

Arrays = dict[str, NDArray[Any]]


class BadModel(ValueError):
    """A model that cannot be used; the message is one sentence."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the folder holds, and for which release."""

    format: int
    id: str
    catalogue: str
    fingerprint: int
    scorers: dict[str, str]
    policy: Policy
    files: dict[str, str]
    notes: dict[str, Any]


def identity(model: Model) -> tuple[object, ...]:
    """The part of a model that is not arrays and yet decides verdicts."""
    versions = {scorer.name: scorer.version for scorer in model.scorers}
    return FORMAT_VERSION, CATALOGUE_VERSION, FINGERPRINT_VERSION, versions, msgspec.to_builtins(model.policy)


def arrays_of(model: Model) -> Arrays:
    """The fitted numbers by name; trees only where they are not the shipped ones."""
    out: Arrays = {}
    if model.trees is not boosted.shipped():
        out |= {f"trees.{name}": getattr(model.trees, name) for name in TREE_ARRAYS}
        out |= {f"trees.{name}": np.array(getattr(model.trees, name), np.str_) for name in ("features", "monotone")}
    peers = model.peers
    if peers is None:
        return out
    out |= {
        "reference.names": np.array(peers.reference.names, np.str_),
        "reference.quantiles": peers.reference.quantiles,
        "reference.votes": peers.reference.votes,
        "reference.own": peers.reference.own,
        "forest.feature": peers.forest.feature,
        "forest.threshold": peers.forest.threshold,
        "forest.left": peers.forest.left,
        "forest.right": peers.forest.right,
        "forest.depth": peers.forest.depth,
        "forest.scale": np.array(peers.forest.scale),
    }
    if peers.pools is not None:
        out |= {f"pools.{name}": array for name, array in peers.pools.arrays().items()}
    if peers.fleet is not None:
        out |= {"fleet.votes": peers.fleet.votes, "fleet.beyond": peers.fleet.beyond}
    for name in CONFORMALS:
        conformal: Conformal = getattr(peers, name)
        for group, highest in conformal.peers.items():
            out[f"{name}/{group}"] = highest
    return out


def has_peers(arrays: Arrays) -> bool:
    """Whether the numbers say what is normal."""
    return "reference.names" in arrays


def trees_from(arrays: Arrays) -> Boosted | None:
    """A provider's own trees; None when the model uses the shipped ones.

    Raises:
        BadModel: an array is missing or has the wrong shape.
    """
    if "trees.feature" not in arrays:
        return None
    try:
        card = {name: [str(one) for one in arrays[f"trees.{name}"]] for name in ("features", "monotone")}
        held = {name: arrays[f"trees.{name}"] for name in TREE_ARRAYS}
        return Boosted.from_artefact(Artefact("trees", {"catalogue": CATALOGUE_VERSION, **card}, held))
    except KeyError as error:
        raise BadModel(f"the model has no array {error.args[0]}") from None
    except BadArtefact as error:
        raise BadModel(f"the model's trees: {error}") from None


def peers_from(arrays: Arrays) -> tuple[Reference, Forest, Conformal, Conformal, Conformal, Conformal, Pools | None]:
    """What is normal: reference, forest, the calibrations in the order of CONFORMALS, and pools.

    Raises:
        BadModel: an array is missing or has the wrong shape.
    """
    try:
        known = Reference(
            tuple(str(name) for name in arrays["reference.names"]),
            arrays["reference.quantiles"],
            arrays["reference.votes"],
            arrays["reference.own"],
        )
        parts = {name: arrays[f"forest.{name}"] for name in ("feature", "threshold", "left", "right", "depth")}
        trees = Forest(**parts, scale=float(arrays["forest.scale"]))
    except KeyError as error:
        raise BadModel(f"the model has no array {error.args[0]}") from None
    shape = (len(known.names), len(CATALOGUE))
    nodes = trees.feature.shape
    fits = known.quantiles.shape == (*shape, len(GRID)) and known.votes.shape == shape and known.own.shape == shape
    if not fits or len(nodes) != 2 or 0 in nodes or any(part.shape != nodes for part in parts.values()):
        raise BadModel("the model's arrays do not fit together")
    inner = trees.feature >= 0
    # A child stands behind its parent, or the walk down a tree might never end.
    onwards = all((child > np.arange(nodes[1]))[inner].all() for child in (trees.left, trees.right))
    inside = all(child.min() >= 0 and child.max() < nodes[1] for child in (trees.left, trees.right))
    if not onwards or not inside or trees.feature.min() < -1 or trees.feature.max() >= len(HARVEST):
        raise BadModel("the model's trees point outside themselves")
    calibrations = [
        Conformal({name.partition("/")[2]: part for name, part in sorted(arrays.items()) if name.startswith(f"{kind}/")})
        for kind in CONFORMALS
    ]
    kept = {name.removeprefix("pools."): array for name, array in arrays.items() if name.startswith("pools.")}
    try:
        pools = Pools.from_arrays(kept) if kept else None
    except (ValueError, KeyError) as error:
        raise BadModel(f"the model's pools: {error}") from None
    return known, trees, calibrations[0], calibrations[1], calibrations[2], calibrations[3], pools


def fleet_from(arrays: Arrays) -> Fleet | None:
    """The history's own customers; None in a model that was saved without them.

    Raises:
        BadModel: the arrays have the wrong shape, or hold no numbers of votes.
    """
    if "fleet.votes" not in arrays or "fleet.beyond" not in arrays:
        return None
    found = Fleet(arrays["fleet.votes"], arrays["fleet.beyond"])
    shape = (len(CATALOGUE),)
    fits = found.votes.shape == shape and found.beyond.shape == (*shape, len(LEVELS))
    if not fits or not all(np.isfinite(part).all() and (part >= 0.0).all() for part in (found.votes, found.beyond)):
        raise BadModel("the model's fleet does not fit its features")
    return found


def write(model: Model, directory: Path) -> None:
    """Write the folder; the manifest comes last, so that a half-written model is none."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {}
    arrays = arrays_of(model)
    if arrays:
        held = io.BytesIO()
        np.savez_compressed(held, allow_pickle=False, **arrays)
        _replace(directory / ARRAYS, held.getvalue())
        files[ARRAYS] = sha256(held.getvalue()).hexdigest()
    manifest = Manifest(
        format=FORMAT_VERSION,
        id=model.id,
        catalogue=CATALOGUE_VERSION,
        fingerprint=FINGERPRINT_VERSION,
        scorers={scorer.name: scorer.version for scorer in model.scorers},
        policy=model.policy,
        files=files,
        notes=model.notes,
    )
    _replace(directory / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read(directory: Path) -> tuple[Manifest, Arrays]:
    """Manifest and arrays (none for a model of rules alone) of a folder.

    Raises:
        BadModel: the folder holds no model, one of another release, or files that are not what was saved.
    """
    try:
        manifest = msgspec.json.decode(_bytes(directory / MANIFEST), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadModel(f"{directory / MANIFEST} is no manifest: {error}") from None
    ours = {"format": FORMAT_VERSION, "catalogue": CATALOGUE_VERSION, "fingerprint": FINGERPRINT_VERSION}
    for name, version in ours.items():
        if getattr(manifest, name) != version:
            raise BadModel(f"{directory}: {name} version is {getattr(manifest, name)}; this release reads {version}")
    arrays: Arrays = {}
    for name, checksum in manifest.files.items():
        if name != ARRAYS:
            raise BadModel(f"{directory}: the manifest names a file that this release does not know")
        data = _bytes(directory / name)
        if sha256(data).hexdigest() != checksum:
            raise BadModel(f"{directory / name}: the checksum is not the manifest's")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as held:
                arrays = {key: held[key] for key in held.files}
        except (ValueError, OSError, EOFError) as error:
            raise BadModel(f"{directory / name} does not decode: {type(error).__name__}") from None
    return manifest, arrays


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadModel(f"{path} is larger than {MAX_FILE_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise BadModel(f"{path}: {error.strerror or 'cannot be read'}") from None
