"""Who a request is taken for: credentials, accounts, addresses, and which proxies are believed."""

from __future__ import annotations

from typing import Any

import pytest

from app.enforcement.wire_errors import Refuse
from app.errors import ConfigError
from app.gateway.guard import Guard
from app.gateway.identity import NOWHERE, Hasher, Identifier
from app.gateway.networks import Networks
from app.settings import GatewaySettings, IdentitySettings
from app.state.accounts import Account

PEPPER = "a pepper for tests only"


def make(
    pepper: str = PEPPER, accounts: Any = None, networks: Networks | None = None, **changes: Any
) -> tuple[Guard, Identifier]:
    """Guard and identifier with these identity settings."""
    settings = IdentitySettings.model_validate({"pepper": pepper, **changes})
    return Guard(GatewaySettings(), settings), Identifier(settings, accounts, networks)


def scope(*headers: tuple[bytes, bytes], peer: str = "203.0.113.9") -> dict[str, Any]:
    """An ASGI scope."""
    return {"headers": [(b"host", b"a"), *headers], "client": (peer, 1), "path": "/", "raw_path": b"/", "query_string": b""}


def key_of(
    made: tuple[Guard, Identifier], *headers: tuple[bytes, bytes], dialect: str = "openai", peer: str = "203.0.113.9"
) -> str:
    """Id of the caller of a request with these headers."""
    guard, identifier = made
    return identifier.identify(guard.read(scope(*headers, peer=peer)), dialect).key_id


def bearer(value: bytes) -> tuple[bytes, bytes]:
    """An Authorization header."""
    return (b"authorization", value)


def test_one_secret_is_one_caller_however_it_is_sent() -> None:
    """Scheme spelling, white space and the header do not make a key another one."""
    made = make()
    ids = {
        key_of(made, bearer(value))
        for value in (b"Bearer sk-1", b"bearer sk-1", b"BEARER  sk-1", b"Bearer\tsk-1", b"Bearer sk-1 ")
    }
    ids.add(key_of(made, (b"x-api-key", b"sk-1")))
    ids.add(key_of(made, (b"x-api-key", b"sk-1"), dialect="anthropic"))
    assert ids == {Hasher(PEPPER).key("sk-1")}


def test_different_secrets_are_different_callers() -> None:
    """Other secrets, another scheme and no credential at all have ids of their own."""
    made = make()
    ids = [
        key_of(made, bearer(b"Bearer sk-1")),
        key_of(made, bearer(b"Bearer sk-2")),
        key_of(made, bearer(b"Basic sk-1")),
        key_of(made, bearer(b"Bearer")),
        key_of(made),
    ]
    assert len(set(ids)) == 5


def test_ids_depend_on_the_pepper_and_the_domain() -> None:
    """Another pepper gives other ids, and a value hashed as key, payment or anonymous never collides."""
    one, other = Hasher(PEPPER), Hasher(PEPPER + "!")
    assert one.key("sk-1") != other.key("sk-1")
    assert len({one.key("x"), one.payment("x"), one.digest(b"anonymous", b"x"), one.digest(b"ip", b"x")}) == 4
    assert len(one.key("x")) == 32
    long = "p" * 100
    assert Hasher(long).key("x") != Hasher(long + "q").key("x")


def test_of_two_credentials_the_dialects_counts_and_travels() -> None:
    """With both headers the one that the API reads is charged, and the other one is not forwarded."""
    guard, identifier = make()
    for dialect, secret, dropped in (("openai", "sk-1", b"x-api-key"), ("anthropic", "sk-2", b"authorization")):
        head = guard.read(scope(bearer(b"Bearer sk-1"), (b"x-api-key", b"sk-2")))
        assert identifier.identify(head, dialect).key_id == Hasher(PEPPER).key(secret)
        assert not [line for line in head.wire if line.startswith(dropped)]
        assert len(head.wire) == 1


def test_unknown_keys_are_denied_where_the_policy_says_so() -> None:
    """Under `deny` a key needs an account; missing and unknown credentials are told apart, and never quoted."""
    account = Account(org_id="o", plan="gold", created_us=5, payment_id="p", authorised=("evals",), country="NO")
    known = {Hasher(PEPPER).key("sk-1"): account}
    guard, identifier = make(unknown_keys="deny", accounts=known)
    found = identifier.identify(guard.read(scope(bearer(b"Bearer sk-1"))), "openai")
    assert (found.org_id, found.plan, found.key_created_us, found.authorised) == ("o", "gold", 5, ("evals",))
    for headers, why in (((), "no_credential"), ((bearer(b"Bearer sk-secret"),), "unknown_key")):
        with pytest.raises(Refuse) as caught:
            identifier.identify(guard.read(scope(*headers)), "openai")
        assert (caught.value.why, caught.value.kind.status) == (why, 401)
        assert "secret" not in caught.value.message


def test_unknown_keys_pass_under_the_default_plan() -> None:
    """Under `allow` a key without an account has the default plan and no organisation."""
    guard, identifier = make(default_plan="trial")
    found = identifier.identify(guard.read(scope(bearer(b"Bearer sk-1"))), "openai")
    assert (found.plan, found.org_id, found.key_created_us) == ("trial", "", None)


def test_memory_of_credentials_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who rotates credentials makes us hash, not remember."""
    monkeypatch.setattr("app.gateway.identity._CREDENTIALS_REMEMBERED", 50)
    made = make()
    for number in range(200):
        key_of(made, bearer(b"Bearer sk-%d" % number))
    assert len(made[1]._key_ids) == len(made[1]._strangers) == 50
    assert key_of(made, bearer(b"Bearer sk-0")) == Hasher(PEPPER).key("sk-0")


def test_named_key_is_believed_from_trusted_proxies_only() -> None:
    """The configured key header counts from a trusted proxy, and is dropped from everybody else."""
    made = make(trusted_key_header="X-Consumer-Key", trusted_proxies=("10.0.0.0/8",))
    named = (b"x-consumer-key", b"customer-7")
    inside = key_of(made, named, bearer(b"Bearer sk-1"), peer="10.1.2.3")
    outside = key_of(made, named, bearer(b"Bearer sk-1"))
    assert inside == Hasher(PEPPER).key("customer-7")
    assert outside == Hasher(PEPPER).key("sk-1")
    head = made[0].read(scope(named, peer="10.1.2.3"))
    assert head.wire == []


def test_trusted_header_without_trusted_proxies_is_a_config_error() -> None:
    """A key header that anybody could set is refused at the start."""
    with pytest.raises(ConfigError, match=r"^identity\.trusted_key_header needs identity\.trusted_proxies"):
        make(trusted_key_header="x-consumer-key")
    with pytest.raises(ConfigError, match=r"^identity\.trusted_proxies must be networks"):
        make(trusted_proxies=("10.0.0.0/33",))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", b"198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", b"198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", b"1.2.3.4, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", b"198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", b"unknown, 10.9.9.9", "10.9.9.9"),
        ("10.0.0.1", b"10.8.8.8, 10.9.9.9", "10.8.8.8"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"nonsense", "10.0.0.1"),
        ("10.0.0.1", b"2001:db8::1", "2001:db8::1"),
        ("", b"198.51.100.1", ""),
    ],
)
def test_address_is_the_last_that_no_trusted_proxy_has(peer: str, forwarded: bytes, address: str) -> None:
    """X-Forwarded-For is read from the right, only from trusted proxies, and never reaches the upstream."""
    guard, _ = make(trusted_proxies=("10.0.0.0/8",))
    head = guard.read(scope((b"x-forwarded-for", forwarded), peer=peer))
    assert head.ip == address
    assert head.wire == []


def test_places_are_hashed_prefixes_with_their_network() -> None:
    """Neighbours of one /24 or /48 share a prefix id, mapped addresses are IPv4, and the plan gives class and country."""
    networks = Networks()
    networks.add("198.51.0.0/16", "business", "NO")
    networks.add("198.51.100.0/24", "cloud", "SE")
    networks.add("2001:db8::/32", "vpn", "DE")
    _, identifier = make(networks=networks)
    one = identifier.place("198.51.100.1")
    assert one == identifier.place("198.51.100.200") == identifier.place("::ffff:198.51.100.7")
    assert (one.asn_class, one.country) == ("cloud", "SE")
    assert identifier.place("198.51.7.1").asn_class == "business"
    assert identifier.place("2001:db8:1::1").ip_prefix_id == identifier.place("2001:db8:1:ffff::1").ip_prefix_id
    assert identifier.place("2001:db8:2::1").ip_prefix_id != identifier.place("2001:db8:1::1").ip_prefix_id
    assert identifier.place("") == identifier.place("@socket") == NOWHERE
    assert identifier.place("fe80::1%eth0").ip_prefix_id
