"""The generated pages of the documentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app import settings_page
from app.settings import Settings
from app.telemetry import metrics
from app.telemetry import page as metrics_page
from detectors import cards_page, catalogue_page
from detectors.catalogue import CATALOGUE

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("name", "render", "module"),
    [
        ("features.md", catalogue_page.page, "detectors.catalogue_page"),
        ("detections.md", cards_page.page, "detectors.cards_page"),
        ("metrics.md", metrics_page.page, "app.telemetry.page"),
        ("configuration.md", settings_page.page, "app.settings_page"),
    ],
)
def test_the_page_in_docs_is_what_the_code_renders(name: str, render: Callable[[], str], module: str) -> None:
    """A page that fell behind the code fails here, and the message says how to bring it up to date."""
    assert (DOCS / name).read_text(encoding="utf-8") == render(), f"run: python -m {module} > docs/{name}"


def test_every_feature_and_metric_has_its_place() -> None:
    """Nothing that is declared is missing from its page."""
    features, exported = catalogue_page.page(), metrics_page.page()
    assert all(f"\n## {feature.name}\n" in features for feature in CATALOGUE)
    for family in metrics.REGISTRY.collect():
        assert f"`{family.name}`" in exported or f"`{family.name}_total`" in exported


def test_every_setting_has_a_meaning_and_an_environment_name() -> None:
    """Each row of a section's table says what the field is for and how to set it."""
    page = settings_page.page()
    for name, section in Settings.model_fields.items():
        for field in section.annotation.model_fields:  # type: ignore[union-attr]
            (row,) = [
                line
                for line in page.split(f"## [{name}]")[1].split("\n## ")[0].splitlines()
                if line.startswith(f"| `{field}` |")
            ]
            *_, meaning, environment, _ = (cell.strip() for cell in row.split("|"))
            assert meaning
            assert f"STILLWATCH_{name}__{field}".upper() in environment or environment == "*file only*"
