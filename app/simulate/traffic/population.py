"""Who the clients are: each with its credential, account, client library and script, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from app.simulate.traffic import attacks, honest, stacks
from app.simulate.traffic.calls import Script


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of client.

    Attributes:
        name: as a table shows it.
        attack: it is there to be caught.
        script: random source of the campaign or customer, and of the key → behaviour.
        plans: what such clients are on.
        age_d: days since the key was made, youngest and oldest.
        dialect: openai or anthropic.
    """

    name: str
    attack: bool
    script: Callable[[Random, Random], Script]
    plans: tuple[str, ...]
    age_d: tuple[float, float]
    dialect: str = "openai"


def _customer(script: Callable[[Random], Script]) -> Callable[[Random, Random], Script]:
    """A customer's templates come from the same source as its texts."""
    return lambda _, rng: script(rng)


HONEST = (
    Kind("human chat", False, _customer(honest.human_chat), ("free", "payg"), (1, 400)),
    Kind("code assistant", False, _customer(honest.code_assistant), ("payg", "team"), (2, 400)),
    Kind("templated pipeline", False, _customer(honest.templated_pipeline), ("payg", "team"), (3, 500)),
    Kind("tool agent", False, _customer(honest.tool_agent), ("payg", "team"), (2, 300), "anthropic"),
    Kind("support bot", False, _customer(honest.support_bot), ("team",), (5, 500)),
    Kind("LLM judge", False, _customer(honest.llm_judge), ("payg", "team"), (3, 300)),
    Kind("eval harness", False, _customer(honest.eval_harness), ("payg", "team"), (2, 300)),
)
"""The last two are hard negatives."""

ATTACKS = (
    Kind("forced reasoning", True, attacks.forced_reasoning, ("payg",), (0.5, 4)),
    Kind("seed generation", True, attacks.seed_generation, ("payg",), (1, 6)),
    Kind("logit sweep", True, attacks.logit_sweep, ("payg",), (2, 20)),
    Kind("rejection sampling", True, attacks.rejection_sampling, ("payg",), (1, 10)),
)

OPERATION = Kind("quiet harvest", True, attacks.quiet_harvest, ("payg",), (0.5, 3))
"""Of many keys, none of which does much."""

COVERED = Kind("quiet harvest", True, attacks.covered_harvest, ("payg",), (0.5, 3))
"""Keys of the same operation that hide it among a person's requests. Under the same seed it has the same wording."""

CROWD = Kind("viral app", False, honest.viral_app, ("free", "payg"), (0.1, 3))
"""Of many keys that share a system prompt and settings and have nothing else to do with each other."""


@dataclass(frozen=True, slots=True)
class Client:
    """One key and the one who holds it.

    Attributes:
        name: e.g. "support bot 2".
        age_d: days between the key's making and its first request.
        address: where it connects from, in a network that RFC 2544 reserves for tests.
        headers: of its library, lower case, without the credential.
        start: begins the script; the same client gives the same script.
    """

    name: str
    kind: Kind
    credential: str
    org_id: str
    plan: str
    age_d: float
    address: str
    headers: dict[str, str]
    start: Callable[[], Script]

    def signed(self) -> dict[str, str]:
        """The headers of a request, with the credential where its dialect puts it."""
        secret = {"authorization": f"Bearer {self.credential}"}
        if self.kind.dialect == "anthropic":
            secret = {"x-api-key": self.credential}
        return {**self.headers, **secret, "content-type": "application/json"}


def populate(kinds: Sequence[tuple[Kind, int]], seed: int, first: int = 1) -> list[Client]:
    """So many clients of each kind, numbered from `first`. Keys of an attack share a campaign, and no organisation."""
    clients: list[Client] = []
    for kind, count in kinds:
        for number in range(first, first + count):
            rng = Random(f"{seed}/{kind.name}/{number}")
            clients.append(
                Client(
                    name=f"{kind.name} {number}",
                    kind=kind,
                    credential=f"sk-demo-{rng.getrandbits(160):040x}",
                    org_id=f"org-{rng.getrandbits(40):010x}",
                    plan=rng.choice(kind.plans),
                    # Most accounts are young: ages are spread evenly over their logarithm.
                    age_d=kind.age_d[0] * (kind.age_d[1] / kind.age_d[0]) ** rng.random(),
                    address=f"198.{rng.randint(18, 19)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}",
                    headers=stacks.draw(rng, kind.dialect),
                    start=partial(_begin, kind, seed, number),
                )
            )
    return clients


def _begin(kind: Kind, seed: int, number: int) -> Script:
    return kind.script(Random(f"{seed}/{kind.name}"), Random(f"{seed}/{kind.name}/{number}/script"))
