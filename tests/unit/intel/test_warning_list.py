"""What nobody may list as hostile."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ConfigError
from app.intel.warning_list import WarningList
from detectors.sharing.indicator import DAY_US, Indicator, Kind
from detectors.sharing.tokens import SCHEME


def _one(kind: Kind, *values: str) -> Indicator:
    return Indicator("indicator--6c0a5c1e-3f0f-4a59-9d0c-2d5b7a1c9e10", kind, values, 1, DAY_US)


def _load(folder: Path, text: str) -> WarningList:
    file = folder / "warned.txt"
    file.write_text(text, encoding="utf-8")
    return WarningList.load(file)


@pytest.mark.parametrize(
    ("value", "listed"),
    [
        ("10.1.2.0/24", True),  # private
        ("127.0.0.1/32", True),
        ("100.64.3.0/24", True),  # a carrier's NAT
        ("172.16.0.0/16", True),
        ("172.32.0.0/16", False),  # behind the private ones
        ("203.0.0.0/15", True),  # wider than /16
        ("203.0.0.0/16", False),
        ("2a00::/31", True),
        ("2a00:1450::/32", False),
        ("fd00::/48", True),
        ("::ffff:10.0.0.1/128", True),  # an address of the old kind in the form of a new one
        ("::/0", True),
        ("0.0.0.0/0", True),
        ("192.0.2.0/24", False),  # for documentation
        ("1.2.3.4/33", True),  # no network
        ("999.1.1.1/24", True),
    ],
)
def test_networks_built_in(value: str, listed: bool) -> None:
    """Private, special and very wide networks are listed without a file, and so is what is none; others are not."""
    assert WarningList().covers(_one("network", value)) is listed


@pytest.mark.parametrize(
    ("kind", "value", "listed"),
    [
        ("asn", "AS16509", True),
        ("asn", "AS64500", False),
        ("client", "OpenAI/Python 1.30.1", True),
        ("client", "python-requests/2.32", True),
        ("client", "curl", True),
        ("client", "curlicue/1", False),
        ("client", "harvest-bot/1.2", False),
    ],
)
def test_others_built_in(kind: Kind, value: str, listed: bool) -> None:
    """The largest clouds and the most common clients, in whatever version and letters; what only begins alike is not."""
    assert WarningList().covers(_one(kind, value)) is listed


@pytest.mark.parametrize(
    ("kind", "value", "listed"),
    [
        ("network", "198.51.100.0/24", True),
        ("network", "198.51.100.128/25", True),  # within
        ("network", "198.51.0.0/16", True),  # around
        ("network", "198.51.101.0/24", False),  # beside
        ("network", "203.0.113.7/32", True),  # an address alone
        ("network", "203.0.113.6/32", False),
        ("network", "2001:db8:5::/48", True),
        ("network", "2001:db8:6::/48", False),
        ("asn", "AS64501", True),
        ("asn", "AS6450", False),
        ("client", "EVAL-LAB runner/3", True),
        ("client", "eval-lab runner/4", False),
    ],
)
def test_file(tmp_path: Path, kind: Kind, value: str, listed: bool) -> None:
    """A line lists a network that overlaps, an AS number, or a client in any letters; comments and empty lines nothing."""
    text = "# ours\n198.51.100.0/24  # staff\n\n203.0.113.7\n2001:db8:5::/48\nas64501\neval-lab runner/3\n"
    assert _load(tmp_path, text).covers(_one(kind, value)) is listed


def test_part_of_an_indicator(tmp_path: Path) -> None:
    """What is listed of an indicator is told, and the rest can be looked for."""
    found = _load(tmp_path, "AS64501\n")
    one = _one("asn", "AS64500", "AS64501")
    assert found.listed(one) == ("AS64501",)
    left = found.without(one)
    assert left is not None
    assert left.tokens == ("AS64500",)
    assert found.without(_one("asn", "AS64501")) is None
    assert found.without(_one("asn", "AS64500")) == _one("asn", "AS64500")


def test_behaviour_is_not_listed() -> None:
    """Sketches and identities hold no values that could be on it."""
    one = Indicator(_one("asn", "AS1").id, "template", ("ab" * 12,), 1, DAY_US, SCHEME, "q4", (5.0,))
    assert not WarningList().covers(one)


@pytest.mark.parametrize(
    "line",
    ["10.0.0.0/33", "-x", "AS0", "a", "1.2.3", "x" * 81, "203.0.113.0/24/3 !", "AS99999999999", "1.2.3.4/24,5.6.7.0/24"],
)
def test_bad_line(tmp_path: Path, line: str) -> None:
    """A line that breaks the rule is named by its number, with the rule and without what it says."""
    with pytest.raises(ConfigError, match=r"^intel\.warning_list_file: .*warned\.txt, line 2: must be a network") as caught:
        _load(tmp_path, f"AS64500\n{line}\n")
    told = str(caught.value).partition("line 2: ")[2]
    assert line not in told or len(line) < 6


def test_bad_file(tmp_path: Path) -> None:
    """What cannot be read, is no text or too large is refused by name."""
    for text, why in (("é\n", "plain text"), ("#\n" * 50_001, "50,000 lines")):
        with pytest.raises(ConfigError, match=rf"^intel\.warning_list_file: .*{why}"):
            _load(tmp_path, text)
    with pytest.raises(ConfigError, match=r"^intel\.warning_list_file: .*No such file"):
        WarningList.load(tmp_path / "none.txt")
