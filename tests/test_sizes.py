"""Lattices of several sizes in one run: one train step over all of them, and all count alike."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny_runs import LEAST_SQUARES, POOL, listing, run

from diffpattern import dataset, evaluate, problem, scores, taught
from diffpattern.data import measurement, statistics
from diffpattern.errors import InputError
from diffpattern.parallel.mesh import make_mesh
from diffpattern.prediction import make_predictor
from diffpattern.rehearsal import rehearse
from diffpattern.run_folder import RunFolder
from diffpattern.training.least_squares import Fit

OTHER = (6, 10)
SIZES = {"data.further_shapes": (OTHER,)}
AUTOMATON = {
    "model.name": "nca",
    "model.nca.channels": 4,
    "model.nca.network.hidden": (8,),
    "model.nca.steps_per_interval": 2,
    "model.nca.fire_rate": 1.0,
    "training.batch": 4,
}
DESCENT = {
    "optimiser.name": "sgd",
    "optimiser.optax.learning_rate": 0.1,
    "optimiser.optax.schedule": "constant",
    "optimiser.optax.warmup_steps": 0,
    "optimiser.optax.clip_norm": 0.0,
}


def both():
    """Trajectories on lattices of two sizes."""
    return tiny.data(), tiny.data(shape=OTHER)


# ---- Training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.usefixtures("quick_compilation")
def test_training_is_that_of_each_size_apart_with_averaged_gradients(devices):
    config = tiny.config(**AUTOMATON | DESCENT)
    together = tiny.Run(config, both()[0], devices, both()[1])
    first = jax.device_get(together.state.parameters)
    apart = [tiny.Run(config, data, devices) for data in both()]
    for _ in range(3):
        loss = together.advance()["loss"]
        losses = [one.advance()["loss"] for one in apart]
        assert loss == pytest.approx(np.mean(losses), rel=1e-5) and losses[0] != losses[1]
        # Plain descent is linear in the gradient, so its steps average as gradients do.
        ends = [jax.device_get(one.state.parameters) for one in apart]
        mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *ends)
        for one in apart:
            one.state = dataclasses.replace(one.state, parameters=mean)
    after = jax.device_get(together.state.parameters)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after, mean)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after, first)
    assert max(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"form": "matrix_free"},
        {"form": "matrix_free", "start_weight": 1.0},
    ],
    ids=["dense", "matrix_free", "shooting"],
)
@pytest.mark.usefixtures("quick_compilation")
def test_least_squares_weighs_the_windows_of_all_sizes_alike(form):
    """The loss is the mean of both, it falls for both, and devices make no difference."""
    form = {f"optimiser.levenberg_marquardt.{name}": value for name, value in form.items()}
    config = tiny.config(**{"model.rda.polynomial.order": 1, "training.batch": 4} | form)
    losses = [tiny.Run(config, data, 2).advance()["loss"] for data in both()]
    runs = {devices: tiny.Run(config, both()[0], devices, both()[1]) for devices in (1, 8)}
    # Over the same windows each time, of which a linear rule can explain 89%.
    rows = {devices: one.train(3, draw=0)["loss"] for devices, one in runs.items()}
    assert rows[1][0] == pytest.approx(np.mean(losses), rel=1e-5)
    assert rows[1][-1] < 0.12 * rows[1][0]
    np.testing.assert_allclose(rows[8], rows[1], atol=1e-5 * rows[1][0])
    assert isinstance(runs[1].state.optimiser, Fit)


@pytest.mark.slow
def test_a_pool_has_slots_of_every_size():
    fields = AUTOMATON | {
        "optimiser.name": "nadam", "optimiser.optax.warmup_steps": 0, "training.starts": "pool",
        "training.batch": 8, "training.pool.slots": 2, "model.nca.fire_rate": 0.5,
    }  # fmt: skip
    runs = {
        devices: tiny.Run(tiny.config(**fields), both()[0], devices, both()[1])
        for devices in (1, 8)
    }
    losses = {devices: one.train(6)["loss"] for devices, one in runs.items()}
    np.testing.assert_allclose(losses[8], losses[1], atol=1e-5 * losses[1][0])
    slots = jax.device_get(runs[8].state.pool)
    assert [part.lattice.shape for part in slots] == [(8, 2, 8, 8, 4), (8, 2, *OTHER, 4)]
    # Windows of the two sizes draw from different keys.
    assert not np.array_equal(slots[0].age, slots[1].age)


# ---- The rule -----------------------------------------------------------------------------------

PARTS = [
    {"solver.name": "heun"},
    {"solver.name": "etdrk2", "solver.dt": 0.5},
    {"solver.dt": 0.0, "solver.name": "tsit5"},
    {"model.rda.terms": ("network", "diffusion", "source")},
    {"model.name": "nca", "model.nca.channels": 4, "model.nca.finishing": ("alive",)},
]


@pytest.mark.parametrize("changes", PARTS, ids=lambda changes: str(list(changes.values())))
def test_a_rule_runs_on_lattices_of_every_size(changes):
    """As if it had been built for that one; first met while a function is traced."""
    config = tiny.config(**changes)
    if config.model.name == "nca":
        config.optimiser.name = "nadam"
    first, other = both()
    summary = statistics.summarise([first], problem.whitened_degrees(config))
    sought = problem.build(config, summary)
    parameters = jax.tree.map(
        lambda leaf: leaf + 0.01 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape),
        sought.initialise(0),
    )
    there, key = problem.build(config, summary.on(OTHER)), jax.random.key(0)
    found, expected = (
        make_predictor(one, other, make_mesh(1), key=key, together=False)(parameters)
        for one in (sought, there)
    )
    np.testing.assert_array_equal(found, expected)
    again = make_predictor(sought, other, make_mesh(1), key=key, together=False)(parameters)
    np.testing.assert_array_equal(again, expected)
    assert np.abs(found[:, -1] - found[:, 0]).max() > 1e-4


def test_a_trainable_mask_has_parameters_for_every_size_and_no_other():
    config = tiny.config(**AUTOMATON | {"model.mask": "trainable", "optimiser.name": "nadam"})
    summary = statistics.summarise(both(), (1,))
    sought = problem.build(config, summary)
    masks = sought.initialise(0)["mask"]
    assert {name: leaf.shape for name, leaf in masks.items()} == {
        "logits_8x8": (8, 8),
        "logits_6x10": (6, 10),
    }
    with pytest.raises(InputError, match=r"trained on, 8x8, 6x10, and none of 5x5\.$"):
        sought.of_size((5, 5))


# ---- Data and scores ----------------------------------------------------------------------------


def test_simulations_have_further_shapes(tmp_path):
    config = tiny.config(
        **SIZES | {"data.shape": (8, 8), "data.interval": 2.0, "data.end_time": 8.0},
        **{"data.train": 2, "data.validation": 1, "data.test": 3, "data.noise": 0.01},
        **{"data.directory": str(tmp_path)},
    )
    first, other = dataset.load(config)
    assert first["train"].values.shape == (2, 5, 8, 8, 2)
    assert {split: one.values.shape for split, one in other.items()} == {
        "train": (2, 5, *OTHER, 2),
        "validation": (1, 5, *OTHER, 2),
        "test": (3, 5, *OTHER, 2),
    }
    # One statement of spread for the noise on both.
    config.data.noise = 0.0
    clean = dataset.load(config)
    share = 0.01 * measurement.spread(dataset.of_split(clean, "train"))
    for noisy, without in zip((first, other), clean, strict=True):
        difference = noisy["train"].values - without["train"].values
        np.testing.assert_allclose(difference.std((0, 1, 2, 3)), share, rtol=0.1)
    times, summary = dataset.expected(config, (1,))
    assert summary.sizes == ((8, 8), OTHER) and len(times) == 5


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        (((8,),), r"data\.further_shapes has \(8,\), .* 2 axes"),
        ((8, 8), r"data\.further_shapes has 8, .* 2 axes"),
        (((8, 8),), r"data\.further_shapes is \(\(8, 8\),\).* twice or is data\.shape"),
        (((6, 10), (6, 10)), r"data\.further_shapes is .* twice"),
        (((6, 0),), r"data\.further_shapes: "),
    ],
)
def test_shapes_that_cannot_be_are_refused(shapes, told):
    config = tiny.config(**{"data.shape": (8, 8), "data.further_shapes": shapes})
    with pytest.raises(InputError, match=told):
        rehearse(config, *dataset.expected(config, (1,)), make_mesh(1))


def test_statistics_are_those_of_all_cells():
    first, other = both()
    whole = statistics.summarise([first, other], (1,))
    cells = np.concatenate([one.values.reshape(-1, 2) for one in (first, other)]).astype(float)
    np.testing.assert_allclose(whole.mean, cells.mean(0), rtol=1e-6)
    assert whole.sizes == ((8, 8), OTHER) and whole.grid == first.grid
    assert statistics.Statistics.from_json(whole.to_json()) == whole


def test_trajectories_of_all_sizes_count_alike_in_scores():
    truths = both()
    wrong = [truth.values + error for truth, error in zip(truths, (0.1, 0.4), strict=True)]
    options = {"training_mean": [0.5, 0.1], "floor": [1.0, 1.0], "threshold": 0.2}
    summary = scores.summarise(wrong, truths, **options)
    assert summary["trajectories"] == 6
    for name in "AB":
        assert summary["nrmse"][name][-1] == pytest.approx((0.1 + 0.4) / 2, rel=1e-3)
        assert summary["nrmse_range"][name]["high"][-1] == pytest.approx(0.4, rel=1e-3)
    found = scores.patterns(wrong, truths, {"B": 0.1})
    assert found["covered"]["B"]["truth"][0] == pytest.approx(
        np.median([np.mean(one[0, ..., 1] > 0.1) for truth in truths for one in truth.values])
    )


# ---- From end to end ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_keeps_scores_and_shows_every_size(tmp_path):
    reports = {"evaluation.report": True}
    result = run(tmp_path / "data", tmp_path / "run", **LEAST_SQUARES | SIZES | reports)
    assert result["trajectories"] == 6
    folder = RunFolder(tmp_path / "run")
    truths, summary = folder.data()
    assert [truth.values.shape for truth in truths] == [(3, 5, 8, 8, 2), (3, 5, *OTHER, 2)]
    assert summary.sizes == ((8, 8), OTHER)
    predicted = np.load(folder.path / "eval" / "predictions-2.npz")["values"]
    assert predicted.shape == truths[1].values.shape
    page = folder.report.read_text()
    assert "of 3 on 8 x 8 cells" in page and "of 3 on 6 x 10 cells" in page
    again = evaluate.evaluate(folder)
    assert json.loads(json.dumps(again)) == json.loads(folder.scores.read_text())
    # What another rule learns from it has both sizes too.
    config = tiny.config(**{"data.name": "run", "data.directory": str(tmp_path / "data")})
    config.data.run.update(folder=str(folder.path), train=3, validation=1, test=2)
    made = taught.rollouts(config, simulate=dataset._simulated)
    assert [one["train"].values.shape[2:4] for one in made] == [(8, 8), OTHER]
    # Without the second file the data are not those of the run.
    (folder.path / "data" / "test-2.npz").unlink()
    with pytest.raises(InputError, match="does not hold the data on which the run was begun"):
        evaluate.evaluate(folder)


@pytest.mark.slow
def test_a_stopped_run_with_a_pool_goes_on_bit_for_bit(tmp_path):
    whole = run(tmp_path / "data", tmp_path / "whole", **POOL | SIZES)
    run(tmp_path / "data", tmp_path / "run", **POOL | SIZES | {"training.steps": 4})
    assert run(tmp_path / "data", tmp_path / "run", **POOL | SIZES) == whole
    one, other = (
        {
            name: digest
            for name, digest in listing(tmp_path / where / "eval").items()
            if name.startswith("predictions")
        }
        for where in ("whole", "run")
    )
    assert one == other and len(one) == 2
