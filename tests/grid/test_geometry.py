import jax
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.padding import pad


def test_single_entries_are_taken_for_every_axis():
    grid = Grid([4, 5, 6], spacing=2, boundary="zero")
    assert grid.shape == (4, 5, 6)
    assert grid.ndim == 3
    assert grid.spacing == (2.0, 2.0, 2.0)
    assert grid.boundary == (Boundary("zero"),) * 3


def test_each_axis_may_have_its_own():
    grid = Grid((4, 5), spacing=(0.5, 2), boundary=["circular", Boundary("value", 3)])
    assert grid.spacing == (0.5, 2.0)
    assert grid.boundary == (Boundary("circular"), Boundary("value", 3.0))


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
    compiled(x, Grid([4, 5], (1.0, 1.0), ("symmetric", Boundary("symmetric"))))
    assert len(traces) == 1


def test_a_coefficient_does_not_know_the_walls_value():
    grid = Grid((4, 4, 4), 0.5, ("zero", Boundary("value", 1.0), "symmetric"))
    kinds = [boundary.kind for boundary in grid.for_coefficients().boundary]
    assert kinds == ["replicate", "replicate", "symmetric"]
    assert grid.for_coefficients().spacing == grid.spacing
    assert Grid((4, 4)).for_coefficients() == Grid((4, 4))


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
        (lambda: Boundary("value", float("inf")), "boundary value is inf"),
        (lambda: Boundary("value", "1"), "boundary value is '1'"),
        (lambda: Boundary("zero", 2.0), "only kind 'value' has one"),
    ],
)
def test_what_cannot_be_a_lattice_is_refused(make, found):
    with pytest.raises(InputError, match=found):
        make()
