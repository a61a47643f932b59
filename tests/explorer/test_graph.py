import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.explorer import graph as graphs
from diffpattern.explorer.graph import Border, Fires, Given, Place, Pointwise, Product
from diffpattern.explorer.passes import compile_graph
from diffpattern.grid.geometry import Grid
from diffpattern.grid.randomness import fire_mask

GRID = Grid((6, 7))


def graph_of(function, channels=3):
    step = lambda lattices, told, key: function(lattices["state"], told["stepSize"], key)
    return graphs.trace(step, GRID, {"state": channels}, {"stepSize": ()})


def kinds(graph):
    return [type(node).__name__ for node in graph.nodes_of(graph.result)]


def bordered(x, width=1, coefficient=False):
    return graphs.border.bind(
        x, 0.0, widths=(width, width), coefficient=coefficient, channels=None, normal_axis=None
    )


def test_numbers_that_are_moved_about_are_not_computed():
    """Of any slices, turns, joints and gathers of a lattice nothing is left but where to look."""

    def move(x, size, key):
        y = jnp.concatenate([x[1:], x[:1]])[::-1].transpose(2, 0, 1).reshape(7, 18)
        y = y.reshape(7, 3, 6).transpose(1, 2, 0)
        return jnp.stack([y[2], y[0], y[1]])[jnp.array([2, 0, 1])].at[0].set(x[1])

    graph = graph_of(move)
    (given,) = graph.nodes_of(graph.result)
    assert isinstance(given, Given)
    numbers = np.arange(3 * 6 * 7.0).reshape(3, 6, 7)
    expected = move(jnp.asarray(numbers), None, None)
    np.testing.assert_array_equal(numbers.ravel()[graph.result - given.first], expected)


def test_what_constants_decide_is_decided_at_once():
    def step(x, size, key):
        weights = jnp.sin(jnp.arange(3.0)) * jnp.array([0.0, 1.0, 1.0])
        mask = jnp.array([0.0, 1.0, 1.0])
        return mask[:, None, None] * x * (weights[1] / weights[1]) + 0.0 * x

    graph = graph_of(step)
    assert sorted(kinds(graph)) == ["Constant", "Given"]
    assert np.array_equal(graph.constants(graph.result[0]), np.zeros((6, 7)))
    assert np.isnan(graph.constants(graph.result[1:])).all()


def test_products_with_weights_are_kept_whole():
    weights = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    graph = graph_of(lambda x, size, key: (weights @ x.reshape(3, -1))[:3].reshape(x.shape))
    (product,) = graph.nodes_of(graph.result)
    assert isinstance(product, Product)
    np.testing.assert_array_equal(product.matrix, weights)


def test_the_same_thing_is_one_node():
    graph = graph_of(lambda x, size, key: jnp.exp(x) * size + jnp.exp(x))
    exponentials = [n for n in graph.nodes if isinstance(n, Pointwise) and n.operation == "exp"]
    assert len(exponentials) == 1


def test_a_lattice_that_takes_much_is_computed_before_its_border_is_asked_for():
    def step(x, size, key):
        cheap, dear = bordered(2 * x), bordered(jnp.tanh(x * x + x * 3) * jnp.exp(x))
        return cheap[:, :-2, 1:-1] + dear[:, 2:, 1:-1]

    graph = graph_of(step)
    assert [n.computed for n in graph.nodes if isinstance(n, Border)] == [False, True]
    program = compile_graph(graph, {"state": 3})
    first, last = program.passes
    assert (first.writes.name, first.writes.channels) == ("level0", 3)
    assert set(last.reads) == {"state", "level0"} and last.writes.name == "state"


def test_chance_says_who_fires_and_nothing_else():
    fires = lambda x, size, key: x * fire_mask(key, 0.5, GRID)
    graph = graph_of(fires)
    assert any(isinstance(node, Fires) for node in graph.nodes)
    with pytest.raises(InputError, match="random numbers for more than who fires"):
        graph_of(lambda x, size, key: x + jax.random.normal(key, x.shape))


def test_places_are_known_and_other_numbers_of_each_cell_refused():
    def by(line):
        return lambda x, size, key: x * jnp.sin(jnp.asarray(line, jnp.float32))[:, None]

    graph = graph_of(by(np.pi * (np.arange(6) + 0.5) / 6))
    (place,) = [node for node in graph.nodes if isinstance(node, Place)]
    assert place.axis == 0 and place.factor == pytest.approx(np.pi, rel=1e-6)
    with pytest.raises(InputError, match="numbers of its own for each cell"):
        compile_graph(graph_of(by(np.random.default_rng(0).normal(size=6))), {"state": 3})


def test_what_cannot_be_followed_is_refused_by_its_name():
    with pytest.raises(InputError, match="a step, sort, that the explorer does not know"):
        graph_of(lambda x, size, key: jnp.sort(x, axis=0))
    with pytest.raises(InputError, match="a step, erf_inv, that"):
        graph_of(lambda x, size, key: jax.scipy.special.erfinv(x))


def test_a_loop_is_written_out():
    def step(x, size, key):
        return jax.lax.scan(lambda y, w: (y + w * x, None), x, jnp.array([0.5, 0.25]))[0]

    program = compile_graph(graph_of(step), {"state": 3})
    assert program.per_cell()["operations"] == 3 * 4
