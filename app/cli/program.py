"""The commands in the order in which help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import (
    accounts,
    allow,
    appeals,
    archive,
    audit,
    calibrate,
    campaigns,
    config,
    demo,
    erase,
    evaluate,
    identify,
    intel,
    intel_example,
    intel_export,
    intel_indicators,
    intel_intersect,
    intel_keygen,
    intel_match,
    intel_publish,
    intel_pull,
    intel_verify,
    key_history,
    keys,
    kill,
    labels,
    link,
    orders,
    plans,
    policy,
    promote,
    proposals,
    reasons,
    replay,
    report,
    services,
    tokens,
    train,
    watermark,
    watermark_engine,
    watermark_example,
    watermark_investigations,
    watermark_student,
)

program = typer.Typer(
    name="stillwatch",
    help="Finds the keys that harvest a model API to train another model. Judges each key and each organisation.",
    epilog="Settings come from a TOML file (--config), the environment (STILLWATCH_SECTION__FIELD) and --set; "
    "the last wins. Exit status: 0 done, 1 tried and failed, 2 wrong option or setting.",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SHOW = "See it work"
_RUN = "Run the service"
_LOOK = "Look and check"
_MODEL = "Make and examine models"
_ACT = "Act, through the admin API"

program.command("demo", rich_help_panel=_SHOW)(demo.demo)
program.command("serve", rich_help_panel=_RUN)(services.serve)
program.command("worker", rich_help_panel=_RUN)(services.worker)
program.command("admin", rich_help_panel=_RUN)(services.admin)
program.command("all", rich_help_panel=_RUN)(services.everything)
program.command("replay", rich_help_panel=_LOOK)(replay.replay)
program.command("link", rich_help_panel=_LOOK)(link.link)
program.command("calibrate", rich_help_panel=_MODEL)(calibrate.calibrate)
program.command("train", rich_help_panel=_MODEL)(train.train)
program.command("evaluate", rich_help_panel=_MODEL)(evaluate.evaluate)
program.command("promote", rich_help_panel=_MODEL)(promote.promote)
program.command("held", rich_help_panel=_LOOK)(erase.held)
program.command("erase", rich_help_panel=_LOOK)(erase.erase)
program.command("id", rich_help_panel=_LOOK)(identify.identify)
program.command("reasons", rich_help_panel=_LOOK)(reasons.reasons)
intel.group.command("publish")(intel_publish.publish)
intel.group.add_typer(intel_publish.publications, name="publications")
intel.group.command("approve")(intel_publish.approve)
intel.group.command("refuse")(intel_publish.refuse)
intel.group.command("retract")(intel_publish.retract)
intel.group.command("match")(intel_match.match)
intel.group.command("indicators")(intel_indicators.indicators)
intel.group.command("reporters")(intel_indicators.reporters)
intel.group.command("agree")(intel_indicators.agree)
intel.group.command("disagree")(intel_indicators.disagree)
intel.group.command("pull")(intel_pull.pull)
intel.group.command("verify")(intel_verify.verify)
intel.group.command("export")(intel_export.export)
intel.group.command("example")(intel_example.example)
intel.group.command("keygen")(intel_keygen.keygen)
keys.group.command("events")(key_history.events)
keys.group.command("flags")(key_history.flags)
watermark.group.command("engine")(watermark_engine.engine)
watermark.group.command("example")(watermark_example.example)
watermark.group.command("served")(watermark_student.served)
watermark.group.command("student")(watermark_student.student)
watermark.group.add_typer(watermark_investigations.group, name="investigations")
program.add_typer(keys.group, name="keys", rich_help_panel=_LOOK)
program.add_typer(archive.group, name="archive", rich_help_panel=_LOOK)
program.add_typer(tokens.group, name="tokens", rich_help_panel=_LOOK)
program.add_typer(audit.group, name="audit", rich_help_panel=_LOOK)
program.add_typer(config.group, name="config", rich_help_panel=_LOOK)
intel.group.add_typer(intel_intersect.group, name="intersect")
program.add_typer(intel.group, name="intel", rich_help_panel=_LOOK)
program.add_typer(report.group, name="report", rich_help_panel=_LOOK)
program.add_typer(watermark.group, name="watermark", rich_help_panel=_LOOK)
program.add_typer(orders.group, name="orders", rich_help_panel=_ACT)
program.add_typer(campaigns.group, name="campaigns", rich_help_panel=_ACT)
program.add_typer(proposals.group, name="proposals", rich_help_panel=_ACT)
program.add_typer(policy.group, name="policy", rich_help_panel=_ACT)
program.add_typer(plans.group, name="plans", rich_help_panel=_ACT)
program.add_typer(allow.group, name="allow", rich_help_panel=_ACT)
program.add_typer(kill.group, name="kill", rich_help_panel=_ACT)
program.add_typer(accounts.group, name="accounts", rich_help_panel=_ACT)
program.add_typer(appeals.group, name="appeals", rich_help_panel=_ACT)
program.add_typer(labels.group, name="labels", rich_help_panel=_ACT)


@program.command("version", rich_help_panel=_LOOK)
def version() -> None:
    """Print the version."""
    from app.telemetry.exposition import version

    print(version())


@program.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if show_version:
        version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)
