"""`nwdisco doctor`: looks at this network for a few seconds, and says in plain words what is wrong with it and what to do.

It is no node and has no adverts: nobody lists it, no beacon is started, and nothing is left behind. What was seen becomes facts
(core/diagnosis.py), and these become findings.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ..core.diagnosis import Facts, Interface, diagnose
from ..core.findings import Finding, Severity, verdict
from ..errors import BeaconError
from ..settings import Settings
from . import local_beacon, machine
from .look import Look


@dataclass(frozen=True)
class Report:
    facts: Facts
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Severity:
        return verdict(self.findings)

    @property
    def exit_status(self) -> int:
        """0: nothing is wrong; 1: something is to be mended."""
        return int(self.verdict in (Severity.WARNING, Severity.ERROR))

    def as_json(self) -> str:
        """One object: facts, findings, verdict."""
        findings = [asdict(finding) for finding in self.findings]
        return json.dumps({"verdict": self.verdict, "findings": findings, "facts": asdict(self.facts)})

    def lines(self) -> list[str]:
        """For people: what was looked at, then what is wrong."""
        facts = self.facts
        kept = f"{f'room {facts.room}' if facts.room else 'no room'}, {'a' if facts.has_secret else 'no'} secret"
        shown = [f"looked for {facts.looked_s:.1f} s at UDP port {facts.port}, group {facts.group}, {kept}"]
        shown += [f"interface {_interface(one)}" for one in facts.interfaces]
        beacon = facts.beacon
        shown.append(f"beacon: process {beacon.pid}, version {beacon.version}" if beacon else "beacon: none runs")
        for one in facts.neighbours:
            heard = f"heard by {', '.join(one.heard)}" if one.heard else "not heard"
            answered = f"answered what was asked by {', '.join(one.answered)}" if one.answered else "answered nothing"
            shown.append(f"other machine {'/'.join(one.ips)}: {heard}; {answered}")
        looked = (
            f"not looked ({facts.doubles_not_looked})" if facts.doubles_not_looked else f"{len(facts.doubles)} found"
        )
        shown.append(f"addresses that two machines have: {looked}")
        shown.append("")
        for finding in self.findings:
            shown += [f"{finding.severity} {finding.code}: {finding.what}", f"  do: {finding.todo}"]
        return shown if self.findings else [*shown, "nothing is wrong"]


def examine(settings: Settings) -> Report:
    """Look, for some seconds. Raises BeaconError when this system has no sockets to look with."""
    told = local_beacon.ask(settings)
    try:
        look = Look(settings, machine.interfaces(settings), told)
    except OSError as error:
        raise BeaconError(f"the doctor cannot look: {error.strerror}. End some programs, and try again") from error
    try:
        look.run()
    finally:
        look.close()
    state, trouble = told.state, told.trouble
    if state is not None:
        later = local_beacon.ask(settings)
        state, trouble = local_beacon.since(state, later.state), later.trouble
    facts = Facts(
        port=settings.port,
        group=settings.group,
        room=settings.room,
        has_secret=bool(settings.secret),
        named=settings.interfaces,
        interfaces=look.interfaces(),
        port_refused=look.port_refused,
        beacon=state,
        beacon_trouble=trouble,
        neighbours=look.seen.neighbours(),
        outsiders=look.seen.outsiders(),
        doubles=look.doubles(),
        doubles_not_looked=look.arp.why_not,
        firewall=machine.firewall(),
        tells_ways=look.tells_ways,
        looked_s=round(look.looked_s, 3),
    )
    return Report(facts, diagnose(facts))


def _interface(one: Interface) -> str:
    if not one.up:
        state = "switched off"
    elif not one.link:
        state = "no link"
    elif not one.used:
        state = "not used"
    else:
        state = "what it sends comes back by " + (", ".join(one.came_back) or "nothing")
    return f"{one.name} {one.ip or 'without an IPv4 address'}: {state}"
