"""policy: what is in force, what another one would do, and putting it in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.acting import MaybeWhy, Yes, counted, print_json, read_bytes, sure, tell
from app.cli.api import AdminUrl, Api, connect
from app.cli.common import AsJson, Config, Sets, err, out, plain_table

group = typer.Typer(help="Show the response policy, try another one on the keys as they are, put it in force.")

MAX_POLICY_BYTES = 64 * 1024

PolicyFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="TOML, or JSON if it ends so; - for TOML on standard input.")
]


@group.command("show")
def show_policy(as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """Print the policy in force as TOML, ready to be changed and set; where it comes from goes to standard error.

    Example: [bold]stillwatch policy show > policy.toml[/bold]
    """
    found = connect(config, sets, url).get("/v1/policy")
    if as_json:
        print_json(found)
        return
    err.print(f"policy {found['digest']} from {found['source']}, version {found['version']}", markup=False)
    for digest, number in found["gateways"].items():
        if digest != found["digest"]:
            err.print(f"! {counted(number, 'gateway')} with another policy in force: {digest}", markup=False)
    tell([f"! {sentence}" for sentence in found["warnings"]])
    print(found["toml"], end="")


@group.command("preview")
def preview_policy(
    file: PolicyFile, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Show what a policy would do about the keys as they are judged now, and what that changes. Nothing is done.

    Example: [bold]stillwatch policy preview policy.toml[/bold]
    """
    found = _preview(connect(config, sets, url), file)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["action"],
            f"{one['keys']:,}",
            f"{one['enforced']:,}",
            f"{one['organisations']:,}",
            ", ".join(one["examples"][:2]),
        )
        for one in found["groups"]
    ]
    plain_table(rows, ("action", "keys", "really", "organisations", "such as"))
    for line in _told(found):
        out.print(line, soft_wrap=True, markup=False)


@group.command("set")
def set_policy(
    file: PolicyFile,
    reason: MaybeWhy = "",
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Put a policy in force at every gateway, within a second. Shows first what it changes, and asks.

    Example: [bold]stillwatch policy set policy.toml[/bold]
    """
    api = connect(config, sets, url)
    version = api.get("/v1/policy")["version"]
    if not yes:
        tell(_told(_preview(api, file)))
        sure("Put it in force?", yes)
    asked = {"reason": reason or None}
    done = api.call("PUT", "/v1/policy", query=asked, **_sent(file, {"if-match": str(version)}))
    if as_json:
        print_json(done)
        return
    out.print(f"policy {done['digest']} is stored, version {done['version']}; gateways take it over within a second")
    tell([f"! {sentence}" for sentence in done["warnings"]])


@group.command("reset")
def reset_policy(
    reason: MaybeWhy = "", yes: Yes = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Forget the stored policy: that of the settings is in force again.

    Example: [bold]stillwatch policy reset[/bold]
    """
    api = connect(config, sets, url)
    version = api.get("/v1/policy")["version"]
    sure("Forget the stored policy?", yes)
    api.call("DELETE", "/v1/policy", query={"reason": reason or None}, headers={"if-match": str(version)})
    out.print("The policy of the settings is in force again.")


def _sent(file: Path, headers: dict[str, str]) -> dict[str, Any]:
    media_type = "application/json" if file.suffix == ".json" else "application/toml"
    return {"content": read_bytes(file, MAX_POLICY_BYTES), "headers": {**headers, "content-type": media_type}}


def _preview(api: Api, file: Path) -> dict[str, Any]:
    found: dict[str, Any] = api.call("POST", "/v1/policy:preview", **_sent(file, {}))
    return found


def _told(found: dict[str, Any]) -> list[str]:
    lines = [
        f"{found['keys']:,} keys are above clear{' (more were not looked at)' if found['cut'] else ''}; "
        f"{found['allowed']:,} on the allow-list, {found['authorised']:,} with a contracted use, "
        f"{found['ordered']:,} under a person's order"
    ]
    lines += [f"{one['keys']:,} keys: {one['before']} → {one['after']}" for one in found["moves"]]
    if not found["moves"]:
        lines.append("nothing changes about any key as it is judged now")
    return lines + [f"! {sentence}" for sentence in found["warnings"]]
