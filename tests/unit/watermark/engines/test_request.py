"""What travels from a gateway to an engine."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from subprocess import run

import pytest

from app.watermark import engines
from app.watermark.engines.keys import EngineKeys
from app.watermark.engines.request import MarkRequest, read
from detectors.watermark.keys import MasterSecret, issued
from detectors.watermark.registry import Registry


@pytest.mark.parametrize("name", ["g4", "green1"])
def test_an_engine_reads_the_codeword_that_a_gateway_wrote(
    name: str, engine_keys: EngineKeys, registry: Registry, secret: MasterSecret
) -> None:
    """Through the request fields of either engine."""
    profile = registry.of(name)
    word = issued(secret, "tenant-1", profile.positions, profile.symbols)
    written = MarkRequest.of(profile, word)
    for fields in (written.for_vllm()["vllm_xargs"], written.for_sglang()["custom_params"]):
        got = read({**fields, "of_somebody_else": 7})
        assert got == written
        marking = engine_keys.marking(got)
        assert marking.profile == profile
        assert (marking.word == word).all()


def test_the_fields_are_what_the_docs_say(sent: Callable[[str, str], MarkRequest]) -> None:
    """A profile's name and 128 hexadecimal digits; no tenant and no secret."""
    fields = sent("tenant-1", "g4").for_vllm()
    assert set(fields) == {"vllm_xargs"}
    assert set(fields["vllm_xargs"]) == {"wm_profile", "wm_code"}
    assert fields["vllm_xargs"]["wm_profile"] == "g4"
    assert len(fields["vllm_xargs"]["wm_code"]) == 128
    assert "tenant-1" not in str(fields)


@pytest.mark.parametrize("fields", [None, {}, {"seed": 1}, {"wm_profile": None, "wm_code": None}])
def test_without_fields_nothing_is_marked(fields: dict[str, object] | None) -> None:
    """A request that names no profile and no code gets an ordinary answer."""
    assert read(fields) is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"wm_profile": "g4"}, "^wm_code: is missing"),
        ({"wm_code": "0" * 128}, "^wm_profile: is missing"),
        ({"wm_profile": 4, "wm_code": "0" * 128}, "^wm_profile: must be a text of 1 to 64 characters"),
        ({"wm_profile": "", "wm_code": "0" * 128}, "^wm_profile: must be a text of 1 to 64 characters"),
        ({"wm_profile": "g" * 65, "wm_code": "0" * 128}, "^wm_profile: must be a text of 1 to 64 characters"),
        ({"wm_profile": "g4", "wm_code": 0}, "^wm_code: must be a text of 1 to 2,048 characters"),
        ({"wm_profile": "g4", "wm_code": "0" * 2049}, "^wm_code: must be a text of 1 to 2,048 characters"),
        ({"wm_profile": "g4", "wm_code": ["0" * 128]}, "^wm_code: must be a text of 1 to 2,048 characters"),
    ],
)
def test_a_malformed_field_is_named_and_not_repeated(fields: dict[str, object], said: str) -> None:
    """One error that begins with the field."""
    with pytest.raises(ValueError, match=said) as caught:
        read(fields)
    assert "0000" not in str(caught.value)
    assert "gggg" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (MarkRequest("g9", "0" * 128), "^wm_profile: this engine has no profile of that name"),
        (MarkRequest("c1", "0" * 128), "^wm_profile: this engine has no profile of that name"),
        (MarkRequest("g4", "0" * 127), "^wm_code: must be 128 hexadecimal digits"),
        (MarkRequest("g4", "x" * 128), "^wm_code: must be 128 hexadecimal digits"),
    ],
)
def test_what_does_not_fit_the_profile_is_refused(written: MarkRequest, said: str, engine_keys: EngineKeys) -> None:
    """A name that the engine does not have, marks that only a gateway makes, a code of another length."""
    with pytest.raises(ValueError, match=said):
        engine_keys.marking(written)


def test_nothing_of_the_service_is_needed() -> None:
    """An engine's process has numpy and this package: importing the adapters brings in no service, no torch, no engine."""
    names = {module.name for module in pkgutil.iter_modules(engines.__path__)}
    # This one is for who has transformers, and is it.
    modules = [f"app.watermark.engines.{name}" for name in sorted(names - {"hugging_face"})]
    assert "app.watermark.engines.request" in modules
    heavy = (
        "fastapi",
        "redis",
        "hiredis",
        "pydantic",
        "polars",
        "scipy",
        "sklearn",
        "torch",
        "transformers",
        "vllm",
        "sglang",
    )
    code = f"import sys, {', '.join(modules)}\nprint(*sorted(set(sys.modules) & set({heavy!r})))"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
