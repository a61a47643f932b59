"""A notebook's numbers are those of the commands."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_runs
from ml_collections import ConfigDict

import diffpattern
from diffpattern import Grid, dataset, fit, load, predict, simulate
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.run_folder import RunFolder

pytestmark = pytest.mark.xdist_group("test_api")
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a PDE's and of an automaton's run, and of the data that both have seen."""
    place = tmp_path_factory.mktemp("place")
    tiny_runs.run(place / "data", place / "pde", **tiny_runs.LEAST_SQUARES)
    tiny_runs.run(place / "data", place / "nca", **tiny_runs.NCA)
    return place


@slow
@pytest.mark.parametrize("name", ["pde", "nca"])
def test_a_rollout_has_the_numbers_of_the_evaluation(runs, name):
    run = load(runs / name)
    with np.load(RunFolder(runs / name).predictions) as kept:
        rolled = run.rollout(run.test[0].values[:, 0], run.test[0].times)
        np.testing.assert_array_equal(rolled, kept["values"])
        assert run.species == tuple(kept["species"])
    assert run.step == run.scores["step"] and run.scores["unseen"]
    assert run.config.model.name == {"pde": "rda"}.get(name, name)


@slow
def test_a_lattice_may_have_any_size_and_come_alone_or_with_others(runs):
    run = load(runs / "pde")
    lattices = np.random.default_rng(0).uniform(0.2, 0.8, (3, 12, 20, 2)).astype(np.float32)
    several = run.rollout(lattices, [2.0, 4.0, 5.0, 9.0])
    alone = run.rollout(lattices[1], [2.0, 4.0, 5.0, 9.0])
    assert several.shape == (3, 4, 12, 20, 2) and alone.shape == (4, 12, 20, 2)
    np.testing.assert_array_equal(alone[0], lattices[1])
    np.testing.assert_allclose(several[1], alone, rtol=1e-5, atol=1e-6)
    assert np.abs(alone[1] - alone[0]).max() > 1e-3
    # In between the rule goes on as if nobody had looked.
    np.testing.assert_allclose(run.rollout(lattices[1], [2.0, 9.0])[-1], alone[-1], atol=1e-6)


@slow
def test_chance_is_the_keys(runs):
    run, times = load(runs / "nca"), [0.0, 2.0, 4.0]
    start = run.test[0].values[0, 0]
    once, again = (run.rollout(start, times, key=jax.random.key(5)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - run.rollout(start, times, key=jax.random.key(6))).max() > 0


@slow
def test_what_does_not_suit_the_rule_is_refused(runs):
    run = load(runs / "pde")
    lattice = run.test[0].values[0, 0]
    for arguments, told in (
        ((lattice[..., :1], [0.0, 2.0]), r"x0 has the shape \(8, 8, 1\), .* A, B"),
        ((lattice, [0.0]), "times must be two or more"),
        ((lattice, [2.0, 0.0]), "each later than the one before"),
        ((lattice, [0.0, 0.3]), "do not divide the 0.3 between"),
        ((lattice, [0.0, np.inf]), "times must be finite"),
        ((lattice, ["a", "b"]), "times must be an array of real numbers"),
        ((lattice, iter([0.0, 2.0])), "times must be an array of real numbers"),
        ((lattice, [0.0, 2j]), "times must be an array of real numbers"),
        ((lattice * np.nan, [0.0, 2.0]), "^x0 must be finite"),
        ((lattice + 1j, [0.0, 2.0]), "x0 must be an array of real numbers, .* complex"),
        (([["a"]], [0.0, 2.0]), "x0 must be an array of real numbers"),
        (([[1.0], [1.0, 2.0]], [0.0, 2.0]), "x0 must be an array of real numbers"),
        ((np.ma.masked_less(lattice, 0.5), [0.0, 2.0]), "x0 .* masked; fill"),
        ((lattice[:0], [0.0, 2.0]), r"x0 has the shape \(0, 8, 2\), .* none of them empty"),
        ((lattice[None][:0], [0.0, 2.0]), r"x0 has the shape \(0, 8, 8, 2\), .* empty"),
    ):
        with pytest.raises(InputError, match=told):
            run.rollout(*arguments)
    keys = jax.random.split(jax.random.key(0), 3)
    for given, told in (
        ({"key": 3}, r"key is of the shape|key is of the type int, .* jax\.random\.key\(5\)"),
        ({"key": "a"}, "key is of the type str"),
        ({"key": keys}, r"key is of the shape \(3,\), but must be a single"),
        ({"mask": "a"}, "mask must be an array of real numbers"),
        ({"environment": [[1.0], [1.0, 2.0]]}, "environment must be an array of real numbers"),
        ({"inputs": [1j]}, "inputs"),
    ):
        with pytest.raises(InputError, match=told):
            run.rollout(lattice, [0.0, 2.0], **given)
    with pytest.raises(InputError, match="inputs are given, but the rule is told none"):
        run.rollout(lattice, [0.0, 2.0], inputs=[1.0])
    for arguments, told in (
        ((runs,), "not the folder of a run"),
        ((runs / "pde", "6"), "step is '6', but must be a whole number"),
        ((runs / "pde", 6.0), "step is 6.0, but must be a whole number"),
        ((runs / "pde" / "config.json",), r"run is .*config\.json, a file, but must be the folder"),
    ):
        with pytest.raises(InputError, match=told):
            load(*arguments)
    assert load(runs / "pde", np.int64(run.step)).step == run.step


@slow
def test_a_run_is_shown_in_a_line(runs):
    shown = {name: repr(load(runs / name)) for name in ("pde", "nca")}
    folder, step = runs / "pde", load(runs / "pde").step
    assert shown["pde"] == (
        f"<Run {folder}, step {step}: a PDE with polynomial + diffusion, of A, B on 8 x 8 cells>"
    )
    assert "a neural cellular automaton with 4 channels" in shown["nca"]


def test_what_is_no_folder_config_or_data_is_refused(tmp_path):
    for given in (None, 3, b"runs"):
        with pytest.raises(InputError, match="run is .* but must be the path of a run's folder"):
            load(given)
    data = Trajectories(np.ones((1, 3, 4, 1)), [0, 1, 2], ("u",), Grid(4))
    for arguments, told in (
        ((data.values,), "The data are of the type ndarray; they must be Trajectories"),
        ((data, {}), "config is of the type dict, but must be a ConfigDict, .* the path of"),
        ((data, tmp_path / "none.py"), "^config is .*none.py', where there is no file"),
        ((data, ConfigDict({"data": {}})), "The config has no field"),
        ((data, None, 3), "workdir is 3, but must be the path of a run's folder"),
    ):
        with pytest.raises(InputError, match=told):
            fit(*arguments)


@slow
def test_an_equation_has_the_numbers_of_the_scores(runs):
    run = load(runs / "pde")
    lines = str(run.equation()).splitlines()
    assert [line[:8] for line in lines] == ["dA/dt = ", "dB/dt = "]
    diffusion, error = (run.scores[name]["A"] for name in ("diffusion", "diffusion_standard_error"))
    assert lines[0].split()[3:5] == ["lap", "A"]
    assert float(lines[0].split()[2]) == pytest.approx(diffusion, abs=error)
    assert len(lines[0].split("lap A")[1].replace(" - ", " + ").split(" + ")) == 4  # 1, A, B
    latex = run.equation().latex
    assert latex.startswith("\\begin{aligned}\n\\partial_t A &=") and "\\nabla^2 B" in latex
    with pytest.raises(InputError, match="network throughout"):
        load(runs / "nca").equation()


@slow
def test_arrays_in_memory_are_fitted_as_data_of_a_config_are(runs, tmp_path):
    fields = tiny_runs.FIELDS | tiny_runs.LEAST_SQUARES
    config = tiny.config(**{k: v for k, v in fields.items() if not k.startswith("data.")})
    made = tiny.config(**fields | {"data.directory": str(runs / "data")})
    (data,) = dataset.load(made)
    run = fit(data, config, tmp_path / "run")
    expected = load(runs / "pde")
    for ours, theirs in zip(
        jax.tree.leaves(run.params), jax.tree.leaves(expected.params), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert run.scores["nrmse"] == expected.scores["nrmse"]
    # The file of a config, here of what the run has kept, stands for the config.
    again = fit(data, tmp_path / "run" / "config.json", tmp_path / "run")
    assert again.step == run.step
    # The run's folder needs none of this process's arrays.
    assert load(tmp_path / "run").config.data.name == "given"
    with pytest.raises(InputError, match="have the splits 'test', but need 'train'"):
        fit({"test": data["test"]}, config)
    with pytest.raises(InputError, match=r"data\.name is 'given', which stands for arrays"):
        dataset.load(run.config)


@slow
def test_what_acts_on_a_lattice_from_outside_is_given_again(tmp_path):
    random = np.random.default_rng(0)
    data = Trajectories(
        random.uniform(0.2, 0.8, (2, 5, 8, 8, 1)),
        2.0 * np.arange(5),
        ("u",),
        Grid((8, 8)),
        mask=random.integers(0, 2, (2, 8, 8)),
        environment=random.normal(size=(2, 8, 8, 2)),
        inputs=np.eye(2, 3),
    )
    fields = tiny_runs.FIELDS | tiny_runs.NCA
    config = tiny.config(**{k: v for k, v in fields.items() if not k.startswith("data.")})
    config.data.environment = ("coordinates",)
    run = fit(data, config, tmp_path / "run")
    start, given = data.values[:, 0], {"mask": data.mask, "inputs": data.inputs}
    made = run.rollout(start, data.times, environment=data.environment, **given)
    with np.load(RunFolder(tmp_path / "run").predictions) as kept:
        np.testing.assert_array_equal(made, kept["values"])
    alone = run.rollout(
        start[0], data.times, environment=data.environment[0], mask=data.mask[0], inputs=[1, 0, 0]
    )
    np.testing.assert_allclose(alone, made[0], atol=1e-6)
    # By the command, out of a file of trajectories, and out of the run's own, whose environment has
    # the coordinates too; both go on from the last snapshot.
    later = data.times + data.times[-1]
    data.save_npz(tmp_path / "mine.npz")
    for place, name in enumerate(("mine.npz", "run/data/test.npz")):
        output = tmp_path / f"later{place}.npy"
        predict.predict(tmp_path / "run", str(tmp_path / name), later, output)
        expected = run.rollout(data.values[:, -1], later, environment=data.environment, **given)
        np.testing.assert_array_equal(np.load(output), expected)
    for changes, told in (
        ({"environment": None}, r"told fields of the environment; give them .* \(8, 8, 2\)"),
        (
            {"environment": data.environment[:, :7]},
            r"\(2, 7, 8, 2\) are given, but \(8, 8, 2",
        ),
        (
            {"inputs": [1.0]},
            r"inputs of the shape \(1,\) are given, but \(3,\) is",
        ),
        ({"mask": np.ones(8)}, r"cells of the mask of the shape \(8,\)"),
    ):
        with pytest.raises(InputError, match=told):
            run.rollout(start, data.times, **{"environment": data.environment} | given | changes)


def test_a_simulation_has_the_numbers_of_a_config_that_asks_for_it(tmp_path):
    config = tiny.config(**{"data.directory": str(tmp_path), "data.laplacian": "oono_puri"})
    (data,) = dataset.load(config)
    expected = data["train"]
    made = simulate(
        "gray_scott",
        config.data.shape,
        expected.times[[0, 2]],
        count=len(expected.values),
        dt=config.data.dt,
    )
    np.testing.assert_array_equal(made.values, expected.values[:, [0, 2]])
    np.testing.assert_array_equal(made.times, expected.times[[0, 2]])
    assert made.grid == expected.grid and made.species == expected.species
    other = simulate("gray_scott", config.data.shape, [expected.times[2]], dt=1.0, alpha=0.05)
    assert other.values.shape == (1, 1, *config.data.shape, 2)
    assert np.abs(other.values[0, 0] - made.values[0, 1]).max() > 1e-4


def test_a_simulation_that_cannot_be_is_refused_in_the_words_of_its_caller():
    for arguments, changes, told in (
        (("gray_scot", 8, [0.0, 1.0]), {}, "system is 'gray_scot', but must be one of"),
        (("gray_scott", 8, [0.0, 1.0]), {"fed": 1}, "fed is no parameter of gray_scott, .* alpha"),
        (("gray_scott", 8, [0.0, 1.0]), {"alpha": -1}, "alpha is -1, but must be"),
        (("gray_scott", 8, [1.0, 0.0]), {}, "each later than the one before"),
        (("gray_scott", 8, [0.0, 16.0]), {"dt": 100.0}, "interval is 16, but .* multiple of dt"),
        (("gray_scott", 8, [0.0, 1.0]), {"count": 0}, "count is 0, but must be a whole number"),
        # JAX makes keys of 32 bits, so that this one would be that of seed 3.
        (("gray_scott", 8, [0.0, 1.0]), {"seed": 2**32 + 3}, "seed is 4294967299, .* most 42949"),
        (("gray_scott", 8, [0.0, 1.0]), {"seed": -1}, "seed is -1, but must be a whole number"),
        (("gray_scott", 8, [0.0, 1.0]), {"seed": jax.random.key(0)}, "seed is .* type key<"),
        (("gray_scott", 8, [0.0, 1.0]), {"alpha": np.ones(99)}, r"alpha is .* shape \(99,\)"),
        (("gray_scott", 8, [0.0, 1.0]), {"mask": np.ones((8, 8))}, r"mask is .* shape \(8, 8\)"),
        (("gray_scott", 8, [0.0, 1.0]), {"mask": ["none"]}, "mask is of the type list"),
        ((["gray_scott"], 8, [0.0, 1.0]), {}, "system is of the type list, but must be a name"),
        (("gray_scott", 8, ["a"]), {}, "times must be an array of real numbers"),
        (("gray_scott", 8, [0.0, np.inf]), {}, "times must be finite"),
        (("gray_scott", None, [0.0, 1.0]), {}, "shape is None, but must be positive whole"),
        (("gray_scott", 8.0, [0.0, 1.0]), {}, "shape is 8.0, but must be positive whole"),
    ):
        with pytest.raises(InputError, match=told) as refused:
            simulate(*arguments, **changes)
        assert "data." not in str(refused.value) and "\n" not in str(refused.value)


def test_a_simulation_takes_numbers_of_numpy_and_jax():
    plain = simulate("allen_cahn", 8, [0, 1], count=2, seed=3, dt=0.5, spacing=(2.0,))
    for shape, spacing, number in (
        (np.int64(8), np.array([2.0]), jnp.array),
        (np.array([8]), jnp.float32(2.0), np.float32),
    ):
        made = simulate(
            "allen_cahn",
            shape,
            jnp.arange(2),
            count=np.int64(2),
            seed=np.uint32(3),
            dt=number(0.5),
            spacing=spacing,
        )
        np.testing.assert_array_equal(made.values, plain.values)
        assert made.grid == plain.grid


def test_the_package_offers_what_it_lists_and_imports_it_when_asked():
    assert diffpattern.__all__ == sorted(diffpattern._WHERE)
    assert (Path(diffpattern.__file__).parent / "py.typed").is_file()
    for name in diffpattern.__all__:
        assert getattr(diffpattern, name).__name__ == name
        assert name in dir(diffpattern)
    assert diffpattern.Trajectories is Trajectories
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = diffpattern.fitt
    script = (
        "import sys, diffpattern\n"
        "assert 'jax' not in sys.modules\n"
        "diffpattern.load\n"
        "slow = {'tensorflow', 'tensorflow_datasets', 'tensorboard', 'matplotlib', 'av'}\n"
        "assert not slow & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
