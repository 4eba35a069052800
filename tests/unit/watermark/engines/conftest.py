"""What the tests of engines share: three profiles, a secret, and the environment of an engine that holds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.watermark.engines import keys
from app.watermark.engines.keys import EngineKeys
from app.watermark.engines.request import MarkRequest
from detectors.watermark.keys import KeyRing, MasterSecret, issued
from detectors.watermark.registry import MarkProfile, Registry

TOKENIZER = "ab" * 32


@pytest.fixture(scope="session")
def secret_digits() -> str:
    """Of the epoch's master secret."""
    return "5e" * 32


@pytest.fixture(scope="session")
def secret(secret_digits: str) -> MasterSecret:
    """The epoch's master secret."""
    return MasterSecret.parse(secret_digits)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """A profile of each scheme: `g4`, `green1`, `c1`."""
    return Registry(
        [
            MarkProfile(id="g4", scheme="gumbel", tokenizer=TOKENIZER, epoch="2026q4", coin=0.25),
            MarkProfile(id="green1", scheme="green", tokenizer=TOKENIZER, epoch="2026q4", context_width=1, delta=3.0),
            MarkProfile(id="c1", scheme="choice", tokenizer="words-1", epoch="2026q4"),
        ]
    )


@pytest.fixture(scope="session")
def engine_keys(registry: Registry, secret: MasterSecret) -> EngineKeys:
    """As an engine holds them."""
    return EngineKeys(registry, KeyRing({"2026q4": secret}))


@pytest.fixture(scope="session")
def sent(registry: Registry, secret: MasterSecret) -> Callable[[str, str], MarkRequest]:
    """(tenant, profile's id) → what a gateway sends."""

    def of(tenant: str, profile_id: str) -> MarkRequest:
        profile = registry.of(profile_id)
        return MarkRequest.of(profile, issued(secret, tenant, profile.positions, profile.symbols))

    return of


@pytest.fixture
def environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry, secret_digits: str
) -> Iterator[dict[str, str]]:
    """An engine process's variables, set for this one."""
    profiles, secrets = tmp_path / "profiles.json", tmp_path / "secrets.json"
    profiles.write_text(registry.dumped())
    secrets.write_text(json.dumps({"2026q4": secret_digits}))
    secrets.chmod(0o600)
    made = {keys.SECRETS_FILE: str(secrets), keys.PROFILES_FILE: str(profiles)}
    monkeypatch.delenv(keys.SECRETS, raising=False)
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    keys.of_this_process.cache_clear()
    yield made
    keys.of_this_process.cache_clear()


@pytest.fixture(params=["numpy", "torch"])
def tensor(request: pytest.FixtureRequest) -> Callable[[NDArray[Any]], Any]:
    """A numpy array → what an engine has: the array itself, or a tensor of torch where that is installed."""
    if request.param == "numpy":
        return np.array
    torch = pytest.importorskip("torch", reason="torch is not installed here; `./run engines` runs this with it")
    return lambda made: torch.from_numpy(np.array(made))
