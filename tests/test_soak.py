"""A short soak: after each round of trouble every list comes to what is there, and nothing is left over (tests/soak)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import namespaces
from tests.soak.__main__ import SECRET
from tests.soak.figures import Sample, grown
from tests.soak.soak import Soak

SECONDS = 15.0


@pytest.mark.parametrize("secret", ["", SECRET], ids=["open", "with a secret"])
def test_after_trouble_all_lists_are_right_and_nothing_has_grown(place: Path, secret: str) -> None:
    reason = namespaces.why_not()
    if reason is not None:
        pytest.skip(reason)
    soak = Soak(place, hosts=4, seed=1, secret=secret)
    try:
        soak.run(SECONDS, print)
        print(soak.report())
        assert soak.rounds
        assert soak.wrong == []
        assert soak.failed == []
        assert soak.grown() == {}
    finally:
        soak.close()


CALM = Sample(pid=1, rss_kb=18_000, files=10, threads=1, processes=1, runtime_files=4)


@pytest.mark.parametrize("what", ["files", "threads", "processes", "runtime_files"])
def test_what_is_left_over_at_the_end_has_grown(what: str) -> None:
    more = CALM._replace(**{what: getattr(CALM, what) + 1})
    assert grown([CALM, more, CALM]) == [], "it has gone again"
    assert grown([CALM, CALM, more]) == [f"{what} {getattr(CALM, what)} -> {getattr(more, what)}"]


def test_memory_that_rises_from_quarter_to_quarter_has_grown_and_one_step_at_the_start_has_not() -> None:
    rising = [CALM._replace(rss_kb=18_000 + 100 * round_) for round_ in range(100)]
    assert grown(rising) == ["memory 22900 -> 27900 kB"]
    assert grown([CALM] * 10 + [CALM._replace(rss_kb=29_000)] * 90) == []


def test_memory_is_that_of_the_last_beacon_alone() -> None:
    assert grown([CALM] * 100 + [CALM._replace(pid=2, rss_kb=29_000)] * 10) == []
