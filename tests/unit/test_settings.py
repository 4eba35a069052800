"""Settings: where a value comes from, what is refused, and that a refusal is one sentence without the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from app.errors import ConfigError
from app.settings import FROM_FILES, OTHER_NAMES, SHORT_NAMES, ActionRule, EnforcementSettings, Settings, load, strangers

SECRET = "hunter2-hunter2-hunter2-hunter2"


def test_the_defaults_are_valid_and_cautious() -> None:
    """Nothing need be set to load; nothing is enforced, listened on beyond loopback, or secret by default."""
    settings = load(environ={})
    assert settings == Settings()
    assert settings.enforcement.mode == "shadow"
    assert settings.limits.on_state_loss == "local"
    assert settings.gateway.host == settings.admin.host == "127.0.0.1"
    assert not settings.identity.pepper.get_secret_value()
    assert not settings.admin.token.get_secret_value()


def test_the_command_line_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    """Each layer sets what the next does not; an override of None is no override."""
    path = tmp_path / "s.toml"
    path.write_text("[gateway]\nport = 1\nmetrics_port = 1\nmax_json_depth = 11\n")
    environ = {"STILLWATCH_GATEWAY__PORT": "2", "STILLWATCH_GATEWAY__METRICS_PORT": "2"}
    gateway = load(path, environ, {"gateway.port": 3, "gateway.metrics_port": None}).gateway
    assert (gateway.port, gateway.metrics_port, gateway.max_json_depth) == (3, 2, 11)


@pytest.mark.parametrize("name", SHORT_NAMES)
def test_short_names_set_what_most_deployments_inject(name: str) -> None:
    """The address of the state server, the pepper, the admin token, and what marks are made with."""
    section, field = SHORT_NAMES[name]
    value = getattr(getattr(load(environ={name: SECRET}), section), field)
    assert str(value.get_secret_value() if isinstance(value, pydantic.SecretStr) else value) == SECRET


@pytest.mark.parametrize("name", FROM_FILES)
def test_secrets_may_stand_in_files(name: str, tmp_path: Path) -> None:
    """A variable that ends in _FILE names the file of a secret; its last line end is no part of it."""
    section, field = FROM_FILES[name]
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    environ = {f"{name}_FILE": str(path)}
    value = getattr(getattr(load(environ=environ), section), field)
    assert (value.get_secret_value() if isinstance(value, pydantic.SecretStr) else value) == SECRET
    assert strangers(environ) == ""
    for other in (name, f"STILLWATCH_{section}__{field}".upper()):
        with pytest.raises(ConfigError, match="both set"):
            load(environ=environ | {other: SECRET})


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_file_without_a_secret_is_refused_and_not_quoted(content: bytes | None, tmp_path: Path) -> None:
    """A file that is missing, empty or no text ends the start with the name of its variable."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^STILLWATCH_PEPPER_FILE: "):
        load(environ={"STILLWATCH_PEPPER_FILE": str(path)})


def test_lists_are_comma_separated_in_the_environment() -> None:
    """Spaces and empty parts do not matter."""
    environ = {
        "STILLWATCH_GATEWAY__ALLOWED_HOSTS": "a.example, b.example,",
        "STILLWATCH_IDENTITY__TRUSTED_PROXIES": "10.0.0.0/8",
    }
    settings = load(environ=environ)
    assert settings.gateway.allowed_hosts == ("a.example", "b.example")
    assert settings.identity.trusted_proxies == ("10.0.0.0/8",)


def test_other_variables_are_no_settings() -> None:
    """Those without the prefix, and those under it without a section, are left alone."""
    assert load(environ={"PATH": "/bin", "STILLWATCH_BENCH": "/x", "GATEWAY__PORT": "1"}) == Settings()


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"STILLWATCH_GATEWAY__PORT": "65536"}, "gateway.port"),
        ({"STILLWATCH_GATEWAY__PORT": "http"}, "gateway.port"),
        ({"STILLWATCH_GATEWAY__PROT": "1"}, "gateway.prot"),
        ({"STILLWATCH_GATWAY__PORT": "1"}, "gatway"),
        ({"STILLWATCH_GATEWAY__UPSTREAM": "ftp://a.example"}, "gateway.upstream"),
        ({"STILLWATCH_GATEWAY__UPSTREAM": f"http://user:{SECRET}@a.example"}, "gateway.upstream"),
        ({"STILLWATCH_GATEWAY__UPSTREAM": "http://a.example/v1?x=1"}, "gateway.upstream"),
        ({"STILLWATCH_GATEWAY__HEADER_TIMEOUT_SEC": "0"}, "gateway.header_timeout_sec"),
        ({"STILLWATCH_STATE__PARTITIONS": "0"}, "state.partitions"),
        ({"STILLWATCH_STATE__DECISION_TIMEOUT_MS": "5000"}, "state.decision_timeout_ms"),
        ({"STILLWATCH_IDENTITY__UNKNOWN_KEYS": "maybe"}, "identity.unknown_keys"),
        ({"STILLWATCH_ENFORCEMENT__MODE": "on"}, "enforcement.mode"),
        ({"STILLWATCH_ENFORCEMENT__WATCH": "throttle"}, "enforcement.watch"),
        ({"STILLWATCH_WORKER__ID": "a worker"}, "worker.id"),
        ({"STILLWATCH_PEPPER": "short"}, "identity.pepper must have at least 16"),
        ({"STILLWATCH_ADMIN__TOKEN": SECRET[:20]}, "admin.token must have at least 24"),
    ],
)
def test_a_bad_value_is_named_with_its_rule_and_not_quoted(environ: dict[str, str], place: str) -> None:
    """One sentence that begins with the setting's full name and holds neither the value nor a line break."""
    with pytest.raises(ConfigError) as caught:
        load(environ=environ)
    message = str(caught.value)
    assert message.startswith(place)
    assert "\n" not in message
    (value,) = environ.values()
    assert len(value) < 4 or value in ("throttle",) or value not in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[limits.plans.free.key]\nrequests_per_min = 1", "limits.plans must have an entry named default"),
        ("[limits.plans.default.key]\nrequests_per_min = 0", "limits.plans.default.key.requests_per_min"),
        ("[limits.plans.default.key]\nrequests_per_hour = 5", "limits.plans.default.key.requests_per_hour"),
        ("[limits.plans.default.models.large]\nconcurrent = 0", "limits.plans.default.models.large.concurrent"),
        ("[enforcement.suspect]\naction = 'block'", "enforcement.suspect.action"),
        ("[enforcement.suspect]\nfactor = 1.5", "enforcement.suspect.factor"),
        ("[enforcement.suspect]\nttl_sec = 5", "enforcement.suspect.ttl_sec"),
        ("gateway = 5", "gateway"),
        ("[gatway]\nport = 5", "gatway"),
    ],
)
def test_a_bad_table_names_the_place(tmp_path: Path, text: str, place: str) -> None:
    """However deep it stands."""
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    assert str(caught.value).startswith(place)


@pytest.mark.parametrize("content", [b"[gateway\n", b"x = \xff\n", b"a = 1\na = 2\n"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """With its name."""
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config file .*s\.toml is no valid TOML"):
        load(path, environ={})


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Missing, or a folder."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="config file"):
            load(path, environ={})


def test_every_problem_is_told_at_once() -> None:
    """Up to five, each with its rule and the variable that holds it; how many more there are is said."""
    environ = {"STILLWATCH_GATEWAY__PORT": "x", "STILLWATCH_ADMIN__PORT": "x", "STILLWATCH_STATE__PARTITIONS": "x"}
    with pytest.raises(ConfigError) as caught:
        load(environ=environ)
    told = str(caught.value).split("; ")
    assert sorted(told) == [
        "admin.port: must be a whole number (STILLWATCH_ADMIN__PORT)",
        "gateway.port: must be a whole number (STILLWATCH_GATEWAY__PORT)",
        "state.partitions: must be a whole number (STILLWATCH_STATE__PARTITIONS)",
    ]
    environ |= {f"STILLWATCH_WORKER__{letter}": "x" for letter in "ABCD"}
    with pytest.raises(ConfigError, match=r"; and 2 more$"):
        load(environ=environ)


@pytest.mark.parametrize(
    ("environ", "overrides", "message"),
    [
        ({"STILLWATCH_GATEWAY__PROT": "1"}, {}, "gateway.prot: no such setting (STILLWATCH_GATEWAY__PROT)"),
        ({"STILLWATCH_GATWAY__PORT": "1"}, {}, "gatway: no such setting (STILLWATCH_GATWAY__PORT)"),
        ({}, {"gateway.allowed_hosts": "x"}, 'gateway.allowed_hosts: must be a list, such as ["a", "b"]'),
        ({"STILLWATCH_LIMITS__PLANS": "x"}, {}, "limits.plans: must be a table (STILLWATCH_LIMITS__PLANS)"),
        ({"STILLWATCH_GATEWAY__LOG_EVENTS": "x"}, {"gateway.log_events": "q"}, "gateway.log_events: must be true or false"),
        ({}, {"enforcement.mode": "on"}, "enforcement.mode: must be 'shadow' or 'enforce'"),
    ],
)
def test_rules_are_in_an_operators_words(environ: dict[str, str], overrides: dict[str, str], message: str) -> None:
    """Not in those of the library; what the environment sets is named as it stands there."""
    with pytest.raises(ConfigError) as caught:
        load(environ=environ, overrides=overrides)
    assert str(caught.value) == message


def test_a_section_that_is_no_table_is_refused_whatever_the_environment_sets_in_it(tmp_path: Path) -> None:
    """It is a wrong file, not a fault of the program."""
    path = tmp_path / "s.toml"
    path.write_text("gateway = 5")
    with pytest.raises(ConfigError, match=r"^gateway: must be a table"):
        load(path, {"STILLWATCH_GATEWAY__PORT": "1"}, {"gateway.port": "1"})


def test_the_long_name_wins_over_the_short_one() -> None:
    """Whichever comes first in the environment."""
    names = [("STILLWATCH_REDIS_URL", "redis://short"), ("STILLWATCH_STATE__REDIS_URL", "redis://long")]
    assert load(environ=dict(names)).state.redis_url == "redis://long"
    assert load(environ=dict(reversed(names))).state.redis_url == "redis://long"


def test_a_variable_that_nobody_reads_is_named() -> None:
    """One sentence for all of them, without their values; settings, short names and names of other uses are not meant."""
    known = dict.fromkeys((*SHORT_NAMES, *OTHER_NAMES, "STILLWATCH_GATEWAY__PORT", "PATH"), SECRET)
    assert strangers(known) == ""
    told = strangers(known | {"STILLWATCH_UPSTREAM": SECRET, "STILLWATCH_ADMIN_PORT": "1"})
    assert told.startswith("STILLWATCH_ADMIN_PORT, STILLWATCH_UPSTREAM in the environment: no such setting")
    assert SECRET not in told


def test_settings_do_not_change_once_read() -> None:
    """No part of the tree can be assigned to."""
    settings: Any = load(environ={})
    for target, name in ((settings, "gateway"), (settings.gateway, "port"), (settings.enforcement.watch, "action")):
        with pytest.raises(pydantic.ValidationError):
            setattr(target, name, None)


def test_secrets_are_not_in_the_representation() -> None:
    """A settings tree may be logged without giving a secret away."""
    settings = load(environ={"STILLWATCH_PEPPER": SECRET, "STILLWATCH_ADMIN__TOKEN": SECRET})
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


def test_folders_follow_the_data_folder_unless_named() -> None:
    """Archive and spool."""
    settings = load(environ={"STILLWATCH_STATE__DATA_DIR": "/data"})
    assert (settings.archive_dir, settings.spool_dir) == (Path("/data/archive"), Path("/data/spool"))
    named = load(environ={"STILLWATCH_STATE__DATA_DIR": "/data", "STILLWATCH_WORKER__ARCHIVE_DIR": "/cold"})
    assert (named.archive_dir, named.spool_dir) == (Path("/cold"), Path("/data/spool"))


def test_policy_stops_at_a_throttle_unless_told() -> None:
    """Policy takes no more than a throttle by itself; a level that asks for more is refused by field and rule."""
    enforcement = Settings().enforcement
    assert (enforcement.automatic_up_to, enforcement.watch.action) == ("throttle", "observe")
    with pytest.raises(pydantic.ValidationError):
        ActionRule(action="block")  # type: ignore[arg-type]
    with pytest.raises(pydantic.ValidationError, match=r"enforcement.confirmed.action must not be above .*automatic_up_to"):
        EnforcementSettings(confirmed=ActionRule(action="cap"))
    assert EnforcementSettings(automatic_up_to="suspend", confirmed=ActionRule(action="suspend")).confirmed.factor == 0.25


def test_a_step_up_needs_its_address() -> None:
    """A level may only ask for a verification that the customer can find, and addresses are http without credentials."""
    rule = ActionRule(action="step_up")
    with pytest.raises(pydantic.ValidationError, match=r"enforcement\.step_up_url must be set"):
        EnforcementSettings(automatic_up_to="step_up", confirmed=rule)
    assert EnforcementSettings(
        automatic_up_to="step_up", confirmed=rule, step_up_url="https://a.example/verify"
    ).step_up_url
    for url in ("verify.example", "https://user:word@a.example/", 'https://a.example/"x', "javascript:alert(1)"):
        with pytest.raises(pydantic.ValidationError, match="must be an http"):
            EnforcementSettings(appeal_url=url)


@pytest.mark.parametrize("field", ["enabled_percent", "enforced_percent"])
def test_shares_are_percentages(field: str) -> None:
    """Shares of the keys lie between 0 and 100."""
    for value in (-1, 100.5):
        with pytest.raises(pydantic.ValidationError):
            EnforcementSettings.model_validate({field: value})
