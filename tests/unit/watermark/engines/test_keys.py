"""The secrets of an engine process: where they come from, and that they go nowhere."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from app.watermark.engines import keys
from app.watermark.engines.following import Following
from app.watermark.engines.keys import PROFILES_FILE, SECRETS, SECRETS_FILE, EngineKeys, from_environment, of_this_process
from app.watermark.engines.request import MarkRequest
from detectors.watermark.keys import KeyRing, MasterSecret
from detectors.watermark.registry import Registry


def test_secrets_come_from_a_file(environment: dict[str, str]) -> None:
    """Of this process's environment, once."""
    assert repr(of_this_process()) == "EngineKeys(g4, green1)"
    assert of_this_process() is of_this_process()


def test_secrets_come_from_a_variable(
    environment: dict[str, str], secret_digits: str, sent: Callable[[str, str], MarkRequest]
) -> None:
    """As an orchestrator sets it: the same marks."""
    text = f'{{"2026q4": "{secret_digits}"}}'
    held = from_environment({SECRETS: text, PROFILES_FILE: environment[PROFILES_FILE]})
    read = sent("tenant-1", "g4")
    assert held.marking(read).prf.step([1, 2, 3, 4]) == of_this_process().marking(read).prf.step([1, 2, 3, 4])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_file_that_others_may_read_is_refused(environment: dict[str, str], mode: int) -> None:
    """Whoever else may read, write or enter it; its mode is said."""
    Path(environment[SECRETS_FILE]).chmod(mode)
    with pytest.raises(ValueError, match=f"^{SECRETS_FILE}: others than its owner may read it, mode {mode:04o}"):
        from_environment(environment)


def test_a_file_of_the_owner_alone_is_read(environment: dict[str, str]) -> None:
    """Without the right to write, too, as mounted secrets are."""
    Path(environment[SECRETS_FILE]).chmod(0o400)
    assert repr(from_environment(environment)) == "EngineKeys(g4, green1)"


def _bad(environment: dict[str, str], name: str, digits: str, registry: Registry) -> dict[str, str]:
    secrets, profiles = Path(environment[SECRETS_FILE]), Path(environment[PROFILES_FILE])
    match name:
        case "neither":
            return {PROFILES_FILE: str(profiles)}
        case "both":
            return {**environment, SECRETS: digits}
        case "no profiles":
            return {SECRETS_FILE: str(secrets)}
        case "no such file":
            return {**environment, SECRETS_FILE: str(secrets) + ".old"}
        case "no such profiles":
            return {**environment, PROFILES_FILE: str(profiles) + ".old"}
        case "digits alone":
            return {PROFILES_FILE: str(profiles), SECRETS: digits}
        case "short":
            return {PROFILES_FILE: str(profiles), SECRETS: f'{{"2026q4": "{digits[:40]}"}}'}
        case "other epoch":
            secrets.write_text(f'{{"2026q3": "{digits}"}}')
        case "not text":
            secrets.write_bytes(b"\xff\xfe" + digits.encode())
        case "too large":
            secrets.write_text(f'{{"2026q4": "{digits}"}}' + " " * keys.MAX_BYTES)
        case "bad profiles":
            profiles.write_text("{}")
        case "only choice":
            profiles.write_text(Registry([registry.of("c1")]).dumped())
    return environment


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("neither", f"^{SECRETS}: either it or {SECRETS_FILE} must be set, not neither"),
        ("both", f"^{SECRETS}: either it or {SECRETS_FILE} must be set, not both"),
        ("no profiles", f"^{PROFILES_FILE}: must be set to the file of the profiles"),
        ("no such file", f"^{SECRETS_FILE}: No such file or directory"),
        ("no such profiles", f"^{PROFILES_FILE}: No such file or directory"),
        ("digits alone", f"^{SECRETS}: secrets: (not JSON|must be an object)"),
        ("short", f"^{SECRETS}: secrets: entry 1: secret: a master secret has at least 32 bytes"),
        ("other epoch", f"^{PROFILES_FILE}: epoch: no master secret for epoch '2026q4'"),
        ("not text", f"^{SECRETS_FILE}: is no UTF-8 text"),
        ("too large", f"^{SECRETS_FILE}: must be at most 1,048,576 bytes"),
        ("bad profiles", f"^{PROFILES_FILE}: profiles: must be an object"),
        ("only choice", f"^{PROFILES_FILE}: profiles: none is of a scheme that an engine makes"),
    ],
)
def test_a_fault_names_its_variable_and_shows_no_secret(
    environment: dict[str, str], secret_digits: str, registry: Registry, name: str, said: str
) -> None:
    """Neither the sentence nor the traceback under it."""
    with pytest.raises(ValueError, match=said) as caught:
        from_environment(_bad(environment, name, secret_digits, registry))
    whole = "".join(traceback.format_exception(caught.value))
    assert "5e5e5e" not in str(caught.value)
    assert "5e5e5e" not in whole


def test_what_an_engine_holds_shows_no_secret(
    engine_keys: EngineKeys,
    sent: Callable[[str, str], MarkRequest],
    secret: MasterSecret,
    secret_digits: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Printed, or logged by an engine that logs everything it has."""
    marking = engine_keys.marking(sent("tenant-1", "g4"))
    following = Following(marking)
    following.next([1, 2, 3, 4])
    with caplog.at_level(logging.DEBUG):
        for held in (engine_keys, marking, marking.prf, following, vars(engine_keys)):
            logging.getLogger("engine").debug("state: %r %s", held, held)
    derived = secret.derive("context/sw1/g4/4")
    for form in (secret_digits, "^" * 32, derived.hex(), repr(derived)[2:-1]):
        assert form not in caplog.text


def test_a_profile_without_its_secret_keeps_an_engine_from_starting(registry: Registry) -> None:
    """Rather than leave its answers unmarked."""
    with pytest.raises(ValueError, match="epoch: no master secret for epoch '2026q4'"):
        EngineKeys(registry, KeyRing({"2026q3": MasterSecret(bytes(32))}))
