import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffpattern import spectra
from diffpattern.errors import InputError
from diffpattern.grid.boundary import Boundary, Walls
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Grid, GridNow
from diffpattern.models import updates
from diffpattern.models.finishing import Alive, Bounded
from diffpattern.models.nca import NeuralCellularAutomaton
from diffpattern.models.networks import ACTIVATIONS
from diffpattern.models.perception import ISOTROPIC, Learnt, MultiScale, Steerable, Stencils
from diffpattern.models.updates import Attention, Gated, KolmogorovArnold, Network

KEY = jax.random.key(3)
GRIDS = {1: Grid((40,)), 2: Grid((20, 18)), 3: Grid((6, 5, 7))}


# What makes a rule another than the plain one; each with few units.
RULES = {
    "plain": {},
    "gated": {"update": Gated((8,))},
    "attention": {"update": Attention(2, 3, 2)},
    "kan": {"update": KolmogorovArnold((4,))},
    "bounded": {"finishing": (Bounded(2),)},
    "alive": {"finishing": (Alive(0, 0.5),)},
    "higher_order": {"perception": Stencils(order=2)},
    "multi_scale": {"perception": MultiScale((1, 2))},
    "learnt": {"perception": Learnt(2)},
    "isotropic": {"perception": ISOTROPIC},
    "steerable": {"perception": Steerable()},
}
SMALL = Grid((4, 6))


def automaton(grid, **parts):
    return NeuralCellularAutomaton(
        grid, **{"update": Network((8,), "tanh"), "fire_rate": 1.0} | parts
    )


def lattice(grid, channels=3):
    return jnp.asarray(np.random.default_rng(0).uniform(size=(channels, *grid.shape)))


def untrained(rule, x, forcing=UNFORCED):
    return jax.jit(rule.init)(KEY, x, KEY, forcing)["params"]


def trained(rule, x, forcing=UNFORCED):
    """Parameters of which none is zero, as after training."""
    flat, unravel = ravel_pytree(untrained(rule, x, forcing))
    return unravel(flat + 0.1 * jnp.asarray(np.random.default_rng(1).normal(size=flat.shape)))


def step(rule, parameters, x, forcing=UNFORCED):
    return jax.jit(rule.apply)({"params": parameters}, x, KEY, forcing)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: f"{grid.ndim}D")
def test_untrained_does_nothing_and_trained_does_something(grid):
    rule, x = automaton(grid), lattice(grid)
    np.testing.assert_array_equal(step(rule, untrained(rule, x), x), x)
    after = step(rule, trained(rule, x), x)
    assert after.shape == x.shape and np.all(np.asarray(after != x))


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_cells_fire_at_their_rate_with_all_their_channels(rate):
    grid = Grid((64, 48))
    rule, x = automaton(grid, fire_rate=rate), lattice(grid)
    parameters = trained(rule, x)
    fires = jax.jit(lambda key: rule.apply({"params": parameters}, x, key) != x)
    fired = np.stack([fires(key) for key in jax.random.split(KEY, 20)])
    np.testing.assert_array_equal(fired.all(1), fired.any(1))
    fired = fired[:, 0]
    spread = np.sqrt(rate * (1 - rate) / fired.size)
    assert abs(fired.mean() - rate) < 4 * spread
    # No cell is favoured: the means of cells over 20 steps vary as those of independent draws.
    expected = np.sqrt(rate * (1 - rate) / len(fired))
    assert fired.mean(0).std() == pytest.approx(expected, rel=0.1)


def test_cells_that_fire_do_what_they_would_do_without_a_mask():
    grid = GRIDS[2]
    rule, x = automaton(grid, fire_rate=0.5), lattice(grid)
    parameters = trained(rule, x)
    masked, free = step(rule, parameters, x), step(rule.clone(fire_rate=1.0), parameters, x)
    fired = np.asarray(masked != x)
    assert 0.3 < fired.mean() < 0.7
    np.testing.assert_allclose(masked[fired], free[fired], rtol=1e-12)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: f"{grid.ndim}D")
def test_translation_on_a_torus(grid):
    rule, x = automaton(grid), lattice(grid)
    parameters = trained(rule, x)
    shift, axes = tuple(range(3, 3 + grid.ndim)), tuple(range(1, 1 + grid.ndim))
    np.testing.assert_allclose(
        step(rule, parameters, jnp.roll(x, shift, axes)),
        jnp.roll(step(rule, parameters, x), shift, axes),
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    ("kernel", "seen"),
    [("identity", 1), ("gradient", 8), ("gradient_norm", 8), ("laplacian", 9), ("average", 9)],
)
def test_a_cell_sees_its_neighbours_through_the_kernels_it_has(kernel, seen):
    grid = Grid((9, 9))
    rule, x = automaton(grid, perception=Stencils((kernel,))), lattice(grid)
    parameters = trained(rule, x)
    update = lambda x: step(rule, parameters, x) - x
    changed = np.abs(update(x.at[0, 4, 4].add(0.3)) - update(x)).max(0) > 1e-9
    assert changed.sum() == seen and changed[3:6, 3:6].sum() == seen


@pytest.mark.parametrize("name", RULES)
def test_untrained_rules_do_nothing_to_lattices_that_are_finished(name):
    rule, x = automaton(SMALL, **RULES[name]), lattice(SMALL)  # in [0, 1], with life everywhere
    np.testing.assert_array_equal(step(rule, untrained(rule, x), x), x)


@pytest.mark.parametrize("name", sorted(set(RULES) - {"bounded", "alive"}))
def test_gradients_are_those_of_finite_differences(name):
    rule, x = automaton(SMALL, **RULES[name]), lattice(SMALL)
    flat, unravel = ravel_pytree((trained(rule, x), x))
    target = jnp.asarray(np.random.default_rng(2).normal(size=x.shape))

    @jax.jit
    def value(flat):
        parameters, x = unravel(flat)
        return jnp.sum(target * rule.apply({"params": parameters}, x, KEY))

    directions = np.random.default_rng(3).normal(size=(3, flat.size))
    gradient = np.asarray(jax.jit(jax.grad(value))(flat))
    for direction in directions:
        difference = (value(flat + 1e-5 * direction) - value(flat - 1e-5 * direction)) / 2e-5
        assert gradient @ direction == pytest.approx(float(difference), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", RULES)
def test_gradients_are_finite_on_flat_lattices(name):
    rule, x = automaton(SMALL, **RULES[name]), jnp.full((3, *SMALL.shape), 0.5)
    square = lambda p, x: jnp.sum(rule.apply({"params": p}, x, KEY) ** 2)
    gradients = jax.jit(jax.grad(square, argnums=(0, 1)))(trained(rule, x), x)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


def test_isotropic_rules_turn_with_the_lattice():
    grid = Grid((9, 9))
    rule, x = automaton(grid, **RULES["isotropic"]), np.asarray(lattice(grid))
    parameters = trained(rule, x)
    after = step(rule, parameters, x)
    for turn in (lambda a: np.rot90(a, 1, (1, 2)), lambda a: a[:, ::-1]):
        np.testing.assert_allclose(
            step(rule, parameters, turn(x).copy()), turn(np.asarray(after)), rtol=1e-10
        )


# --- Forcing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("update", [Network((8,)), Gated((8,)), Attention(2, 2, 2), Network(())])
def test_inputs_are_told_to_the_first_layer_as_they_are_at_the_time(update):
    rule, x = automaton(SMALL, update=update), lattice(SMALL)
    table = jnp.array([[0.0, 1.0], [1.0, 3.0]])
    forced = lambda time: Forcing(time, inputs=table, input_times=jnp.array([0.0, 2.0]))
    parameters = trained(rule, x, forced(0.0))
    half_way = step(rule, parameters, x, forced(1.0))
    told = step(rule, parameters, x, Forcing(inputs=jnp.array([0.5, 2.0])))
    np.testing.assert_allclose(half_way, told, rtol=1e-12)
    assert np.all(step(rule, parameters, x, forced(0.0)) != half_way)


def test_inputs_are_as_good_as_lattices_of_them():
    rule, x = automaton(SMALL, update=Network((8,), "tanh")), lattice(SMALL)
    forcing = Forcing(inputs=jnp.array([0.3, -1.2]))
    parameters = trained(rule, x, forcing)
    first, last = parameters["update"]["network"].values()
    features = rule.perception.apply({}, x, SMALL)
    written = jnp.broadcast_to(forcing.inputs[:, None, None], (2, *SMALL.shape))
    told = jnp.concatenate([features, written]).reshape(len(features) + 2, -1)
    kernel = jnp.concatenate([first["kernel"], first["inputs"]])
    hidden = jnp.tanh(kernel.T @ told + first["bias"][:, None])
    change = (last["kernel"].T @ hidden + last["bias"][:, None]).reshape(x.shape)
    np.testing.assert_allclose(step(rule, parameters, x, forcing), x + change, rtol=1e-10)


def test_nothing_is_outside_the_mask():
    rule, x = automaton(SMALL), lattice(SMALL)
    mask = jnp.zeros(SMALL.shape).at[1:3, 2:5].set(1.0)
    parameters = trained(rule, x)
    after = step(rule, parameters, x * mask, Forcing(mask=mask))
    np.testing.assert_array_equal(after != 0, np.broadcast_to(mask == 1, x.shape))


def test_environment_changes_what_cells_do():
    rule, x = automaton(SMALL), lattice(SMALL)
    forced = lambda value: Forcing(environment=jnp.full((2, *SMALL.shape), value))
    parameters = trained(rule, x, forced(0.0))
    one, other = (step(rule, parameters, x, forced(value)) for value in (0.0, 1.0))
    assert one.shape == x.shape and np.all(one != other)


# --- Finishing, captures, refusals -------------------------------------------------------------


def test_bounded_clips_observed_and_hidden_channels_to_their_ranges():
    after = jnp.asarray([[-0.5, 0.5, 1.5], [-1.5, -0.5, 1.5]])
    expected = [[0.0, 0.5, 1.0], [-1.0, -0.5, 1.0]]
    np.testing.assert_array_equal(Bounded(1)(after, after, Grid((3,))), expected)


@pytest.mark.parametrize("boundary", ["circular", "symmetric", "zero"])
@pytest.mark.parametrize("shape", [(9,), (9, 7), (5, 6, 7)], ids=["1D", "2D", "3D"])
def test_alive_masking_needs_a_neighbour_alive_before_and_after(shape, boundary):
    grid, values = Grid(shape, boundary=boundary), np.random.default_rng(0)
    # Few are alive; a cell at a wall is, so that the boundary is seen.
    before, after = (values.uniform(size=(2, *shape)) ** 9 for _ in range(2))
    before[1], after[1] = (x[1] * (values.uniform(size=shape) < 0.2) for x in (before, after))
    before[(1, *(0,) * len(shape))] = after[(1, *(0,) * len(shape))] = 1.0
    mode = {"circular": "wrap", "symmetric": "symmetric", "zero": "constant"}[boundary]

    def largest(alpha):
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(alpha, 1, mode), (3,) * len(shape)
        )
        return windows.max(tuple(range(len(shape), 2 * len(shape))))

    alive = (largest(before[1]) > 0.1) & (largest(after[1]) > 0.1)
    assert 0 < alive.sum() < alive.size
    finished = jax.jit(Alive(1), static_argnums=2)(before, after, grid)
    np.testing.assert_array_equal(finished, np.where(alive, after, 0.0))


@pytest.mark.parametrize("moving", [False, True])
def test_alive_masking_has_the_wall_of_its_channel(moving):
    walls = Boundary("value", (0.9, 0.0))
    if moving:
        walls = Boundary("value", ((0.0, 0.0), (1.8, 0.0)), times=(0.0, 2.0)).at(1.0)
    grid, nobody = GridNow((4,), (1.0,), (Walls(walls, walls),)), jnp.zeros((3, 4))
    assert Alive(0).alive(nobody, grid).tolist() == [True, False, False, True]
    for channel in (1, 2):  # one of nothing beyond, and a hidden one
        assert not Alive(channel).alive(nobody, grid).any()


def test_perception_and_hidden_activations_can_be_captured():
    rule, x = automaton(SMALL), lattice(SMALL)
    parameters = trained(rule, x)
    capture = jax.jit(lambda x: rule.apply({"params": parameters}, x, KEY, mutable="intermediates"))
    after, captured = capture(x)
    captured = captured["intermediates"]
    (hidden,) = captured["update"]["network"]["hidden"]
    (perception,) = captured["perceived"]
    np.testing.assert_allclose(perception, rule.perception.apply({}, x, SMALL), rtol=1e-12)
    last = parameters["update"]["network"]["output"]
    change = jnp.tensordot(last["kernel"].T, hidden, 1) + last["bias"][:, None, None]
    np.testing.assert_allclose(after, x + change, rtol=1e-10)


def test_unknown_names_and_parts_that_do_not_fit_are_refused():
    grid = GRIDS[2]
    for parts, sentence in (
        ({"perception": Stencils(("identity", "curl"))}, "'curl'; there are identity"),
        ({"update": Network((8,), "swoosh")}, "'swoosh' is not known; take one of celu, elu"),
        ({"update": KolmogorovArnold((8,), bases=1)}, "Radial bases are 1"),
        ({"finishing": (Alive(3),)}, "channel 3, but the lattice has 3"),
        ({"perception": Steerable(), "finishing": (Bounded(1),)}, "no full turn of its angle"),
    ):
        with pytest.raises(InputError, match=sentence):
            automaton(grid, **parts).init(KEY, lattice(grid), KEY)


@pytest.mark.parametrize("cells", [90, 77])  # of 360: as many in each block, and some to spare
def test_radial_bases_in_blocks_of_cells_are_those_of_the_whole_lattice(cells, monkeypatch):
    rule = automaton(GRIDS[2], update=KolmogorovArnold((4, 3)))
    x, inputs = lattice(GRIDS[2]), Forcing(jnp.zeros(()), inputs=jnp.array([0.3, -1.0]))
    parameters = trained(rule, x, inputs)

    def loss(parameters, x):
        return jnp.sum(rule.apply({"params": parameters}, x, KEY, inputs) ** 3)

    derivatives = lambda: jax.jit(jax.value_and_grad(loss, (0, 1)))(parameters, x)
    whole = derivatives()
    monkeypatch.setattr(updates, "CELLS_OF_A_BLOCK", cells)
    jax.clear_caches()
    in_blocks = derivatives()
    assert str(jax.make_jaxpr(loss)(parameters, x)).count("scan[") == 2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), whole, in_blocks)


def test_activations_are_all_of_flax_that_act_on_each_number_alone():
    x = jnp.linspace(-2.0, 2.0, 6)

    def acts_alone(function):
        try:
            whole = function(x)
        except TypeError:  # it wants more than a lattice
            return False
        alone = [function(x[i : i + 1]) for i in range(len(x))] if whole.shape == x.shape else []
        return len(alone) > 0 and np.allclose(np.concatenate(alone), whole)

    offered = {
        name: getattr(nn, name)
        for name in vars(nn.activation)
        if name in vars(nn) and name not in ("compact", "Module", "Dense", "PReLU")
    }
    assert set(ACTIVATIONS) == {name for name, function in offered.items() if acts_alone(function)}
    assert {"relu", "gelu", "hard_silu", "log_sigmoid", "tanh"} < set(ACTIVATIONS)


# --- The rule as a PDE -------------------------------------------------------------------------


def activator_inhibitor():
    """Hand-made parameters of a plain automaton: a network of ReLUs that is a PDE of two species.

        du/dt = D_u lap u + 2 s(u) - u - v,    s(u) = u clipped to [-1, 1]
        dv/dt = D_v lap v + 3 u - 3.5 v

    ReLUs make the clipping, and each linear term in two of its signs. Around 0 the Jacobian is
    [[1, -1], [3, -3.5]], unstable where diffusion sets the species apart (Turing), with the fastest
    growth around k^2 = 0.4.
    """
    diffusion = (0.5, 10.0)
    # Features: u, v, lap u, lap v.
    first, bias, last = [], [], []

    def unit(weights, offset, outputs):
        first.append(weights)
        bias.append(offset)
        last.append(outputs)

    linear = np.array([[-1, 3], [-1, -3.5], [diffusion[0], 0], [0, diffusion[1]]])
    for feature, outputs in zip(np.eye(4), linear, strict=True):
        for sign in (1, -1):
            unit(sign * feature, 0.0, sign * outputs)
    unit([1, 0, 0, 0], 1.0, [2, 0])  # s(u) = relu(u + 1) - relu(u - 1) - 1
    unit([1, 0, 0, 0], -1.0, [-2, 0])
    layers = [
        {"kernel": np.array(first, float).T, "bias": np.array(bias)},
        {"kernel": np.array(last, float), "bias": np.array([-2.0, 0.0])},
    ]
    layers = [jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), layer) for layer in layers]
    return {"update": {"network": {"hidden_0": layers[0], "output": layers[1]}}}


def test_wavelength_of_a_rule_as_a_pde_stays_when_the_spacing_is_halved():
    with jax.enable_x64(False):
        jax.config.update("jax_disable_most_optimizations", False)  # many steps
        coarse = NeuralCellularAutomaton(
            Grid((96, 96), 1.0),
            Stencils(("identity", "laplacian")),
            Network((10,)),
            fire_rate=1.0,
            step_size=0.02,
        )
        fine = coarse.clone(grid=Grid((192, 192), 0.5), step_size=coarse.step_size / 4)

        def pattern(rule, seed):
            """From noise in every cell, which has no length of its own, after 20 units of time."""
            start = 0.1 * jax.random.normal(jax.random.key(seed), (2, *rule.grid.shape))
            advance = lambda x, _: (rule.apply({"params": activator_inhibitor()}, x, KEY), None)
            steps = round(20 / rule.step_size)
            return np.asarray(jax.jit(lambda x: jax.lax.scan(advance, x, length=steps)[0])(start))

        lengths = []
        for rule in (coarse, fine):
            u = pattern(rule, seed=0)[0]
            assert u.std() > 0.3  # a pattern, and no rest of the noise
            lengths.append(spectra.dominant_wavelength(u, rule.grid.spacing))
    assert max(lengths) < 9.6  # ten of them in the box
    assert lengths[1] == pytest.approx(lengths[0], rel=0.1)
