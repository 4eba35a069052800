"""Settings: one frozen tree, read once, from a TOML file and the environment.

Every field can be set in the file (`[gateway] upstream = "…"`) or as `STILLWATCH_<SECTION>__<FIELD>`; the environment wins.
SHORT_NAMES are other names for the few that most deployments inject. Nothing is read at import. Units are in the names.
Bad values give one `ConfigError` that names each field and its rule. The file is long because the tree is in one place:
whoever wants to know what can be set reads one file, and the page of settings is made from it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from app.errors import ConfigError

ENV_PREFIX = "STILLWATCH_"
SHORT_NAMES = {
    "STILLWATCH_REDIS_URL": ("state", "redis_url"),
    "STILLWATCH_PEPPER": ("identity", "pepper"),
    "STILLWATCH_ADMIN_TOKEN": ("admin", "token"),
    # As an engine that marks has them, so that a gateway inside it needs them once.
    "STILLWATCH_WATERMARK_PROFILES_FILE": ("watermark", "profiles_file"),
    "STILLWATCH_WATERMARK_SECRETS_FILE": ("watermark", "secrets_file"),
    "STILLWATCH_WATERMARK_SECRETS": ("watermark", "secrets"),
}
OTHER_NAMES = frozenset(("STILLWATCH_ADMIN_URL", "STILLWATCH_CONFIG", "STILLWATCH_DEBUG", "STILLWATCH_BENCH"))
"""Names under the prefix that are no settings."""

FILE_SUFFIX = "_FILE"
FROM_FILES = {
    "STILLWATCH_REDIS_URL": ("state", "redis_url"),  # it may hold a password
    "STILLWATCH_PEPPER": ("identity", "pepper"),
    "STILLWATCH_PREVIOUS_PEPPER": ("identity", "previous_pepper"),
    "STILLWATCH_ADMIN_TOKEN": ("admin", "token"),
}
"""Secrets that may stand in a file, as orchestrators mount them: `<name>_FILE` is its path."""

MAX_TOLD = 5
"""Problems of one configuration that are told at once."""

MOST_CONCURRENT = 100_000
"""Far more requests at a time than one customer has; JSON and state hold no whole number however large."""

_LINK = re.compile(r"^https?://[^/@\s\"'<>]+(/[^\s\"'<>]*)?$")
"""An address that may stand in an answer to a client."""

FailureMode = Literal["open", "local", "closed"]


class Section(BaseModel):
    """Base: frozen, and an unknown field is an error rather than a silent typo."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StateSettings(Section):
    """Redis or Valkey."""

    redis_url: str = Field(
        "",
        description="redis://, rediss:// or unix:// address, or several nodes of a Cluster, comma separated; "
        "empty: a server found on PATH, else the embedded one",
    )
    cluster: bool = Field(
        False, description="redis_url is a Cluster's; several nodes always are one, so this is for a single endpoint"
    )
    data_dir: Path = Field(Path("var"), description="folder of the embedded server, the spool and the archive")
    partitions: Annotated[int, Field(ge=1, le=4096)] = Field(
        16, description="logical partitions; fixed for the life of a deployment"
    )
    decision_timeout_ms: Annotated[int, Field(ge=1, le=1000)] = Field(
        50, description="longest wait for a decision before the failure policy decides"
    )
    background_timeout_ms: Annotated[int, Field(ge=50, le=60000)] = Field(2000, description="timeout of every other call")
    spool_max_mb: Annotated[int, Field(ge=1)] = Field(
        256, description="disk spool for events while state is away; beyond it events are dropped and counted"
    )
    stream_max_entries: Annotated[int, Field(ge=1000)] = Field(
        200_000, description="entries a partition's stream may hold before new ones go to the spool"
    )

    @model_validator(mode="after")
    def _cluster_has_an_address(self) -> StateSettings:
        if self.cluster and not self.redis_url:
            raise ValueError("state.cluster needs state.redis_url, the address of the Cluster")
        return self


class IdentitySettings(Section):
    """Who is calling."""

    pepper: SecretStr = Field(
        SecretStr(""),
        description="secret for the keyed hashes of keys, addresses and payment tokens; at least 16 characters; no default",
    )
    previous_pepper: SecretStr = Field(
        SecretStr(""),
        description="the pepper before a change, while keys are taken over from their old ids to their new ones",
    )
    trusted_key_header: str = Field(
        "", description="header set by a proxy in front that names the key; empty: none is trusted"
    )
    unknown_keys: Literal["allow", "deny"] = Field(
        "allow", description="allow: the upstream authenticates; deny: a key that is in no account gets 401"
    )
    accounts_file: Path | None = Field(
        None, description="JSONL of accounts stored at each start; key is the credential itself, or give key_id, its hash"
    )
    networks_file: Path | None = Field(None, description="JSONL address plan: prefix, asn, class, country")
    trusted_proxies: tuple[str, ...] = Field((), description="networks (CIDR) whose X-Forwarded-For is believed")
    default_plan: str = Field("default", description="plan of a key without an account")


class GatewaySettings(Section):
    """The reverse proxy."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="port to listen on; 0 picks a free one")
    upstream: str = Field(
        "", description="base address of the model API, http:// or https://; its path is put before the client's"
    )
    upstream_accepts_include_usage: bool = Field(
        False, description="inject stream_options.include_usage and strip its chunk again if the client did not ask"
    )
    upstream_connect_timeout_sec: Annotated[float, Field(gt=0)] = Field(5.0, description="longest wait for a connection")
    upstream_read_timeout_sec: Annotated[float, Field(gt=0)] = Field(600.0, description="longest silence of the upstream")
    upstream_max_connections: Annotated[int, Field(ge=1)] = Field(512, description="connections kept to the upstream")
    max_connections: Annotated[int, Field(ge=1)] = Field(
        4096, description="clients connected at once, and so requests in progress; beyond it new ones are refused with 503"
    )
    max_wait_ms: Annotated[int, Field(ge=10)] = Field(
        1000,
        description="wait of a request for its turn, when the process is overloaded, after which it is refused with 503",
    )
    allowed_hosts: tuple[str, ...] = Field(("*",), description="Host values that are served; * serves any")
    max_header_count: Annotated[int, Field(ge=8)] = Field(100, description="headers a request may carry")
    max_header_bytes: Annotated[int, Field(ge=1024)] = Field(32_768, description="bytes of all headers together")
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(16 * 1024 * 1024, description="bytes of a request body")
    header_timeout_sec: Annotated[float, Field(gt=0)] = Field(10.0, description="time a client has to finish its headers")
    body_timeout_sec: Annotated[float, Field(gt=0)] = Field(60.0, description="time a client has to finish its body")
    send_timeout_sec: Annotated[float, Field(gt=0)] = Field(
        60.0, description="time a client may leave an answer unread before its connection is closed"
    )
    max_json_depth: Annotated[int, Field(ge=4, le=512)] = Field(64, description="nesting of a JSON body")
    grace_sec: Annotated[float, Field(ge=0)] = Field(30.0, description="time running streams get at shutdown")
    text_head_chars: Annotated[int, Field(ge=0, le=4096)] = Field(
        1024, description="characters kept of the head of a text until the worker has read it"
    )
    text_tail_chars: Annotated[int, Field(ge=0, le=4096)] = Field(512, description="the same for the tail")
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        9101, description="port of /metrics and /healthz; 0 picks a free one"
    )
    log_events: bool = Field(True, description="append each exchange to the event log")
    on_log_loss: FailureMode = Field(
        "local",
        description="events that cannot be appended: open drops and counts them; local spools them to disk; closed does "
        "too, and refuses requests while the spool is full",
    )
    enforce_limits: bool = Field(True, description="charge the limits of the plan")


class LimitRule(Section):
    """Budgets of one plan at one scope. None means no limit."""

    requests_per_min: Annotated[float, Field(gt=0)] | None = Field(None, description="requests per minute")
    input_tokens_per_min: Annotated[float, Field(gt=0)] | None = Field(None, description="input tokens per minute")
    output_tokens_per_min: Annotated[float, Field(gt=0)] | None = Field(None, description="output tokens per minute")
    tokens_per_day: Annotated[float, Field(gt=0)] | None = Field(None, description="input and output tokens per day")
    concurrent: Annotated[int, Field(ge=1, le=MOST_CONCURRENT)] | None = Field(
        None, description="requests running at the same time"
    )


class PlanLimits(Section):
    """What one plan allows: per key, per organisation, and per key and model (by the model's exact name or `family*`)."""

    key: LimitRule = Field(LimitRule(), description="budgets of each key")
    org: LimitRule = Field(LimitRule(), description="budgets of all keys of an organisation together")
    models: dict[str, LimitRule] = Field(default_factory=dict, description="budgets of each key for a model or `family*`")


class LimitSettings(Section):
    """Budgets by plan. `default` applies to plans that are not listed."""

    plans: dict[str, PlanLimits] = Field(
        default_factory=lambda: {"default": PlanLimits()},
        description="table of plans: limits.plans.<name>.{key,org,models}",
    )
    default_output_tokens: Annotated[int, Field(ge=1)] = Field(
        1024, description="output tokens reserved when the client sets no maximum"
    )
    on_state_loss: FailureMode = Field("local", description="open, closed, or local: a bucket in memory at limit/replicas")
    replicas: Annotated[int, Field(ge=1)] = Field(1, description="gateways that share the traffic, for the local policy")


ActionName = Literal["observe", "throttle", "cap", "step_up", "suspend"]

LADDER: tuple[ActionName, ...] = ("observe", "throttle", "cap", "step_up", "suspend")
"""Actions from the mildest on. Each includes those below it: a capped key is throttled too."""


class ActionRule(Section):
    """What enforcement does about a level."""

    action: ActionName = Field(
        "observe",
        description="observe: nothing; throttle: smaller budgets; cap: also fewer features; step_up: refused until the "
        "customer is verified; suspend: refused",
    )
    factor: Annotated[float, Field(gt=0, le=1)] = Field(0.25, description="share of its budgets that a throttled key keeps")
    requests_per_min: Annotated[float, Field(gt=0)] | None = Field(
        20.0, description="ceiling for a throttled key whose plan has none"
    )
    ttl_sec: Annotated[int, Field(ge=60)] = Field(3600, description="how long the action holds after the last verdict")


class CapRule(Section):
    """What a capped key may not use. Requests are changed, not refused; an answer is what it would be without asking."""

    strip: tuple[Literal["logprobs", "top_logprobs", "logit_bias", "n", "best_of"], ...] = Field(
        ("logprobs", "top_logprobs", "logit_bias", "n", "best_of"),
        description="parameters taken out of requests; n and best_of become 1",
    )
    reasoning: Literal["hide", "summarise", "keep"] = Field(
        "hide",
        description="reasoning that the dialect marks as such; hide: none is shown; summarise: only what the model server "
        "itself marks as a summary; keep: all",
    )


class CampaignRule(Section):
    """What policy does about the members of a campaign. A block of many keys at once is for people."""

    action: Literal["observe", "throttle"] = Field("observe", description="observe: nothing; throttle: smaller budgets")
    mode: Literal["shadow", "enforce"] = Field(
        "shadow", description="shadow: it is only shown whom it would be about; enforce: act, where enforcement.mode does"
    )
    factor: Annotated[float, Field(gt=0, le=1)] = Field(0.5, description="share of its budgets that a throttled key keeps")
    requests_per_min: Annotated[float, Field(gt=0)] | None = Field(
        40.0, description="ceiling for a throttled key whose plan has none"
    )
    ttl_sec: Annotated[int, Field(ge=60, le=30 * 86_400)] = Field(
        86_400, description="how long it holds; it is taken again while the campaign keeps its level"
    )


class CampaignRules(Section):
    """Level of a campaign → what is done about its members, and how new members get their share of it."""

    inherit_shadow_sec: Annotated[int, Field(ge=0, le=30 * 86_400)] = Field(
        3600, description="a key that joins a campaign is for so long only shown as one that the action will be about"
    )
    watch: CampaignRule = Field(CampaignRule(), description="at level watch")
    suspect: CampaignRule = Field(CampaignRule(action="throttle"), description="at level suspect")
    confirmed: CampaignRule = Field(CampaignRule(action="throttle", factor=0.25), description="at level confirmed")


class EnforcementSettings(Section):
    """Policy as data: level → action. Shadow counts what would have happened and changes nothing.

    This section is the start value; a policy file or the admin API may replace it while the gateways run.
    """

    mode: Literal["shadow", "enforce"] = Field(
        "shadow",
        description="of what policy does by itself; shadow: count only; enforce: act. A person's order acts in both",
    )
    enabled_percent: Annotated[float, Field(ge=0, le=100)] = Field(
        100.0, description="share of the keys that policy looks at at all; which ones is fixed by a hash of the key"
    )
    enforced_percent: Annotated[float, Field(ge=0, le=100)] = Field(
        100.0, description="share of the keys that policy acts on in enforce mode; the others are only counted"
    )
    automatic_up_to: ActionName = Field(
        "throttle", description="highest action that policy may take without a person; no level may ask for more"
    )
    watch: ActionRule = Field(ActionRule(), description="at level watch")
    suspect: ActionRule = Field(ActionRule(action="throttle"), description="at level suspect")
    confirmed: ActionRule = Field(ActionRule(action="throttle", factor=0.1), description="at level confirmed")
    leak: ActionRule = Field(
        ActionRule(action="throttle", factor=0.5, requests_per_min=40.0),
        description="at level watch while the leak accountant's alarm stands; action observe turns it off",
    )
    campaigns: CampaignRules = Field(CampaignRules(), description="about campaigns as a whole")
    cap: CapRule = Field(CapRule(), description="what the action cap takes away")
    step_up_url: str = Field("", description="where a customer verifies itself; told with step_up")
    appeal_url: str = Field("", description="where a customer appeals; told with suspend")
    contract_ground: Annotated[str, Field(max_length=500)] = Field(
        "the terms of use, which do not allow answers to be collected in order to train other models",
        description="the clause that a statement of reasons names, as the rest of 'This rests on …'",
    )
    stop_streams: bool = Field(True, description="end the running answers of a key when it is suspended")

    @field_validator("step_up_url", "appeal_url")
    @classmethod
    def _url_is_http(cls, value: str) -> str:
        if value and not _LINK.match(value):
            raise ValueError("must be an http:// or https:// address without credentials, spaces or quotes")
        return value

    @model_validator(mode="after")
    def _people_take_the_rest(self) -> EnforcementSettings:
        most = LADDER.index(self.automatic_up_to)
        # The default of `leak` is done only as far as automatic_up_to goes: a policy from before it had a name stays right.
        for level in ("watch", "suspect", "confirmed", *({"leak"} & self.model_fields_set)):
            asked: ActionName = getattr(self, level).action
            if LADDER.index(asked) > most:
                raise ValueError(
                    f"enforcement.{level}.action must not be above enforcement.automatic_up_to, which is "
                    f"{self.automatic_up_to}; {asked} is taken by a person"
                )
            if asked == "step_up" and not self.step_up_url:
                raise ValueError(f"enforcement.step_up_url must be set, for enforcement.{level}.action is step_up")
        return self


class ControlSettings(Section):
    """What can be changed while the processes run: the policy from a file, and the kill switch."""

    policy_file: Path | None = Field(
        None, description="TOML file with what [enforcement] may hold, at its top level; read again whenever it changes"
    )
    kill_file: Path | None = Field(
        None,
        description="while this file exists the kill switch is on: `actions`, or `all` if that word is in it; "
        "default: <data_dir>/KILL",
    )
    poll_ms: Annotated[int, Field(ge=20, le=500)] = Field(
        250, description="how often both files, and the state server if it tells nothing by itself, are looked at"
    )
    kill: Literal["", "actions", "all"] = Field(
        "", description="kill switch from the start; actions: nothing is done about verdicts and orders; all: nor limits"
    )


class WorkerSettings(Section):
    """The consumer of the event log."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,64}$")] = Field(
        "", description="name of this worker; restarted under it, it has its partitions back at once; empty: made up"
    )
    batch_entries: Annotated[int, Field(ge=1, le=10_000)] = Field(500, description="entries applied in one commit")
    poll_ms: Annotated[int, Field(ge=10)] = Field(200, description="pause when nothing is waiting")
    lease_ms: Annotated[int, Field(ge=1000)] = Field(10_000, description="how long a partition stays owned without renewal")
    hot_profiles: Annotated[int, Field(ge=100)] = Field(50_000, description="profiles kept in memory")
    model_dir: Path | None = Field(None, description="fitted model; without one, only the named rules judge")
    archive_dir: Path | None = Field(None, description="folder of the Parquet archive; default: <data_dir>/archive")
    archive_rows: Annotated[int, Field(ge=100)] = Field(20_000, description="rows after which an archive file is written")
    archive_sec: Annotated[float, Field(gt=0)] = Field(60.0, description="age after which waiting rows are written anyway")
    archive_days: Annotated[int, Field(ge=0)] = Field(
        90, description="days the archive is kept; its older day folders are deleted; 0 keeps them for ever"
    )
    look_hours: Annotated[int, Field(ge=1, le=168)] = Field(
        24,
        description="event time between two looks at the whole fleet: features in which it moved at once are frozen, and "
        "keys that stand out are listed",
    )
    called_honest_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="of the keys that a look lists, the share that may be expected to be honest"
    )
    link: bool = Field(
        True, description="keys that act together are linked to campaigns, by one of the workers; the same for all workers"
    )
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        9102, description="port of /metrics and /healthz; 0 picks a free one"
    )


class AdminSettings(Section):
    """HTTP for operators."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8081, description="port to listen on; 0 picks a free one")
    token: SecretStr = Field(
        SecretStr(""),
        description="bootstrap token of the admin API, role admin; at least 24 random characters; no default",
    )
    audit_retention_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        400, description="how long records of the audit log are kept"
    )
    appeal_sla_hours: Annotated[float, Field(gt=0)] = Field(72.0, description="time in which an appeal is to be decided")
    appeal_text_days: Annotated[int, Field(ge=1, le=400)] = Field(
        180, description="how long a customer's own words in an appeal are kept; what was decided is kept for 400 days"
    )


class WatermarkSettings(Section):
    """Marks in answers, by which a data set is traced to the keys it came through. None without a profile."""

    profile: tuple[str, ...] = Field(
        (),
        description="ids of the profiles whose marks the engine makes; in force is the one that is valid today, of several "
        "the one that became valid last; none: the engine is asked for no marks",
    )
    choice_profile: tuple[str, ...] = Field(
        (),
        description="the same of profiles of the scheme choice: an answer to a key at level suspect or above is the best "
        "of several; for an upstream that can make no marks itself",
    )
    profiles_file: Path | None = Field(None, description="JSON file of all profiles that marks were ever made with")
    secrets_file: Path | None = Field(
        None,
        description="JSON file: epoch → master secret of 64 hexadecimal digits; nobody but its owner may read it (0600)",
    )
    secrets: SecretStr = Field(SecretStr(""), description="the same as text, in place of the file")
    engine: Literal["none", "vllm", "sglang"] = Field(
        "none", description="what the upstream is, and so how a request says which mark its answer gets"
    )
    tenant: Literal["key", "organisation"] = Field(
        "key", description="who has a mark of its own: each key, or all keys of an organisation together"
    )
    expected_excess_per_token: Annotated[float, Field(gt=0, le=10)] = Field(
        0.15,
        description="evidence in nats that a marked token is taken for in the ledger, where the engine reports none; 0.15 "
        "is what answers of a quarter of a bit per token give",
    )
    choice_chunk_words: Annotated[int, Field(ge=10, le=2000)] = Field(
        40, description="words of each candidate that are waited for before the best one of a stream is chosen"
    )
    choice_otherwise: Literal["unmarked", "refuse"] = Field(
        "unmarked",
        description="operations that can only give one answer (messages, responses), where a choice is due; unmarked: let "
        "them pass; refuse: with 403",
    )

    tokenizers_dir: Path | None = Field(
        None,
        description="folder of tokenizer files for investigations of the admin API; the profile's is found by its SHA-256, "
        "whatever it is called",
    )
    investigations_dir: Path | None = Field(
        None,
        description="folder where the admin process keeps investigations: what was uploaded until it is scanned, the "
        "evidence and the reports; default: <data_dir>/investigations",
    )
    investigations_max_mb: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1024, description="largest data set that may be uploaded for an investigation, in MiB"
    )
    investigations_most: Annotated[int, Field(ge=1, le=1000)] = Field(
        50, description="most investigations that are kept at the same time"
    )
    investigations_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        180, description="how long an investigation is kept after it was last run or changed"
    )

    @field_validator("profile", "choice_profile", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def on(self) -> bool:
        """Answers are marked."""
        return bool(self.profile or self.choice_profile)

    @model_validator(mode="after")
    def _fits_together(self) -> WatermarkSettings:
        if self.secrets_file and self.secrets.get_secret_value():
            raise ValueError("watermark.secrets_file and watermark.secrets are both set; one of them must go")
        if self.profile and self.engine == "none":
            raise ValueError("watermark.engine must be vllm or sglang where watermark.profile is set")
        if self.choice_profile and self.engine != "none":
            raise ValueError(
                f"watermark.choice_profile is for an upstream that makes no marks, and watermark.engine is {self.engine}"
            )
        if self.on and not self.profiles_file:
            raise ValueError("watermark.profiles_file must be set, for a profile is named")
        if self.on and not self.secrets_file and not self.secrets.get_secret_value():
            raise ValueError("watermark.secrets_file must be set, for a profile is named")
        return self


class IntelSettings(Section):
    """What is shared with other providers."""

    peers_file: Path | None = Field(
        None, description="TOML file of the peers whose TAXII collections the admin process reads; none: it reads nothing"
    )
    provider: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .&+-]{1,79}$|^$")] = Field(
        "", description="name under which campaigns are published, as other providers know it; without one none can be"
    )
    keys_dir: Path | None = Field(
        None,
        description="folder with a file <trust group>.json for each group: epoch → secret of 64 hexadecimal digits that "
        "its members share, 0600; without one nothing of that group is compared or published",
    )
    signing_key_file: Path | None = Field(
        None,
        description="Ed25519 private key in PEM, 0600, that signs what is exported; `stillwatch intel keygen` makes one",
    )
    warning_list_file: Path | None = Field(
        None,
        description="text file of values that received indicators may not name, one a line: networks, AS numbers, names of "
        "clients; their own staff, evaluation labs, shared NATs and clouds belong here",
    )
    automatic: Literal["off", "shadow", "real"] = Field(
        "shadow",
        description="what follows when two independent reporters, or one and evidence of our own, name a key: off: nothing "
        "but a higher place in the queue of reviews; shadow: what would be done is recorded; real: the policy's action "
        "about suspects is ordered",
    )


class LogSettings(Section):
    """What a process writes to standard error. Neither form holds prompts, credentials or addresses."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is written")
    format: Literal["plain", "json"] = Field("plain", description="plain: lines for people; json: one object per line")


class Settings(Section):
    """The whole tree."""

    state: StateSettings = StateSettings()
    identity: IdentitySettings = IdentitySettings()
    gateway: GatewaySettings = GatewaySettings()
    limits: LimitSettings = LimitSettings()
    enforcement: EnforcementSettings = EnforcementSettings()
    control: ControlSettings = ControlSettings()
    worker: WorkerSettings = WorkerSettings()
    admin: AdminSettings = AdminSettings()
    watermark: WatermarkSettings = WatermarkSettings()
    intel: IntelSettings = IntelSettings()
    log: LogSettings = LogSettings()

    @field_validator("identity")
    @classmethod
    def _pepper_is_long(cls, value: IdentitySettings) -> IdentitySettings:
        secret = value.pepper.get_secret_value()
        if secret and len(secret) < 16:
            raise ValueError("identity.pepper must have at least 16 characters")
        if secret and secret == value.previous_pepper.get_secret_value():
            raise ValueError("identity.previous_pepper must differ from identity.pepper: it is the one before it")
        return value

    @field_validator("admin")
    @classmethod
    def _token_is_long(cls, value: AdminSettings) -> AdminSettings:
        secret = value.token.get_secret_value()
        if secret and len(secret) < 24:
            raise ValueError("admin.token must have at least 24 characters")
        return value

    @field_validator("gateway")
    @classmethod
    def _upstream_is_http(cls, value: GatewaySettings) -> GatewaySettings:
        if value.upstream and not re.match(r"^https?://[^/@\s]+(/[^?#\s]*)?$", value.upstream):
            raise ValueError(
                "gateway.upstream must be http:// or https://, a host, and optionally a path, without credentials"
            )
        return value

    @model_validator(mode="after")
    def _level_is_known(self) -> Settings:
        if self.watermark.choice_profile and not self.gateway.enforce_limits:
            raise ValueError(
                "gateway.enforce_limits must be true where watermark.choice_profile is set: a key's level comes with them"
            )
        return self

    @model_validator(mode="after")
    def _default_plan_exists(self) -> Settings:
        if "default" not in self.limits.plans:
            raise ValueError("limits.plans must have an entry named default")
        return self

    @property
    def archive_dir(self) -> Path:
        """Where the archive is, configured or by default under the data folder."""
        return self.worker.archive_dir or self.state.data_dir / "archive"

    @property
    def kill_file(self) -> Path:
        """The file that switches everything off, configured or by default in the data folder."""
        return self.control.kill_file or self.state.data_dir / "KILL"

    @property
    def investigations_dir(self) -> Path:
        """Where the admin process keeps investigations, configured or by default in the data folder."""
        return self.watermark.investigations_dir or self.state.data_dir / "investigations"

    @property
    def spool_dir(self) -> Path:
        """Where a gateway spools events while state is away."""
        return self.state.data_dir / "spool"


def load(
    path: Path | None = None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """File, then environment, then command-line overrides → Settings.

    Args:
        path: TOML file; None reads none.
        environ: environment to read; None takes the process's own.
        overrides: {"section.field": value}, as set on the command line; values of None are skipped.

    Raises:
        ConfigError: the file cannot be read, a field is unknown, or a value breaks its rule.
    """
    tree = _read_file(path) if path else {}
    origins: dict[tuple[str, str], str] = {}
    for name, (section, field), value in _from_environ(os.environ if environ is None else environ):
        if _put(tree, section, field, value):
            origins[section, field] = name
    for name, value in (overrides or {}).items():
        if value is not None:
            section, _, field = name.partition(".")
            if _put(tree, section, field, value):
                origins.pop((section, field), None)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(sentence(error, origins)) from None


def strangers(environ: Mapping[str, str] | None = None) -> str:
    """A sentence about variables under the prefix that are read by nobody; "" when there are none.

    They may belong to another program, so they are no error; those with two underscores are, in `load`.
    """
    names = sorted(
        name
        for name in (os.environ if environ is None else environ)
        if name.startswith(ENV_PREFIX)
        and "__" not in name
        and name not in SHORT_NAMES
        and name not in OTHER_NAMES
        and name.removesuffix(FILE_SUFFIX) not in FROM_FILES
    )
    if not names:
        return ""
    told = ", ".join(names[:MAX_TOLD]) + (f" and {len(names) - MAX_TOLD} more" if len(names) > MAX_TOLD else "")
    return f"{told} in the environment: no such setting; the names are {ENV_PREFIX}SECTION__FIELD, with two underscores"


def _put(tree: dict[str, Any], section: str, field: str, value: Any) -> bool:
    """Set one field; false where the file has something else than a table, which validation then refuses."""
    table = tree.setdefault(section, {})
    if isinstance(table, dict):
        table[field] = value
        return True
    return False


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror or 'cannot be read'}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} is no valid TOML: {error}") from None


def _from_environ(environ: Mapping[str, str]) -> list[tuple[str, tuple[str, str], Any]]:
    """(name of the variable, (section, field), value); where a setting has both of its names, the long one comes last."""
    found: list[tuple[str, tuple[str, str], Any]] = []
    for name in sorted(environ, key=lambda name: (name not in SHORT_NAMES, name)):
        value = environ[name]
        if name in SHORT_NAMES:
            found.append((name, SHORT_NAMES[name], value))
        elif name.endswith(FILE_SUFFIX) and name.removesuffix(FILE_SUFFIX) in FROM_FILES:
            plain = name.removesuffix(FILE_SUFFIX)
            section, field = FROM_FILES[plain]
            for other in (plain, f"{ENV_PREFIX}{section}__{field}".upper()):
                if other in environ:
                    raise ConfigError(f"{name} and {other} are both set; one of them must go")
            found.append((name, (section, field), _secret(name, value)))
        elif name.startswith(ENV_PREFIX) and "__" in name:
            section, _, field = name[len(ENV_PREFIX) :].lower().partition("__")
            listed = field in ("allowed_hosts", "trusted_proxies")
            parts = tuple(part.strip() for part in value.split(",") if part.strip()) if listed else value
            found.append((name, (section, field), parts))
    return found


def _secret(name: str, path: str) -> str:
    """Content of a secret's file.

    Raises:
        ConfigError: it cannot be read, or is empty; what it holds is never quoted.
    """
    try:
        text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {getattr(error, 'strerror', None) or 'the file is no text'}") from None
    if not text:
        raise ConfigError(f"{name}: the file is empty")
    return text


_RULES = {
    "extra_forbidden": "no such setting",
    "tuple_type": 'must be a list, such as ["a", "b"]',
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be text",
    "path_type": "must be a path",
}
"""Rules in an operator's words, by the validator's name for them; others are its own sentence."""


def sentence(error: ValidationError, origins: Mapping[tuple[str, str], str] | None = None) -> str:
    """The problems as "section.field: rule" — without the values, which may be secrets.

    Args:
        error: of a section or of the whole tree.
        origins: (section, field) → name of the variable that the value came from.
    """
    told = []
    origins = origins or {}
    for found in error.errors(include_input=False, include_url=False)[:MAX_TOLD]:
        place = ".".join(str(part) for part in found["loc"])
        rule = _RULES.get(found["type"]) or found["msg"].removeprefix("Value error, ")
        rule = re.sub(r"^(Input|String) should ", "must ", rule)
        text = rule if place and rule.startswith(place) else f"{place}: {rule}" if place else rule
        names = [name for where, name in origins.items() if where[: len(found["loc"])] == found["loc"][:2]]
        # A rule of a whole section names its field itself; which of its variables broke it is not known here.
        told.append(text if rule.startswith(place) or not names else f"{text} ({', '.join(names)})")
    more = error.error_count() - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")
