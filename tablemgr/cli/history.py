# SPDX-License-Identifier: Apache-2.0
"""What one look shows to have happened before it: what the segments themselves remember. Only facts, as in `frames`."""

from __future__ import annotations

from collections.abc import Iterable

from tablemgr.cli import frames
from tablemgr.cli.frames import Event
from tablemgr.cli.words import is_closed
from tablemgr.segments import Sighting


def history(sightings: Iterable[Sighting], when: float) -> list[Event]:
    """How each table was made, last changed its owner and was last repaired, and which owners are dead; oldest first.

    when: of the look, epoch seconds; a death that nobody has followed up yet is not told to have been earlier."""
    found = [event for sighting in sightings for event in _of_one(sighting, when)]
    return sorted(found, key=lambda event: event.when)


def _of_one(sighting: Sighting, when: float) -> Iterable[Event]:
    info = sighting.info
    if info.damaged is not None and not is_closed(info):
        yield Event(when, info.name, "damaged", detail=info.damaged)
    if info.owner is None:
        return
    yield Event(info.created, info.name, "appeared", None if sighting.reason else info.owner)
    if sighting.reason is not None:
        yield from frames.transfer(sighting, when, died=sighting.reason != "gift")
    if info.last_repair is not None:
        yield Event(info.last_repair, info.name, "repairs", detail=str(info.repairs))
    if info.orphan:
        yield Event(when, info.name, "owner died", info.owner)
