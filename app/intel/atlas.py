"""The techniques of MITRE ATLAS that a distillation campaign uses, under the ids that MITRE gave them.

Source: github.com/mitre-atlas, atlas-data 5.6.1 and the STIX ids of atlas-navigator-data; the chain is case AML.CS0056's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

CASE = "AML.CS0056"


class Technique(NamedTuple):
    """One technique."""

    id: str
    name: str
    stix_id: str


TECHNIQUES = (
    Technique("AML.T0024.002", "Extract AI Model", "attack-pattern--3f567912-629a-5e0b-ab0c-0102977c2d6c"),
    Technique("AML.T0040", "AI Model Inference API Access", "attack-pattern--5ac1f849-523e-51bf-a1e9-1a97ab91cc91"),
    Technique("AML.T0005.001", "Train Proxy via Replication", "attack-pattern--298dc6c6-5683-5475-b724-2a2a3db3a7dc"),
    Technique("AML.T0021", "Establish Accounts", "attack-pattern--d3d7763a-58e1-5e38-84fd-3abea967cb08"),
    Technique("AML.T0048.004", "AI Intellectual Property Theft", "attack-pattern--73772ced-edba-578c-bacd-703e082a9c57"),
)

PROXIES = Technique("AML.T0008.005", "AI Service Proxies", "attack-pattern--647ac4ac-b2bc-53f7-ab83-81f421a1f0b5")
"""Told where networks of proxies are."""

_WHEN = "2026-03-31T00:00:00.000Z"


def pattern(technique: Technique) -> dict[str, Any]:
    """The technique as a STIX attack-pattern with its official id."""
    return {
        "type": "attack-pattern",
        "spec_version": "2.1",
        "id": technique.stix_id,
        "created": _WHEN,
        "modified": _WHEN,
        "name": technique.name,
        "external_references": [
            {
                "source_name": "mitre-atlas",
                "external_id": technique.id,
                "url": f"https://atlas.mitre.org/techniques/{technique.id}",
            }
        ],
    }
