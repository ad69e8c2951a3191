"""Keys and values of a registry as instances, and their changes as events. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto

from .instance import InstanceKey, ServiceInstance
from .registry import Change
from .schema import Schema
from .sources import InstanceEvent, Roll, Warnings


class Missing(Enum):
    """Why entries are no instance."""

    MORE_COMES = auto()
    UNREADABLE = auto()


class Reader:
    """What its schema cannot read is left out, with one warning each."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._warnings = Warnings()

    def instances(self, values: Mapping[str, str], warn: bool = True) -> list[ServiceInstance]:
        entries: dict[InstanceKey, dict[str, str]] = {}
        for key, value in values.items():
            owner = self.owner(key, warn)
            if owner is not None:
                entries.setdefault(owner, {})[key] = value
        found = (self.read(owner, there, warn) for owner, there in entries.items())
        return [instance for instance in found if isinstance(instance, ServiceInstance)]

    def owner(self, key: str, warn: bool = True) -> InstanceKey | None:
        try:
            return self._schema.owner(key)
        except Exception as error:  # a foreign key may break one's own schema in any way
            if warn:
                self._warnings.once(key, error)
            return None

    def read(self, key: InstanceKey, entries: Mapping[str, str], warn: bool = True) -> ServiceInstance | Missing:
        try:
            return self._schema.read(key, entries) or Missing.MORE_COMES
        except Exception as error:  # likewise
            if warn:
                self._warnings.once("/".join(key), error)
            return Missing.UNREADABLE


class Changes:
    """One service's keys as they change, one by one."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._entries: dict[InstanceKey, dict[str, str]] = {}
        self._roll = Roll()

    def gather(self, change: Change) -> InstanceKey | None:
        """Take it in, and tell nothing yet; whose key it was."""
        owner = self._reader.owner(change.key)
        if owner is None:
            return None
        entries = self._entries.setdefault(owner, {})
        if change.value is not None:
            entries[change.key] = change.value
        else:
            # with an instance's own key goes what is beneath it, for its end is told key by key, and half of one is none
            beneath = change.key + "/"
            for key in [key for key in entries if key == change.key or key.startswith(beneath)]:
                del entries[key]
        if not entries:
            del self._entries[owner]
        return owner

    def events(self, change: Change) -> Iterator[InstanceEvent]:
        """Take it in; what it means."""
        owner = self.gather(change)
        if owner is None:
            return
        entries = self._entries.get(owner)
        found = self._reader.read(owner, entries) if entries else Missing.UNREADABLE
        if isinstance(found, ServiceInstance):
            yield from self._roll.now(found)
        elif found is Missing.UNREADABLE or change.kind == "delete":
            yield from self._roll.gone(owner)

    def all_events(self) -> Iterator[InstanceEvent]:
        """What was gathered, told."""
        for owner, entries in self._entries.items():
            found = self._reader.read(owner, entries)
            if isinstance(found, ServiceInstance):
                yield from self._roll.now(found)
