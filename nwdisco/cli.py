"""The `nwdisco` command. Exit status: 0 done, 1 nothing found or nothing running, 2 used wrongly or failed."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import click

from . import config, discovery, errors
from .beacon import start
from .connection import Connection, Gone
from .core.names import is_clean
from .results import Event, Service
from .settings import SETTINGS, Settings, host_and_port, plain_services, room_name

SETTINGS_HELP = "Settings, from the environment:\n\n" + "\n\n".join(
    f"{variable} (default: {default or 'none'}): {text}" for _, variable, default, text in SETTINGS
)


NO_WRAP = 10_000
"""Columns of a table: nothing is shortened to what a terminal happens to have."""


class _Commands(click.Group):
    """Errors of nwdisco are for the user: a line, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (errors.NwdiscoError, ValueError) as error:
            click.echo(f"nwdisco: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(130)


@click.group(cls=_Commands, epilog=SETTINGS_HELP)
@click.version_option(config.VERSION, prog_name="nwdisco")
@click.option("--room", help="The room of all that follows (NWDISCO_ROOM).")
def main(room: str | None) -> None:
    """Service discovery on a local network that needs no set-up."""
    if room is not None:
        os.environ["NWDISCO_ROOM"] = room_name("--room", room)


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@main.command()
@click.option("--shim", metavar="HOST:PORT", help="Where programs register over TCP (NWDISCO_SHIM).")
@click.option("--no-shim", is_flag=True, help="Nowhere.")
@click.option("--networkzero", is_flag=True, help="Speak with NetworkZero's programs too (NWDISCO_NETWORKZERO).")
@click.option("--room", help="The room (NWDISCO_ROOM).")
@click.option("--etcd", metavar="HOST:PORT[,...]", help="An etcd, for more than one LAN (NWDISCO_ETCD).")
@click.option(
    "--etcd-plain", metavar="SERVICE[,...]", help="Services that stand there plainly too (NWDISCO_ETCD_PLAIN)."
)
def beacon(
    shim: str | None, no_shim: bool, networkzero: bool, room: str | None, etcd: str | None, etcd_plain: str | None
) -> None:
    """Run the beacon in the foreground, for a service manager. SIGTERM and Ctrl-C end it with a goodbye."""
    from .beacon.process import run_beacon

    settings = Settings.from_environment()
    if shim is not None and no_shim:
        raise click.UsageError("--shim and --no-shim: give one of them")
    if shim is not None:
        settings.shim = host_and_port("--shim", shim)
    elif no_shim:
        settings.shim = None
    settings.networkzero = settings.networkzero or networkzero
    if room is not None:
        settings.room = room_name("--room", room)
    settings.etcd = settings.etcd if etcd is None else etcd
    if etcd_plain is not None:
        settings.etcd_plain = plain_services("--etcd-plain", etcd_plain)
    run_beacon(settings, lambda: None, idle_s=None)


@main.command()
@click.argument("name")
@click.argument("address", required=False)
@click.option("-p", "--property", "pairs", multiple=True, metavar="KEY=VALUE", help="A property; as often as needed.")
@click.option("--ttl", "ttl_s", type=float, default=config.TTL_S, show_default=True, help="Time to live, in seconds.")
@click.option("--fail-if-exists", is_flag=True, help="Fail when anybody on the network has the name.")
@json_option
def advertise(
    name: str, address: str | None, pairs: tuple[str, ...], ttl_s: float, fail_if_exists: bool, as_json: bool
) -> None:
    """Advertise NAME at ADDRESS (a free port of this machine if left out) until Ctrl-C."""
    properties = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"the property {pair!r} has no '=': write KEY=VALUE")
        properties[key] = value
    given = discovery.advertise(name, address, fail_if_exists, ttl_s, properties)
    signals = _signals()
    click.echo(json.dumps({"name": name, "address": given}) if as_json else given)
    sys.stdout.flush()
    os.read(signals, 1)
    discovery.unadvertise(name)


@main.command()
@click.argument("name")
@click.option("--wait", "wait_s", type=float, default=60, show_default=True, help="Seconds to wait for it.")
@json_option
def discover(name: str, wait_s: float, as_json: bool) -> None:
    """Print the address of NAME; exit status 1 when nobody advertises it."""
    found = discovery.discover(name, wait_s)
    if found is None:
        if not as_json:
            click.echo(f"nwdisco: nobody advertises {name!r}", err=True)
        sys.exit(1)
    click.echo(json.dumps({"name": name, "address": found}) if as_json else found)


@main.command("list")
@click.argument("group", required=False)
@click.option("--separator", default="/", show_default=True)
@json_option
def list_(group: str | None, separator: str, as_json: bool) -> None:
    """List the services of GROUP, or all; exit status 1 when there are none."""
    found = discovery.discover_all() if group is None else discovery.discover_group(group, separator)
    if as_json:
        for service in found:
            click.echo(json.dumps(_plain(service)))
    elif found:
        from rich.console import Console
        from rich.table import Table

        table = Table("name", "address", "properties", "node", "age", box=None, pad_edge=False)
        for service in found:
            pairs = " ".join(f"{key}={_shown(value)}" for key, value in service.properties.items())
            table.add_row(service.name, service.address, pairs, service.node, f"{service.age_s:.0f} s")
        Console(highlight=False, markup=False, width=NO_WRAP).print(table)
    if not found:
        sys.exit(1)


@main.command()
@click.argument("group", required=False)
@click.option("--separator", default="/", show_default=True)
@click.option("--wait", "wait_s", type=float, default=None, help="Seconds to watch; for ever if left out.")
@json_option
def watch(group: str | None, separator: str, wait_s: float | None, as_json: bool) -> None:
    """Print what joins, changes and leaves, in GROUP or everywhere."""
    limit = config.FOREVER if wait_s is None else wait_s
    for event in discovery.watch(group, separator, limit):
        click.echo(_event_line(event, as_json))
        sys.stdout.flush()


@main.command()
@json_option
def status(as_json: bool) -> None:
    """Show the beacon of this user; exit status 1 when none runs."""
    answer = _ask_running({"do": "status"})
    if as_json:
        click.echo(json.dumps(answer))
        return
    for key, value in answer.items():
        if key == "nodes":
            click.echo(f"nodes: {len(value)}")
            for node in value:
                heard = f"{node['adverts']} adverts, heard {node['heard_s_ago']:.1f} s ago"
                click.echo(f"  {node['node']} at {node['address']}: {heard}")
        elif key == "strangers":
            click.echo(f"strangers: {len(value)}")
            for one in value:
                click.echo(
                    f"  {one['ip']}: {one['reason']}, {one['datagrams']} datagrams, {one['heard_s_ago']:.1f} s ago"
                )
        elif key == "interfaces":
            click.echo("interfaces: " + (", ".join(f"{i['name']} {i['ip']}" for i in value) or "none"))
        elif key == "shim":
            place = value["address"] or "none: " + value["why_not"]
            click.echo(f"shim: {place}, {value['connections']} connections, {value['registrations']} registrations")
            click.echo("shim refused: " + _counts(value["refused"]))
        elif key == "networkzero":
            click.echo("networkzero: " + (_networkzero(value) if value else "off"))
        elif key == "etcd":
            click.echo("etcd: " + (_etcd(value) if value else "off"))
        elif isinstance(value, dict):
            click.echo(f"{key}: " + _counts(value))
        else:
            click.echo(f"{key}: {value}")


@main.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what is wrong with this network, and what to do; exit status 1 when there is something to mend."""
    from .doctor import examine  # with much that no other command needs

    report = examine(Settings.from_environment())
    for line in [report.as_json()] if as_json else report.lines():
        click.echo(line)
    sys.exit(report.exit_status)


@main.command()
def token() -> None:
    """Print the token of the shim, for programs on other machines; exit status 1 when there is no secret."""
    from .core.secret import shim_token

    secret = Settings.from_environment().secret
    if not secret:
        click.echo("nwdisco: there is no secret (NWDISCO_SECRET), and no token is needed", err=True)
        sys.exit(1)
    click.echo(shim_token(secret))


@main.command()
def stop() -> None:
    """End the beacon of this user; exit status 1 when none runs."""
    _ask_running({"do": "stop"})


@main.command()
def demo() -> None:
    """Show the main job on this machine alone: two beacons, found and gone, in seconds. Nothing leaves the machine."""
    from .demo import run

    run()


def _ask_running(request: dict[str, Any]) -> dict[str, Any]:
    end = start.connect_if_running()
    if end is None:
        click.echo("nwdisco: no beacon is running", err=True)
        sys.exit(1)
    connection = Connection(end)
    try:
        return connection.ask(request)
    except Gone:
        raise errors.BeaconError("the beacon ended before it answered") from None
    finally:
        connection.close()


def _plain(service: Service) -> dict[str, object]:
    return {
        "name": service.name,
        "address": service.address,
        "properties": service.properties,
        "node": service.node,
        "age_s": service.age_s,
    }


def _event_line(event: Event, as_json: bool) -> str:
    if as_json:
        return json.dumps({"event": event.kind, **_plain(event.service)})
    return f"{event.kind:8} {event.name} {event.address}"


def _networkzero(link: dict[str, Any]) -> str:
    places = f"UDP {link['udp'] or 'none'}, RPC {link['rpc'] or 'none'}"
    why_not = f" ({link['why_not']})" if link["why_not"] else ""
    numbers = ", ".join(f"{link[what]} {what}" for what in ("imported", "exported", "programs"))
    return f"{places}{why_not}, {numbers}, dropped: {_counts(link['dropped'])}"


def _etcd(link: dict[str, Any]) -> str:
    heard = "never answered" if link["answered_s_ago"] is None else f"answered {link['answered_s_ago']:.1f} s ago"
    why_not = f" ({link['why_not']})" if link["why_not"] else ""
    numbers = ", ".join(f"{link[what]} {what}" for what in ("imported", "exported"))
    return f"{link['endpoints']}, {heard}{why_not}, {numbers}, dropped: {_counts(link['dropped'])}"


def _counts(counters: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counters.items()) or "nothing yet"


def _shown(value: str) -> str:
    """A property's value, which may hold anything, as text that cannot garble a terminal."""
    return value if is_clean(value) else repr(value)


def _signals() -> int:
    """A pipe on which the first Ctrl-C or SIGTERM arrives as a byte; the next one ends the program."""
    arrived, arrive = os.pipe()
    os.set_blocking(arrive, False)
    signal.set_wakeup_fd(arrive)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell ignores Ctrl-C for what it runs in the background
            signal.signal(number, _only_once)
    return arrived


def _only_once(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
