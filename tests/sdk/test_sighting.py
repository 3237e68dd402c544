from __future__ import annotations

import numpy as np
import pytest

from dmcl_sdk.sighting import Sighting, Sightings


def sighting(index: int) -> Sighting:
    return Sighting(
        index,
        index / 30,
        (index + 1) / 30,
        (0.1, 0.2, 0.3, 0.4 + index / 7),
        90.5,
        0.5,
        0.25,
        0.75,
        -0.1,
        1.0,
    )


def test_what_is_put_in_comes_out_to_the_last_bit() -> None:
    put_in = [sighting(n) for n in range(9)]
    table = Sightings.of(put_in)
    assert list(table) == put_in
    assert (table[0], table[-1], len(table)) == (put_in[0], put_in[-1], 9)
    assert type(table[3].frame_index) is int


def test_a_slice_and_what_is_joined_are_sightings_again() -> None:
    table = Sightings.of(sighting(n) for n in range(9))
    assert list(table[2:5]) == [sighting(n) for n in (2, 3, 4)]
    assert Sightings.joined([table[:4], table[4:]]) == table
    assert table[:4] != table[:5]


def test_columns_have_the_names_of_fields_and_of_the_box_s_edges() -> None:
    table = Sightings.of(sighting(n) for n in range(9))
    assert table.column("yaw").tolist() == [-0.1] * 9
    assert table.column("height").tolist() == [one.box[3] for one in table]
    assert table.times.tolist() == [[one.start_s, one.end_s] for one in table]


def test_none_at_all_is_a_table_too() -> None:
    assert list(Sightings.of([])) == []


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows of 13, got float64 \(3, 12\)"):
        Sightings(np.zeros((3, 12)))
