"""intel intersect: which accounts a peer sees too, by files that are handed over in whatever way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import intersecting as files
from app.cli.acting import Yes, print_json, read_bytes, sure, when
from app.cli.api import AdminUrl, connect
from app.cli.common import AsJson, Config, Sets, out, plain_table, settle
from app.cli.intersecting import Accounts, AnswerFile, GroupName, Out, With
from app.errors import ConfigError

group = typer.Typer(
    help="Ask a peer how many accounts both see, and then which; neither shows the others. Needs the extra intersect.",
)


@group.command("offer")
def offer(
    accounts: Accounts,
    peer: With,
    group_name: GroupName,
    out_file: Out,
    epoch: Annotated[
        str, typer.Option("--epoch", metavar="NAME", help="Of the group's key. Default: the last one in its file.")
    ] = "",
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Begin: ask a peer how many of these accounts it sees too. The file says how many they are, and nothing of any.

    Example: [bold]stillwatch intel intersect offer --accounts mine.txt --with acme --group labs --out for-acme[/bold]
    """
    from app.intel.intersect import curve, exchange, identities
    from app.intel.intersect.bounds import MOST_ASKER
    from detectors.sharing.tokens import GroupKey

    curve.library()
    settings = settle(config, sets)
    ring = files.ring(settings, group_name)
    epoch = epoch or ring.epochs[-1]
    if epoch not in ring.epochs:
        raise ConfigError(f"--epoch: intel.keys_dir has no key of {group_name} for it")
    secret = ring.of(epoch)
    tokens = identities.tokens(files.read(accounts), GroupKey(secret), MOST_ASKER)
    files.free(out_file)
    with files.meter("blinding", len(tokens)) as told:
        session, file = exchange.begun(tokens, group_name, epoch, peer, secret, told)
    about = {"run": session.run, "group": group_name, "peer": peer, "commitment": session.commitment}
    body = {**about, "role": "asker", "reveals": False, "own": session.asker}
    taken = connect(config, sets, url).call("POST", "/v1/intel/intersections", body)
    files.sessions(settings).keep(session)
    files.write(out_file, file)
    _say(f"run {session.run}: {session.asker:,} accounts, in {out_file} for {peer}")
    files.tell_left(taken)


@group.command("answer")
def answer(
    accounts: Accounts,
    peer: With,
    group_name: GroupName,
    offer_file: Annotated[Path, typer.Option("--offer", metavar="FILE", help="What the peer handed over.")],
    out_file: Out,
    reveal: Annotated[
        bool,
        typer.Option("--reveal", help="Agree that the peer learns which accounts are common, where its offer asks that."),
    ] = False,
    yes: Yes = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Answer a peer's offer. It learns how many of its accounts are among these, and with --reveal which; we learn nothing.

    Example: [bold]stillwatch intel intersect answer --accounts all --with acme --group labs --offer asked --out told[/bold]
    """
    from app.intel.intersect import curve, exchange, identities, wire
    from app.intel.intersect.bounds import MOST_ANSWERER
    from detectors.sharing.tokens import GroupKey

    curve.library()
    ring = files.ring(settle(config, sets), group_name)
    header, elements = wire.opened(read_bytes(offer_file, wire.MAX_BYTES), "offer", group_name, ring)
    if header.reveals and not reveal:
        raise ConfigError("--reveal: the offer asks which accounts are common; it is answered only where this agrees to it")
    if reveal and not header.reveals:
        raise ConfigError("--reveal: the offer asks for the size alone; answer it without")
    secret = ring.of(header.epoch)
    tokens = identities.tokens(files.read(accounts), GroupKey(secret), MOST_ANSWERER)
    files.free(out_file)
    if header.reveals:
        sure(f"Show {peer} which of its {header.asker:,} accounts are among these {len(tokens):,}?", yes)
    about = {"run": header.run, "group": group_name, "peer": peer, "commitment": header.commitment}
    body = {**about, "role": "answerer", "reveals": header.reveals, "own": len(tokens), "theirs": header.asker}
    taken = connect(config, sets, url).call("POST", "/v1/intel/intersections", body)
    with files.meter("blinding", len(tokens) + header.asker) as told:
        file = exchange.answer(header, elements, tokens, secret, told)
    files.write(out_file, file)
    asked = "which are common" if header.reveals else "how many are common"
    _say(f"run {header.run}: {peer} asks about {header.asker:,}, {asked}; the answer is in {out_file}")
    files.tell_left(taken)


@group.command("cardinality")
def cardinality(
    answer_file: AnswerFile,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Read the answer to the first offer: how many accounts both sides see.

    Example: [bold]stillwatch intel intersect cardinality --answer from-acme[/bold]
    """
    from app.intel.intersect import curve, exchange, wire

    curve.library()
    settings = settle(config, sets)
    data = read_bytes(answer_file, wire.MAX_BYTES)
    kept = files.sessions(settings)
    session = kept.of(wire.claimed(data, "answer").run)
    header, elements = wire.opened(data, "answer", session.group, files.ring(settings, session.group))
    with files.meter("comparing", session.asker) as told:
        size = exchange.size(session, header, elements, told)
    files.record(connect(config, sets, url), session.run, False, size, header.answerer)
    kept.sized(session, size)
    if as_json:
        found = {"run": session.run, "peer": session.peer, "own": session.asker, "theirs": header.answerer, "common": size}
        print_json(found)
        return
    _say(f"{size:,} of our {session.asker:,} accounts are among the {header.answerer:,} of {session.peer}")


@group.command("offer-members")
def offer_members(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run, as the first offer printed it.")],
    accounts: Accounts,
    out_file: Out,
    yes: Yes = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Once the size is known: ask the peer which accounts are common. The accounts must be those of the first offer.

    Example: [bold]stillwatch intel intersect offer-members 4c0a6e0c9d7b4f0fb8a5b4f9e9c1d2e3 --accounts mine --out B[/bold]
    """
    from app.intel.intersect import curve, exchange, identities
    from app.intel.intersect.bounds import MOST_ASKER
    from detectors.sharing.tokens import GroupKey

    curve.library()
    settings = settle(config, sets)
    session = files.sessions(settings).of(run)
    secret = files.secret(files.ring(settings, session.group), session.epoch)
    tokens = identities.tokens(files.read(accounts), GroupKey(secret), MOST_ASKER)
    files.free(out_file)
    with files.meter("blinding", len(tokens)) as told:
        file = exchange.asked(session, tokens, secret, told)
    sure(f"Ask {session.peer} which {session.size:,} of our {session.asker:,} accounts it sees too?", yes)
    about = {"run": run, "group": session.group, "peer": session.peer, "commitment": session.commitment}
    body = {**about, "role": "asker", "reveals": True, "own": session.asker}
    taken = connect(config, sets, url).call("POST", "/v1/intel/intersections", body)
    files.write(out_file, file)
    _say(f"run {run}: the offer about members is in {out_file} for {session.peer}")
    files.tell_left(taken)


@group.command("reveal")
def reveal(
    accounts: Accounts,
    answer_file: AnswerFile,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Read the answer to the second offer: the accounts that both sides see, as they stand in our own file. Ends the run.

    Example: [bold]stillwatch intel intersect reveal --accounts mine.txt --answer from-acme[/bold]
    """
    from app.intel.intersect import curve, exchange, identities, wire
    from app.intel.intersect.bounds import MOST_ASKER
    from detectors.sharing.tokens import GroupKey

    curve.library()
    settings = settle(config, sets)
    data = read_bytes(answer_file, wire.MAX_BYTES)
    kept = files.sessions(settings)
    session = kept.of(wire.claimed(data, "answer").run)
    ring = files.ring(settings, session.group)
    header, elements = wire.opened(data, "answer", session.group, ring)
    tokens = identities.tokens(files.read(accounts), GroupKey(files.secret(ring, session.epoch)), MOST_ASKER)
    with files.meter("comparing", 2 * session.asker) as told:
        members = exchange.members(session, header, elements, tokens, told)
    files.record(connect(config, sets, url), session.run, True, len(members), header.answerer)
    kept.forget(session.run)
    found = sorted(members.values())
    if as_json:
        print_json({"run": session.run, "peer": session.peer, "common": found})
        return
    for account in found:
        print(account)


@group.command("runs")
def runs(as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """List runs, the newest first: with whom, how large, by whom. Results are in the audit log.

    Example: [bold]stillwatch intel intersect runs[/bold]
    """
    found = connect(config, sets, url).get("/v1/intel/intersections")["runs"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("There was no run yet.")
        return
    rows = [_row(one) for one in found]
    plain_table(rows, ("at", "peer", "group", "role", "about", "ours", "theirs", "by", "run"))


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    about = "members" if one["reveals"] else "size"
    theirs = f"{one['theirs']:,}" if one["theirs"] else "-"
    sizes = (f"{one['own']:,}", theirs)
    return (when(one["at"]), one["peer"], one["group"], one["role"], about, *sizes, one["by"], one["run"])


def _say(line: str) -> None:
    out.print(line, soft_wrap=True, markup=False)
