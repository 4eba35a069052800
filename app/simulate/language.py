"""Invented text: sentences, names, numbers and code from a small grammar, always the same for the same random source.

No corpus is involved. Content words come from a dozen domains, names are put together from syllables, and so two texts of
one domain look alike to a reader and still share few phrases, as the texts of two real customers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Domain:
    """Words of one field. `things` can be counted, `acts` are infinitives, `traits` stand before a noun."""

    name: str
    things: tuple[str, ...]
    acts: tuple[str, ...]
    traits: tuple[str, ...]


def _domain(name: str, things: str, acts: str, traits: str) -> Domain:
    return Domain(name, tuple(things.split()), tuple(acts.split()), tuple(traits.split()))


DOMAINS = (
    _domain(
        "gardening",
        "trellis seedbed compost greenhouse irrigation orchard pergola mulch graft hedge rootstock cold-frame",
        "prune water transplant thin harvest fertilise stake shade",
        "perennial frost-hardy shallow overgrown sandy organic drought-tolerant tidy",
    ),
    _domain(
        "logistics",
        "pallet depot manifest carrier dock waybill trailer shipment customs-form route warehouse container",
        "dispatch consolidate reroute insure unload weigh track invoice",
        "refrigerated delayed bonded oversized cross-border stackable urgent fragile",
    ),
    _domain(
        "astronomy",
        "telescope eclipse orbit nebula spectrograph comet mirror filter transit pulsar eyepiece catalogue",
        "observe calibrate resolve align stack measure predict photograph",
        "faint binary periodic red-shifted wide-field variable distant collimated",
    ),
    _domain(
        "cooking",
        "broth dough skillet marinade glaze pantry oven casserole brine reduction custard griddle",
        "simmer knead braise whisk season proof sear caramelise",
        "smoky silky overcooked crisp gluten-free seasonal slow-cooked tangy",
    ),
    _domain(
        "finance",
        "ledger invoice budget accrual dividend mortgage audit hedge bond refund margin statement",
        "reconcile amortise forecast allocate settle audit refinance depreciate",
        "quarterly overdue fixed-rate unsecured taxable deferred consolidated liquid",
    ),
    _domain(
        "software",
        "queue cache parser scheduler migration index endpoint thread schema build container socket",
        "refactor deploy benchmark serialise retry profile paginate debounce",
        "idempotent stale concurrent typed lazy distributed deprecated flaky",
    ),
    _domain(
        "mathematics",
        "matrix polygon sequence integral probability graph prime vector fraction permutation ratio series",
        "factor integrate bound approximate prove enumerate normalise invert",
        "convex finite symmetric recursive orthogonal monotone discrete bounded",
    ),
    _domain(
        "medicine",
        "dosage clinic symptom ward referral scan vaccine pulse chart allergy bandage trial",
        "diagnose prescribe monitor refer immunise sterilise triage document",
        "chronic acute outpatient mild paediatric elective rare inflammatory",
    ),
    _domain(
        "history",
        "treaty harbour dynasty census archive guild province charter siege tariff monastery chronicle",
        "annex negotiate excavate translate reform restore ratify survey",
        "medieval coastal disputed agrarian imperial oral fortified maritime",
    ),
    _domain(
        "travel",
        "itinerary hostel ferry visa luggage layover museum timetable passport viewpoint tram reservation",
        "book cancel upgrade explore pack commute extend rebook",
        "scenic overnight refundable off-season crowded direct remote affordable",
    ),
    _domain(
        "music",
        "chord tempo melody amplifier rehearsal score quartet rhythm bridge reed metronome mixdown",
        "transpose record improvise tune arrange master harmonise loop",
        "syncopated acoustic minor-key live layered muted analogue percussive",
    ),
    _domain(
        "energy",
        "turbine inverter battery meter grid substation panel boiler insulation heat-pump capacitor tariff",
        "install retrofit curtail meter store balance insulate commission",
        "off-peak renewable stranded rooftop standby low-carbon intermittent three-phase",
    ),
)

_ONSETS = ("b", "br", "c", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w", "z")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "io", "ou")
_CODAS = ("", "l", "n", "r", "s", "th", "m", "rd", "nt", "x", "ck")

_CLAUSES = (
    "the {trait} {thing} has to {act} before the {thing2}",
    "{name} wants to {act} the {thing} within {n} days",
    "a {trait} {thing} costs about {n} a unit",
    "it is safer to {act} the {thing} than to {act2} the {thing2}",
    "most of the {n} {thing}s were {trait}",
    "the {thing} near {name} stays {trait} until someone starts to {act} it",
    "nobody should {act} a {trait} {thing} without the {thing2}",
    "each {thing} needs {n} checks and one {trait2} {thing2}",
    "the {thing2} depends on how quickly {name} can {act} the {trait} {thing}",
    "you can {act} the {thing} first and {act2} the {trait} {thing2} later",
)
_JOINTS = (", because ", ", so ", ", while ", "; ", ", although ", ", and then ")
_QUESTIONS = (
    "How do I {act} a {trait} {thing} when the {thing2} is {trait2}?",
    "Why would {name} {act} {n} {thing}s instead of one {trait} {thing2}?",
    "What happens to a {thing} if {name} forgets to {act} the {thing2}?",
    "If {n} {thing}s share {n2} {thing2}s, how many {trait} {thing}s are left after we {act} {n3} of them?",
    "Which {thing} is better for {name}: the {trait} one or the {trait2} one?",
    "Can you explain how to {act} the {trait} {thing} of {name} step by step?",
    "Is it normal that my {thing} turns {trait} {n} hours after I {act} it?",
    "What is the difference between a {trait} {thing} and a {trait2} {thing2}?",
)


def name(rng: Random) -> str:
    """An invented proper noun of two or three syllables."""
    syllables = (
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if rng.random() < 0.5 else "")
        for _ in range(rng.choice((2, 2, 3)))
    )
    return "".join(syllables).capitalize()


def _fill(template: str, rng: Random, domain: Domain) -> str:
    return template.format(
        thing=rng.choice(domain.things),
        thing2=rng.choice(domain.things),
        act=rng.choice(domain.acts),
        act2=rng.choice(domain.acts),
        trait=rng.choice(domain.traits),
        trait2=rng.choice(domain.traits),
        name=name(rng),
        n=rng.randint(2, 97),
        n2=rng.randint(2, 40),
        n3=rng.randint(2, 20),
    )


def domain_of(rng: Random) -> Domain:
    """Any domain."""
    return rng.choice(DOMAINS)


def sentence(rng: Random, domain: Domain) -> str:
    """One sentence of one or two clauses."""
    text = _fill(rng.choice(_CLAUSES), rng, domain)
    if rng.random() < 0.5:
        text += rng.choice(_JOINTS) + _fill(rng.choice(_CLAUSES), rng, domain)
    return text[0].upper() + text[1:] + "."


def question(rng: Random, domain: Domain) -> str:
    """One question."""
    text = _fill(rng.choice(_QUESTIONS), rng, domain)
    return text[0].upper() + text[1:]


def paragraph(rng: Random, domain: Domain, words: int) -> str:
    """Sentences until there are about this many words."""
    parts: list[str] = []
    count = 0
    while count < words:
        parts.append(sentence(rng, domain))
        count += parts[-1].count(" ") + 1
    return " ".join(parts)


def identifier(rng: Random, domain: Domain) -> str:
    """A snake_case name as programmers write them."""
    return f"{rng.choice(domain.acts)}_{rng.choice(domain.things)}".replace("-", "_")


def code(rng: Random, domain: Domain, lines: int = 8) -> str:
    """A small Python function; it parses, and means nothing."""
    function, item = identifier(rng, domain), rng.choice(domain.things).replace("-", "_")
    body = [f"def {function}({item}s, limit={rng.randint(2, 99)}):", f'    """{sentence(rng, domain)}"""', "    kept = []"]
    for _ in range(max(1, lines - 5)):
        helper = identifier(rng, domain)
        body.append(
            rng.choice(
                (
                    f"    {helper} = [{item} for {item} in {item}s if {item} % {rng.randint(2, 9)}]",
                    f"    kept.extend(sorted({item}s)[: limit - {rng.randint(0, 5)}])",
                    f"    {helper} = sum({item}s) // max(1, len({item}s) + {rng.randint(1, 9)})",
                )
            )
        )
    body.append("    return kept")
    return "\n".join(body)
