"""Lattices that are cut into blocks over a mesh: the same numbers as on one device."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec
from test_rules import KEY, NAMES, built, moved

from diffpattern import findings, problem, selection, train
from diffpattern.data.environment import added
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary
from diffpattern.parallel.mesh import COLUMNS, ROWS, make_mesh, put
from diffpattern.prediction import make_predictor, make_revealing_predictor
from diffpattern.rollout import rollout

TIMES = np.array([0.0, 2.0])
# Every shape (data, rows, columns) of eight devices.
SHAPES = [(d, r, 8 // d // r) for d in (8, 4, 2, 1) for r in (8, 4, 2, 1) if 8 % (d * r) == 0]
SOME = [(2, 2, 2), (1, 2, 4), (1, 8, 1)]


@pytest.mark.slow
@NAMES
@pytest.mark.usefixtures("quick_compilation")
def test_a_rule_makes_the_same_of_blocks_as_of_the_whole_lattice(name):
    sought, data = built(name, (16, 32))
    parameters, start = moved(sought.initialise(0)), jnp.asarray(data.values[0, 0])
    mesh = make_mesh(1, 2, 4)

    def states(problem):
        forcing = data.forcing(0)
        return lambda parameters, start: rollout(
            problem.dynamics, parameters, problem.complete(start, KEY), TIMES, KEY, forcing
        )

    blocks = jax.jit(
        jax.shard_map(
            states(sought.cut(mesh)),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(ROWS, COLUMNS)),
            out_specs=PartitionSpec(None, ROWS, COLUMNS),
        )
    )(parameters, start)
    whole = jax.jit(states(sought))(parameters, start)
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=1e-5)
    assert np.abs(whole[1] - whole[0]).max() > 1e-2


# Three tiles of the fire mask (16 x 16 cells), which six and twelve columns do not keep to.
DATA = {"shape": (16, 48), "train": 4}
TRAINING = {"training.batch": 8, "training.window": 2}
NCA = {
    "model.name": "nca",
    "model.nca.channels": 4,
    "model.nca.network.hidden": (8,),
    "model.nca.steps_per_interval": 3,
    "model.nca.fire_rate": 0.5,
    "model.nca.start_noise": 0.1,
    "optimiser.name": "nadam",
    "optimiser.optax.warmup_steps": 0,
}
OPTAX = {"optimiser.name": "nadam", "optimiser.optax.warmup_steps": 0}
RDA = {"model.rda.terms": ("network", "diffusion"), "model.rda.network.hidden": (4,)}
METHODS = {
    "automaton by Optax": NCA,
    "automaton in a pool": NCA
    | {
        "training.starts": "pool",
        "training.pool.slots": 2,
        "training.pool.reset": 0.3,
        "training.pool.replace_worst": 1,
        "training.pool.refresh_every": 2,
        "augmentation.damage": 0.8,
        "augmentation.noise": 0.05,
        "model.nca.step_jitter": 1,
    },
    "PDE by Optax": RDA | OPTAX,
    "PDE by Levenberg-Marquardt": RDA | {"optimiser.levenberg_marquardt.damping": 1.0},
    "PDE by products": RDA
    | {
        "optimiser.levenberg_marquardt.damping": 1.0,
        "optimiser.levenberg_marquardt.form": "matrix_free",
        "optimiser.levenberg_marquardt.start_weight": 0.0,
    },
}

# Those that are tried on every shape.
PLAIN = ("automaton by Optax", "PDE by Optax", "PDE by Levenberg-Marquardt")
FORCED = {
    "automaton under everything": NCA
    | {
        "data.mask": "ellipse",
        "model.mask": "trainable",
        "model.nca.finishing": ("alive",),
        "model.nca.perception": "multi_scale",
        "model.nca.multi_scale.scales": (1, 2),
        "training.inner.steps": 1,
        "loss.euclidean": 1.0,
        "loss.spectral": 0.1,
        "regulariser.coverage": 0.1,
        "regulariser.outside": 0.1,
        "regulariser.sparsity": 0.1,
        "regulariser.out_of_range": 0.1,
    },
    "PDE with an edge that is learnt": RDA
    | {"model.mask": "edge", "optimiser.levenberg_marquardt.damping": 1.0},
    "PDE by a search": RDA | {"optimiser.name": "lbfgs"},
}
# Between walls whose values and fluxes change in time.
CHANGING = {
    "PDE with winds": OPTAX
    | {
        "model.rda.terms": ("split", "diffusion", "advection"),
        "model.rda.split.hidden": (4,),
        "model.rda.advection.hidden": (4,),
        "model.rda.diffusion.laplacian": "fourth_order",
    },
    "PDE with winds by Levenberg-Marquardt": {
        "model.rda.terms": ("polynomial", "advection"),
        "model.rda.polynomial.order": 1,
        "model.rda.advection.hidden": (2,),
        "optimiser.levenberg_marquardt.damping": 1.0,
    },
    "automaton with blurred eyes": NCA
    | {
        "model.nca.stencils.kernels": ("identity", "gradient", "laplacian", "average"),
        "model.nca.stencils.kernel_scale": 1.5,
        "model.nca.stencils.laplacian": "cross",
    },
}
WALLS = (
    (Boundary("value", (1.0, 0.5), (0.0, 16.0)), Boundary("flux", (0.1, -0.1), (0.0, 16.0))),
    (Boundary("value", 0.3), "symmetric"),
)


def forced_data():
    """Trajectories in masks and between walls, with an environment and what they are told."""
    mirrored = tiny.data(**DATA, boundary="symmetric", mask="ellipse")
    told = np.linspace(0.0, 1.0, len(mirrored.values))[:, None]
    return dataclasses.replace(
        added(mirrored, ("coordinates",)), inputs=np.asarray(told, np.float32)
    )


@functools.cache
def two_steps(method, devices, rows, columns, exchange_every=1):
    """Metrics of two train steps, and the state after them."""
    fields = (METHODS | FORCED | CHANGING | SEVERAL)[method]
    config = tiny.config(**TRAINING | fields | {"mesh.exchange_every": exchange_every})
    if method in FORCED or method.endswith("walls"):
        data = forced_data()
    else:
        data = tiny.data(**DATA, **{"boundary": WALLS} if method in CHANGING else {})
    run = tiny.Run(config, data, devices, blocks=(rows, columns))
    # From where all parameters have gradients.
    parameters = put(moved(jax.device_get(run.state.parameters)), run.mesh)
    run.state = dataclasses.replace(run.state, parameters=parameters)
    metrics = run.train(2)
    return metrics, jax.device_get((run.state.parameters, run.state.pool))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "shape"),
    [(method, shape) for method in METHODS for shape in (SHAPES if method in PLAIN else SOME)],
    ids=str,
)
@pytest.mark.usefixtures("quick_compilation")
def test_train_steps_are_those_of_one_device(method, shape):
    """Losses, gradients, parameters and pools, with everything random in them."""
    assert_those_of_one_device(method, shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SOME[:1], ids=str)
@pytest.mark.parametrize("method", [*FORCED, *CHANGING])
@pytest.mark.usefixtures("quick_compilation")
def test_train_steps_under_what_is_given_are_those_of_one_device(method, shape):
    assert_those_of_one_device(method, shape)


def assert_those_of_one_device(method, shape, exchange_every=1):
    found, expected = two_steps(method, *shape, exchange_every), two_steps(method, 1, 1, 1)
    for name, values in expected[0].items():
        np.testing.assert_allclose(found[0][name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    for one, other in zip(*map(jax.tree.leaves, (found[1], expected[1])), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@functools.cache
def gradients(method, devices, rows, columns):
    """What one step of gradient descent does, at a rate for which parameters' rounding is small."""
    rate = 100.0
    descent = {
        "optimiser.name": "sgd",
        "optimiser.optax.learning_rate": rate,
        "optimiser.optax.schedule": "constant",
        "optimiser.optax.clip_norm": 0.0,
    }
    config = tiny.config(**TRAINING | METHODS[method] | descent)
    run = tiny.Run(config, tiny.data(**DATA), devices, blocks=(rows, columns))
    before = jax.tree.map(np.asarray, moved(jax.device_get(run.state.parameters)))
    run.state = dataclasses.replace(run.state, parameters=put(before, run.mesh))
    run.train(1)
    after = jax.device_get(run.state.parameters)
    return jax.tree.map(lambda new, old: (old - new) / rate, after, before)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SOME, ids=str)
@pytest.mark.parametrize("method", ["automaton by Optax", "PDE by Optax"])
@pytest.mark.usefixtures("quick_compilation")
def test_gradients_are_those_of_one_device_for_each_array(method, shape):
    found, expected = gradients(method, *shape), gradients(method, 1, 1, 1)
    for path, gradient in jax.tree_util.tree_leaves_with_path(expected):
        largest = np.abs(gradient).max()
        assert largest > 0, path
        one = functools.reduce(lambda tree, key: tree[key.key], path, found)
        np.testing.assert_allclose(one, gradient, rtol=0, atol=1e-4 * largest, err_msg=str(path))


@pytest.mark.slow
def test_sought_starts_are_those_of_one_device():
    """In double precision, since in single the system for the starts gives what rounding makes of
    it: batched or one after the other, windows on one device differ by a hundredth."""

    def metrics(*shape):
        config = tiny.config(
            **TRAINING
            | METHODS["PDE by products"]
            | {"optimiser.levenberg_marquardt.start_weight": 1.0}
        )
        run = tiny.Run(config, tiny.data(**DATA), shape[0], blocks=shape[1:])
        state, batch = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64) if x.dtype == jnp.float32 else x,
            (run.state, train.draw_batch(run.batches, 0, run.mesh)),
        )
        return run.step(state, batch)[1]

    with jax.enable_x64(True):
        found, expected = metrics(1, 2, 4), metrics(1, 1, 1)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
    assert expected["trial_loss"] < expected["loss"]


@pytest.mark.usefixtures("quick_compilation")
def test_predictions_of_blocks_are_those_of_the_whole_lattice():
    config, truth = tiny.config(**TRAINING | NCA), tiny.data(**DATA)
    run = tiny.Run(config, truth, 1)
    parameters = moved(jax.device_get(run.state.parameters))
    revealed, options = [0, 2], {"key": jax.random.key(1), "together": False}
    of = lambda *shape: make_revealing_predictor(
        run.sought, truth, make_mesh(*shape), revealed, **options
    )(parameters)
    (found, hidden), (expected, expected_hidden) = of(2, 2, 2), of(1, 1, 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert found.shape == truth.values.shape
    np.testing.assert_allclose(hidden, expected_hidden, rtol=0, atol=1e-5)
    assert hidden.shape == (2, *truth.grid.shape, run.sought.channels - 2)
    assert (hidden[0] != hidden[1]).any()
    plain = make_predictor(run.sought, truth, make_mesh(), **options)(parameters)
    np.testing.assert_allclose(plain, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("field", ["crop", "shift", "turn"])
def test_augmentations_that_move_whole_lattices_are_refused(field):
    with pytest.raises(InputError, match=rf"augmentation.{field} moves .* mesh.rows and"):
        tiny.Run(
            tiny.config(
                **TRAINING | NCA | {f"augmentation.{field}": 4 if field == "crop" else True}
            ),
            tiny.data(**DATA),
            1,
            blocks=(2, 1),
        )


def test_lattices_of_all_sizes_must_be_divided():
    further = tiny.data(**DATA | {"shape": (12, 16)})
    with pytest.raises(InputError, match="mesh.rows is 8, which does not divide an axis of 12"):
        tiny.Run(tiny.config(**TRAINING | NCA), tiny.data(**DATA), 1, further, blocks=(8, 1))


def fitted(order, *shape):
    """A run with a polynomial, and its state after a start from difference quotients."""
    fields = "optimiser.levenberg_marquardt.selection"
    selecting = {f"{fields}.steps": 1, f"{fields}.windows": 4, f"{fields}.smallest": 0.1}
    start = {"model.rda.polynomial.order": order, "optimiser.derivative_steps": 8}
    config = tiny.config(**TRAINING | selecting | start)
    run = tiny.Run(config, tiny.data(**DATA), shape[0], blocks=shape[1:])
    trajectories = [run.trajectories]
    return run, train.fit_derivatives(config, run.sought, run.state, trajectories, run.mesh, False)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation")
def test_starts_from_difference_quotients_are_those_of_one_device():
    found, expected = (
        ravel_pytree(jax.device_get(fitted(1, *shape)[1].parameters))[0]
        for shape in ((2, 2, 2), (1, 1, 1))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation")
def test_terms_that_leave_are_those_that_leave_on_one_device():
    """From one start: that of a cubic polynomial is one of many that fit the data as well."""
    one, begun = fitted(3, 1, 1, 1)
    begun = jax.device_get(begun)

    def selected(*shape):
        run = tiny.Run(one.config, tiny.data(**DATA), shape[0], blocks=shape[1:])
        chosen = selection.build(run.config, run.sought, [run.trajectories], run.mesh, False)
        after = chosen.after(1, put(begun, run.mesh))
        return jax.device_get((after.parameters, after.optimiser.support))

    (found, left), (expected, support) = selected(2, 2, 2), selected(1, 1, 1)
    np.testing.assert_array_equal(left, support)
    assert 0 < support.sum() < support.size
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation")
def test_what_standard_errors_are_taken_from_is_that_of_one_device():
    config, data = (
        tiny.config(**TRAINING | METHODS["PDE by Levenberg-Marquardt"]),
        tiny.data(**DATA),
    )

    def squares(*shape):
        run = tiny.Run(config, data, shape[0], blocks=shape[1:])
        window = run.batches.draw(0)[0]["window"]
        factors = findings.triangles(run.sought, [window], 2.0 * np.arange(3), run.mesh, False)
        factors = factors(moved(jax.device_get(run.state.parameters)))
        return np.einsum("wij,wik->wjk", factors, factors)

    found, expected = squares(2, 2, 2), squares(1, 1, 1)
    sizes = np.sqrt(np.einsum("wii->wi", expected))
    np.testing.assert_array_less(
        np.abs(found - expected), 1e-5 * sizes[:, :, None] * sizes[:, None] + 1e-12
    )


# --- Borders for several steps ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cells"),
    [("plain", 1), ("alive", 2), ("polynomial", 2), ("phase_field", 4), ("higher_order", 1)],
)
def test_how_far_a_step_sees(name, cells):
    """An automaton one cell, and one more for who is alive; Heun's method once for each stage."""
    sought, _ = built(name, (16, 32))
    assert problem._reach(sought) == cells


SEVERAL = {
    "automaton in a pool, eight steps": METHODS["automaton in a pool"]
    | {"model.nca.step_jitter": 0, "model.nca.steps_per_interval": 8},
    "automaton with somebody alive, between walls": NCA
    | {"model.nca.finishing": ("alive",), "model.nca.steps_per_interval": 8},
    "PDE between walls": FORCED["PDE with an edge that is learnt"] | {"solver.dt": 0.25},
    "PDE with a mask of its own": RDA | OPTAX | {"solver.dt": 0.25, "model.mask": "trainable"},
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 2, 1)], ids=str)
@pytest.mark.parametrize("method", SEVERAL)
@pytest.mark.usefixtures("quick_compilation")
def test_borders_for_several_steps_change_nothing(method, shape):
    """Eight steps by three: two exchanges of borders for three steps, and one for two."""
    assert_those_of_one_device(method, shape, exchange_every=3)


def test_what_borders_for_several_steps_do_not_suit_is_refused():
    def run(shape=(16, 16), **fields):
        changes = TRAINING | NCA | {"mesh.exchange_every": 2} | fields
        tiny.Run(tiny.config(**changes), tiny.data(shape=shape, train=8), 1, blocks=(2, 1)).train(1)

    with pytest.raises(InputError, match="exchange_every is 2, but with model.nca.step_jitter"):
        run(**{"model.nca.step_jitter": 1})
    with pytest.raises(InputError, match="must have a multiple of 16 cells, but one has 24"):
        run(shape=(24, 16))
    with pytest.raises(InputError, match="exchange_every lets devices .* leave the scales above 1"):
        run(**{"model.nca.perception": "multi_scale"})
