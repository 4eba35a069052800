"""The catalogue of features: what each number means, and how far it may be trusted.

Order is the column order of every feature matrix. A feature is removed or changes its meaning only together with
`CATALOGUE_VERSION`, so that a model fitted on one meaning is never fed another.

`raises` names honest customers who move it to the suspicious side; `fakes` says what it costs an attacker to move it back.
`source` names a paper, the joint advisory AA26-251A of CISA, NSA and FBI (2026), or the campaigns that model providers
disclosed in 2026.
"""

from detectors.catalogue.asking import ASKING
from detectors.catalogue.breadth import BREADTH
from detectors.catalogue.certainty import CERTAINTY
from detectors.catalogue.conversation import CONVERSATION
from detectors.catalogue.feature import Feature
from detectors.catalogue.provenance import PROVENANCE
from detectors.catalogue.rhythm import RHYTHM
from detectors.catalogue.templates import TEMPLATES

__all__ = ["CATALOGUE", "CATALOGUE_VERSION", "INDEX", "Feature"]

CATALOGUE_VERSION = "2"

CATALOGUE: tuple[Feature, ...] = (*RHYTHM, *TEMPLATES, *ASKING, *BREADTH, *CONVERSATION, *CERTAINTY, *PROVENANCE)

INDEX: dict[str, int] = {feature.name: column for column, feature in enumerate(CATALOGUE)}
