"""The ranking beneath two strategies: the first that is wanted, and no more memory than that takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nwdisco.services import InstanceKey
from nwdisco.services.strategies_ranking import SLACK, Ranking


def key(id: int) -> InstanceKey:
    return InstanceKey("default", "printer", str(id))


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 5), st.sets(st.integers(0, 5))), max_size=60))
def test_a_ranking_finds_the_first_that_is_wanted(moves: list[tuple[int, int | None, set[int]]]) -> None:
    ranking, model = Ranking(), dict[int, int]()
    for id, priority, unwanted in moves:
        if priority is None:
            if model.pop(id, None) is not None:
                ranking.remove(key(id))
        else:
            ranking.set(key(id), (priority, 0, 0))
            model[id] = priority
        found = ranking.first(lambda one, unwanted=unwanted: int(one.id) not in unwanted)  # type: ignore[misc]
        wanted = {id: priority for id, priority in model.items() if id not in unwanted}
        assert (found is None) == (not wanted)
        assert found is None or wanted[int(found.id)] == min(wanted.values())


def test_a_ranking_keeps_no_more_than_it_needs() -> None:
    ranking = Ranking()
    for turn in range(10_000):
        ranking.set(key(turn % 3), (turn, 0, 0))
    assert len(ranking._heap) <= 2 * 3 + SLACK
