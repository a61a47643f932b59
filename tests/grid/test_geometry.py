import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Boundary, Grid, Walls
from diffpattern.grid.padding import pad


def test_single_entries_are_taken_for_every_axis():
    grid = Grid([4, 5, 6], spacing=2, boundary="zero")
    assert grid.shape == (4, 5, 6)
    assert grid.ndim == 3
    assert grid.spacing == (2.0, 2.0, 2.0)
    assert grid.boundary == (Walls(Boundary("zero"), Boundary("zero")),) * 3


def test_each_axis_may_have_its_own():
    grid = Grid((4, 5), spacing=(0.5, 2), boundary=["circular", Boundary("value", 3)])
    assert grid.spacing == (0.5, 2.0)
    lines, columns = grid.boundary
    assert lines.lower == lines.upper == Boundary("circular")
    assert columns.lower == columns.upper == Boundary("value", 3.0)


def test_each_wall_may_have_its_own():
    grid = Grid((4, 5), boundary=(("zero", Boundary("flux", 1)), "symmetric"))
    assert grid.boundary[0] == Walls(Boundary("zero"), Boundary("flux", 1.0))
    assert [walls.kind for walls in grid.boundary] == [None, "symmetric"]
    assert Grid(4, boundary=Walls(Boundary("zero"), Boundary("value"))).boundary[0].kind is None


def test_one_axis_needs_no_tuple():
    assert Grid(7) == Grid((7,))


def test_equal_descriptions_are_one_static_argument():
    traces = []

    def traced(x, grid):
        traces.append(grid)
        return pad(x, grid, 1)

    compiled = jax.jit(traced, static_argnums=1)
    x = np.zeros((4, 5), np.float32)
    compiled(x, Grid((4, 5), 1, "symmetric"))
    compiled(x, Grid([4, 5], (1.0, 1.0), ("symmetric", ["symmetric", Boundary("symmetric")])))
    assert len(traces) == 1


def test_a_coefficient_does_not_know_the_walls_value():
    grid = Grid((4, 4, 4), 0.5, ("zero", (Boundary("value", 1.0), Boundary("flux", 1.0)), "flux"))
    first, second, third = grid.for_coefficients().boundary
    assert first.kind == second.lower.kind == "replicate"
    assert third.kind == second.upper.kind == "symmetric"
    assert grid.for_coefficients().spacing == grid.spacing
    assert Grid((4, 4)).for_coefficients() == Grid((4, 4))


EVERY_DESCRIPTION = Grid(
    (4, 5, 6),
    (0.5, 1.0, 2.0),
    (
        "circular",
        ("symmetric", Boundary("flux", (1.0, -1.0))),
        Boundary("value", ((0.0, 1.0), (2.0, 3.0)), (0.0, 0.5)),
    ),
)


def test_a_grid_is_the_same_after_its_way_through_json():
    text = json.dumps(EVERY_DESCRIPTION.to_dict())
    assert Grid.from_dict(json.loads(text)) == EVERY_DESCRIPTION
    # Files of older runs describe an axis by one boundary without times.
    assert Grid((3, 4), 0.5, Boundary("value", 2.0)).to_dict() == {
        "shape": [3, 4],
        "spacing": [0.5, 0.5],
        "boundary": [{"kind": "value", "value": 2.0}] * 2,
    }


def test_a_wall_goes_on_linearly_between_its_times():
    wall = Boundary("value", (0.0, 2.0, -1.0), (1.0, 2.0, 4.0))
    values = jax.jit(jax.vmap(lambda time: wall.at(time).value))(jnp.array([0.0, 1.5, 3.0, 9.0]))
    np.testing.assert_allclose(values, [0.0, 1.0, 0.5, -1.0])
    species = Boundary("flux", ((0.0, 2.0), (1.0, 0.0)), (0.0, 1.0)).at(0.25).value
    np.testing.assert_allclose(species, [0.25, 1.5])


def test_a_grid_where_nothing_changes_is_its_own_at_every_moment():
    grid = Grid((4, 5), boundary=(Boundary("value", 1.0), ("zero", "flux")))
    assert grid.under(UNFORCED) is grid
    assert grid.under(Forcing(time=3.0)) is grid


def test_a_grid_of_a_moment_is_nobodys_key():
    now = Grid((4,), 0.5).under(Forcing(mask=np.ones(4)))
    assert now != Grid((4,), 0.5).under(Forcing(mask=np.ones(4)))
    with pytest.raises(TypeError, match="unhashable"):
        hash(now)
    with pytest.raises(ValueError, match="static"):
        jax.jit(lambda x, grid: pad(x, grid, 1), static_argnums=1)(np.ones(4), now)
    # A lattice between changing walls keeps its mask through the moments.
    assert now.under(Forcing(time=1.0)) is now
    assert now.for_coefficients().mask is now.mask


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: Grid(()), r"grid shape is \(\)"),
        (lambda: Grid((4, 4, 4, 4)), "1, 2 or 3 axes"),
        (lambda: Grid((4, 0)), r"grid shape is \(4, 0\)"),
        (lambda: Grid((4, 2.5)), r"grid shape is \(4, 2.5\)"),
        (lambda: Grid((4, True)), "positive whole numbers"),
        (lambda: Grid((4, 4), spacing=-1.0), "grid spacing is -1.0"),
        (lambda: Grid((4, 4), spacing=(1.0, float("nan"))), "finite and positive"),
        (lambda: Grid((4, 4), spacing="1"), "grid spacing is '1'"),
        (lambda: Grid((4, 4), spacing=(1.0, 1.0, 1.0)), "one for all axes or 2"),
        (lambda: Grid((4, 4), boundary="reflect"), "boundary kind is 'reflect'.*symmetric"),
        (lambda: Grid((4, 4), boundary=("zero",)), r"grid boundary is \('zero',\)"),
        (lambda: Grid((4, 4), boundary=3), "grid boundary is 3"),
        (lambda: Grid(4, boundary=(("zero", "reflect"),)), "boundary kind is 'reflect'"),
        (lambda: Grid(4, boundary=(("zero", 1.0),)), "grid boundary is 1.0"),
        (lambda: Grid(4, boundary=(("circular", "zero"),)), "'circular' must be at both or none"),
        (lambda: Grid(4, boundary=({"kind": "zero", "width": 1},)), "grid boundary is {'kind'"),
        (lambda: Boundary("value", float("inf")), "boundary value is inf"),
        (lambda: Boundary("value", "1"), "boundary value is '1'"),
        (lambda: Boundary("value", ()), r"boundary value is \(\)"),
        (lambda: Boundary("zero", 2.0), "only the kinds value and flux have one"),
        (lambda: Boundary("symmetric", (0.0, 0.0), (0.0, 1.0)), "only the kinds value and flux"),
        (lambda: Boundary("value", (1.0, 2.0), (1.0, 1.0)), r"times are \(1.0, 1.0\)"),
        (lambda: Boundary("value", (1.0, 2.0), 1.0), "times are 1.0"),
        (lambda: Boundary("value", 1.0, (1.0,)), "an entry for each of the 1 times"),
        (lambda: Boundary("value", (1.0, 2.0), (1.0, 2.0, 3.0)), "each of the 3 times"),
        (lambda: Boundary("value", ((1.0, 2.0), (1.0,)), (1.0, 2.0)), "one for each species"),
        (lambda: Boundary("value", ((1.0, 2.0), 1.0)), "one for each species"),
        (lambda: Grid((4, 5)).under(Forcing(mask=np.ones((5, 4)))), r"mask has shape \(5, 4\)"),
        (lambda: Grid.from_dict({"shape": [4]}), "must have boundary, shape, spacing"),
        (lambda: Grid.from_dict(5), "grid is 5"),
    ],
)
def test_what_cannot_be_a_lattice_is_refused(make, found):
    with pytest.raises(InputError, match=found):
        make()


def test_changes_of_the_state_are_held_at_zero_where_it_is_held_at_a_value():
    held = Grid((4, 5), 0.5, (Boundary("value", 0.3), "symmetric"))
    assert held.for_changes() == Grid((4, 5), 0.5, ("zero", "symmetric"))
    torus = Grid((4, 5))
    assert torus.for_changes() == torus
