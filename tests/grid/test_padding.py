import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.boundary import GIVEN_KINDS
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import BOUNDARY_KINDS, Boundary, Grid, Walls
from diffpattern.grid.padding import pad

NUMPY_MODES = {
    "circular": {"mode": "wrap"},
    "zero": {"mode": "constant"},
    "value": {"mode": "constant", "constant_values": 2.5},
    "symmetric": {"mode": "symmetric"},
    "replicate": {"mode": "edge"},
}
SPACING = 0.5
MIRRORS = Grid((2, 3), boundary="symmetric")


def boundary(kind):
    return Boundary(kind, {"value": 2.5, "flux": -1.5}.get(kind, 0.0))


def continued(line, walls, position):
    """The cell at any position beyond the walls of a line, by reflecting it back inside."""
    size = len(line)
    if 0 <= position < size:
        return line[position]
    lower = position < 0
    wall = walls.lower if lower else walls.upper
    if wall.kind == "circular":
        return line[position % size]
    if wall.kind == "replicate":
        return line[0 if lower else -1]
    if wall.kind in ("zero", "value"):
        return wall.value
    # From a cell's centre to that of its image it is twice the way to the wall.
    image = -1 - position if lower else 2 * size - 1 - position
    return continued(line, walls, image) + abs(position - image) * SPACING * wall.value


def pad_line(line, walls, width):
    return [continued(line, walls, position) for position in range(-width, len(line) + width)]


def random_lattice(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("kind", NUMPY_MODES)
@pytest.mark.parametrize("shape", [(5,), (4, 3, 2)])
def test_pad_agrees_with_numpy(kind, shape):
    x = random_lattice(2, *shape)
    grid = Grid(shape, boundary=boundary(kind))
    # Up to borders that are wider than the lattice, twice over.
    bordered = jax.jit(lambda x: {width: pad(x, grid, width) for width in (1, 3, 11)})(x)
    for width, values in bordered.items():
        widths = [(0, 0)] + [(width, width)] * len(shape)
        np.testing.assert_array_equal(values, np.pad(x, widths, **NUMPY_MODES[kind]))


@pytest.mark.parametrize("lower", BOUNDARY_KINDS)
def test_each_wall_has_its_own_boundary(lower):
    line = random_lattice(4)
    uppers = [kind for kind in BOUNDARY_KINDS if (kind == "circular") == (lower == "circular")]
    pairs = {upper: Walls(boundary(lower), boundary(upper)) for upper in uppers}

    @jax.jit
    def bordered(line):
        return {
            (upper, width): pad(line, Grid(4, SPACING, walls), width)
            for upper, walls in pairs.items()
            for width in (1, 3, 11)
        }

    for (upper, width), values in bordered(line).items():
        expected = pad_line(line, pairs[upper], width)
        np.testing.assert_allclose(values, expected, atol=1e-14, err_msg=f"{upper}, {width}")


def test_a_flux_wall_raises_a_mirror_by_the_way_to_the_image():
    grid = Grid((2, 3), (0.5, 2.0), ("symmetric", ("symmetric", Boundary("flux", 1.5))))
    x = random_lattice(2, 3)
    bordered = np.asarray(pad(x, grid, (0, 2)))
    np.testing.assert_allclose(bordered[:, -2:], x[:, :-3:-1] + 2.0 * 1.5 * np.array([1, 3]))
    np.testing.assert_array_equal(pad(x, Grid(grid.shape, boundary="flux"), 3), pad(x, MIRRORS, 3))


@pytest.mark.parametrize("kind", GIVEN_KINDS)
def test_each_species_may_have_its_own_value(kind):
    x = random_lattice(3, 2, 4, 5)
    walls = Boundary(kind, (1.0, -2.0))
    both = pad(x, Grid((4, 5), SPACING, walls), 2)
    moving = Boundary(kind, ((0.0, -4.0), (2.0, 0.0)), (1.0, 3.0))
    later = Grid((4, 5), SPACING, moving).under(Forcing(time=2.0))
    for species, value in enumerate(walls.value):
        alone = pad(x[:, species], Grid((4, 5), SPACING, Boundary(kind, value)), 2)
        np.testing.assert_array_equal(both[:, species], alone)
        np.testing.assert_allclose(pad(x, later, 2)[:, species], alone)
    with pytest.raises(InputError, match=r"given for 2 species.*\(4, 5\)"):
        pad(x[0, 0], Grid((4, 5), SPACING, walls), 1)


def test_a_value_over_time_asks_for_a_moment():
    grid = Grid((4,), boundary=Boundary("flux", (0.0, 1.0), (0.0, 1.0)))
    with pytest.raises(InputError, match=r"changes in time.*grid.under\(forcing\)"):
        pad(np.ones(4), grid, 1)


@pytest.mark.parametrize("first", NUMPY_MODES)
def test_each_axis_has_its_own_boundary_and_width(first):
    x = random_lattice(3, 2, 5, 4)

    def bordered(x, second):
        return pad(x, Grid((5, 4), boundary=(boundary(first), boundary(second))), (2, 1))

    results = jax.jit(lambda x: {second: bordered(x, second) for second in NUMPY_MODES})(x)
    for second, values in results.items():
        expected = np.pad(x, [(0, 0), (0, 0), (2, 2), (0, 0)], **NUMPY_MODES[first])
        expected = np.pad(expected, [(0, 0), (0, 0), (0, 0), (1, 1)], **NUMPY_MODES[second])
        np.testing.assert_array_equal(values, expected)


def test_no_width_adds_nothing():
    x = random_lattice(4, 4)
    np.testing.assert_array_equal(pad(x, Grid((4, 4), boundary="zero"), 0), x)


@pytest.mark.parametrize("width", [1, 3, 7])
@pytest.mark.parametrize("kind", ["symmetric", "flux"])
def test_a_normal_component_turns_round_in_its_own_mirror_only(width, kind):
    """The flux given for a state is not one for a vector that is to pass the wall."""
    x = random_lattice(3, 4)
    grid = Grid((3, 4), boundary=(boundary(kind), "symmetric"))
    plain, turned, wall = jax.jit(
        lambda x: (
            pad(x, Grid((3, 4), boundary="symmetric"), width),
            pad(x, grid, width, normal_axis=0),
            pad(x, grid, 1, normal_axis=0),
        )
    )(x)
    # The images beyond a wall are counted from it: an odd number of reflections turns the sign.
    rows = np.arange(-width, 3 + width) // 3
    odd = np.where(rows % 2, -1.0, 1.0)[:, None]
    np.testing.assert_array_equal(turned, plain * odd)
    np.testing.assert_array_equal(wall[0] + wall[1], 0.0)


@pytest.mark.parametrize("kind", ["circular", "zero", "value", "replicate"])
def test_only_a_mirror_turns_a_normal_component(kind):
    x = random_lattice(3, 4)
    grid = Grid((3, 4), boundary=boundary(kind))
    plain, turned = jax.jit(lambda x: (pad(x, grid, 2), pad(x, grid, 2, normal_axis=1)))(x)
    np.testing.assert_array_equal(turned, plain)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32])
def test_the_precision_is_kept(dtype):
    x = jax.ShapeDtypeStruct((4, 4), dtype)
    for kind in BOUNDARY_KINDS:
        grid = Grid((4, 4), boundary=boundary(kind))
        assert jax.eval_shape(lambda x, grid=grid: pad(x, grid, 1), x).dtype == dtype


@pytest.mark.parametrize("kind", BOUNDARY_KINDS)
def test_derivatives_count_the_copies_of_each_cell(kind):
    grid = Grid((4,), boundary=boundary(kind))
    x = random_lattice(4)
    weights = random_lattice(8)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(weights * pad(x, grid, 2))))(x)
    basis = pad(np.eye(5, 4), grid, 2)
    jacobian = basis[:4] - basis[4]
    np.testing.assert_allclose(gradient, jacobian @ weights, atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "width", "found"),
    [
        ((4, 5, 2), 1, r"\(4, 5, 2\), but its last axes must be the grid's \(4, 5\)"),
        ((5,), 1, r"shape \(5,\)"),
        ((4, 5), -1, "border width is -1"),
        ((4, 5), (1, 1, 1), "each of 2 axes"),
    ],
)
def test_a_lattice_or_width_that_does_not_fit_is_refused(shape, width, found):
    with pytest.raises(InputError, match=found):
        pad(np.zeros(shape), Grid((4, 5)), width)
