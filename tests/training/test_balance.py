"""Rows stay with their owners where the loads allow it, and the loads are about equal."""

from hypothesis import given
from hypothesis import strategies as st

from pebr.training.balance import deal, deal_from


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50)), max_size=40))
def test_every_row_is_dealt_once_and_no_move_is_left_that_helps(rows: list[tuple[int, int]]) -> None:
    owners, lengths = [owner for owner, _ in rows], [length for _, length in rows]
    hands = deal_from(owners, lengths, 4)
    assert sorted(row for hand in hands for row in hand) == list(range(len(rows)))
    loads = [sum(lengths[row] for row in hand) for hand in hands]
    gap = max(loads) - min(loads)
    assert max(loads) <= 1.02 * sum(loads) / 4 or all(lengths[row] >= gap for row in hands[loads.index(max(loads))])


def test_balanced_owners_keep_everything_and_unequal_ones_give_up_few() -> None:
    lengths = [4000 + 37 * (row * 7 % 11) for row in range(64)]
    owners = [row % 8 for row in range(64)]
    assert deal_from(owners, lengths, 8, slack=0.1) == [list(range(rank, 64, 8)) for rank in range(8)]
    loads = {}
    for name, hands in {
        "from": deal_from([row % 8 if row % 8 else 1 for row in range(64)], lengths, 8),  # rank 0 has nothing
        "plain": deal(lengths, 8),
    }.items():
        loads[name] = max(sum(lengths[row] for row in hand) for hand in hands)
    assert loads["from"] < 1.03 * loads["plain"]
    moved = sum(row % 8 != rank for rank, hand in enumerate(deal_from(owners, lengths, 8)) for row in hand)
    assert moved <= 8
