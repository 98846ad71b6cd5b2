"""The images of the board show what their facts say, and nothing else."""

import random

import numpy as np
import pytest

from pebr.toy.board.scenes import (
    CELLS,
    COLUMNS,
    EDGE,
    EDGES,
    PAIRS,
    ROWS,
    STEPS,
    WAYS,
    Fact,
    board,
    neighbour,
    next_cell,
)
from pebr.toy.scenes import CELL, COLOURS, SHAPES


@pytest.mark.parametrize("seed", range(12))
def test_each_cell_shows_its_object_and_where_it_is(seed: int) -> None:
    shown = board(random.Random(seed), 8, 14)
    pixels = np.asarray(shown.draw(random.Random(seed)))
    by_cell = {fact.cell: fact for fact in shown.facts}
    sizes = {}
    for place, cell in enumerate(CELLS):
        row, column = divmod(place, 4)
        part = pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        assert (part[:EDGE] == EDGES[ROWS.index(cell[0])]).all()
        assert (part[-EDGE:] == EDGES[COLUMNS.index(cell[1])]).all()
        inner = part[EDGE:-EDGE]
        found = {colour: (inner == COLOURS[colour]).all(axis=-1) for colour in COLOURS}
        seen = {colour for colour, mask in found.items() if mask.any()}
        assert seen == ({by_cell[cell].colour} if cell in by_cell else set())
        if cell in by_cell:
            mask = found[by_cell[cell].colour]
            sizes.setdefault(by_cell[cell].shape, []).append(mask.sum() / (np.ptp(np.nonzero(mask)[1]) + 1) ** 2)
    order = [np.mean(sizes[shape]) for shape in ("triangle", "cross", "circle", "square") if shape in sizes]
    assert order == sorted(order)  # the share of its box that a shape fills tells the shapes apart


def test_a_board_has_different_objects_in_reading_order() -> None:
    for seed in range(200):
        facts = board(random.Random(seed), 8, 14).facts
        assert 8 <= len(facts) <= 14
        assert len({fact.object for fact in facts}) == len(facts)
        assert [fact.cell for fact in facts] == sorted({fact.cell for fact in facts}, key=CELLS.index)
    assert len(PAIRS) == 24


def test_a_direction_leads_from_every_cell_to_another_and_its_opposite_back() -> None:
    back = {"left": "right", "right": "left", "up": "down", "down": "up"}
    assert set(back) == set(STEPS)
    for way in STEPS:
        assert {neighbour(cell, way) for cell in CELLS} == set(CELLS)
        assert all(neighbour(neighbour(cell, way), back[way]) == cell != neighbour(cell, way) for cell in CELLS)
    assert [neighbour("af", way) for way in ("down", "right", "up", "left")] == ["bf", "ag", "df", "aj"]


def test_the_shape_alone_says_where_to_go_and_each_shape_elsewhere() -> None:
    for cell in CELLS:
        led = {shape: {next_cell(Fact(cell, colour, shape)) for colour in COLOURS} for shape in SHAPES}
        assert led == {shape: {neighbour(cell, WAYS[shape])} for shape in SHAPES}
        assert len(set.union(*led.values())) == len(SHAPES)
