"""Parts of a user's own: the example of docs/own_parts.md, in its own folder, and each kind."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_runs

import diffpattern
from diffpattern import configuration, dataset, export, parts, train
from diffpattern.data.simulation import Simulation
from diffpattern.errors import InputError
from diffpattern.run_folder import RunFolder
from diffpattern.systems import system_named

ROOT = Path(__file__).parents[1]
slow = pytest.mark.slow
pytestmark = pytest.mark.xdist_group("test_own_parts")

AUTOMATON = '''
import flax.linen as nn
import jax.numpy as jnp
from diffpattern import Grid
from diffpattern.grid.randomness import fire_mask
from diffpattern.grid.stencils import laplacian


class Needy(nn.Module):
    """Asks for what nobody gives."""

    grid: Grid
    width: int


class Blinking(nn.Module):
    """x + mask tanh(W (x, lap x))"""

    grid: Grid
    channels: int
    fire_rate: float = 0.5

    @nn.compact
    def __call__(self, x, key, forcing):
        seen = jnp.concatenate([x, laplacian(x, self.grid.under(forcing))])
        weights = self.param("weights", nn.initializers.zeros, (self.channels, len(seen)))
        change = jnp.tanh(jnp.tensordot(weights, seen, 1))
        return x + change * fire_mask(key, self.fire_rate, self.grid)


def images(count):
    return count


def no_number(prediction, truth, context):
    return (prediction - truth).mean((1, 2))


def coarse(x, grid):
    return x[..., ::2]
'''


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder with the page's example, from which tests of this process can import, too."""
    folder = tmp_path_factory.mktemp("lab")
    page = (ROOT / "docs" / "own_parts.md").read_text()
    for text, name in re.findall(r"```python\n(# (\S+)\n.*?)```", page, re.DOTALL):
        (folder / name).write_text(text)
    (folder / "my_automaton.py").write_text(AUTOMATON)
    (folder / "other_lab.py").write_text("from my_lab import Fronts\n")
    (folder / "broken.py").write_text("import numpy\n\nnumpy.nothing()\n")
    (folder / "needy.py").write_text("import not_installed_anywhere\n")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in ("my_lab", "my_parts", "my_automaton", "other_lab", "broken", "needy"):
        sys.modules.pop(name, None)


def command(lab, *arguments):
    environment = os.environ | {"DIFFPATTERN_DATA": str(lab / "data")}
    search = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *search])
    line = [sys.executable, "-m", "diffpattern.main", *arguments]
    return subprocess.run(line, cwd=lab, env=environment, capture_output=True, text=True)


@slow
def test_the_example_trains_restores_exports_and_names_what_it_misses(lab):
    trained = command(lab, "--config=own.py", "--config.data.own.r=0.25", "--workdir=run")
    assert trained.returncode == 0, trained.stderr
    run = diffpattern.load(lab / "run")
    found = run.params["Fronts"]
    np.testing.assert_allclose([found["d"][0], found["r"][0]], [0.3, 0.25], rtol=1e-3)
    assert "my_lab:Fronts" in (lab / "run" / "report.html").read_text()
    exported = command(lab, "--mode=export", "--workdir=run")
    assert exported.returncode == 0, exported.stderr
    assert "my_lab:Fronts" in (lab / "run" / "explorer.html").read_text()
    again = command(lab, "--config=run/run.json", "--workdir=again")
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(diffpattern.load(lab / "again").params["Fronts"]["d"], found["d"])
    before = tiny_runs.listing(lab / "run")
    elsewhere = lab / "elsewhere"
    elsewhere.mkdir()
    missing = command(elsewhere, "--mode=eval", f"--workdir={lab / 'run'}")
    assert missing.returncode == 2
    assert "Traceback" not in missing.stderr
    assert re.search("'my_lab:\\w+', but there is no module my_lab here", missing.stderr)
    assert tiny_runs.listing(lab / "run") == before


def fields(**changes):
    return tiny_runs.FIELDS | {"data.directory": "", "mesh.data": 1} | changes


@slow
def test_an_automaton_of_ones_own_is_trained_restored_and_exported(lab, tmp_path):
    config = tiny.config(
        **fields(
            **{
                "model.name": "my_automaton:Blinking",
                "model.nca.channels": 3,
                "model.nca.steps_per_interval": 2,
                "optimiser.name": "adam",
                "data.directory": str(tmp_path / "data"),
                "loss.own": ("my_parts:relative=0.5",),
            }
        )
    )
    config.model.own.fire_rate = 0.75
    config.evaluation.report = True
    train.train_and_evaluate(config, RunFolder(tmp_path / "run"))
    run = diffpattern.load(tmp_path / "run")
    assert run.rule.fire_rate == 0.75
    page = (tmp_path / "run" / "report.html").read_text()
    assert "could not be read off the rule" not in page
    assert "are not told: it is an automaton of the user&#x27;s own" in page
    assert np.abs(run.params["weights"]).max() > 0
    made = run.rollout(run.test[0].values[:, 0], [0.0, 2.0])
    assert made.shape == (3, 2, 8, 8, 2)
    exploration = export.explore(
        export.restored.restore(RunFolder(tmp_path / "run")), RunFolder(tmp_path / "run")
    )
    assert exploration.kind == "automaton"
    assert exploration.channels == 3


@slow
def test_a_term_of_ones_own_stands_beside_known_ones(lab):
    config = tiny.config(
        **fields(**{"model.rda.terms": ("diffusion", "my_lab:Fronts"), "training.batch": 2})
    )
    config.model.own.first = 0.02
    run = tiny.Run(config, tiny.data(), 1)
    assert set(run.state.parameters) == {"diffusion", "Fronts"}
    np.testing.assert_array_equal(run.state.parameters["Fronts"]["d"], np.float32([0.02]))
    losses = run.train(3)["loss"]
    assert losses[-1] < losses[0]


@slow
def test_a_kernel_and_a_loss_of_ones_own_train_and_both_count(lab):
    nca = {**tiny_runs.NCA, "training.batch": 2}
    kernels = ("identity", "my_parts:steepness")
    plain = tiny.Run(tiny.config(**fields(**nca)), tiny.data(), 1)
    own = tiny.config(
        **fields(
            **nca, **{"model.nca.stencils.kernels": kernels, "loss.own": ("my_parts:relative=2",)}
        )
    )
    run = tiny.Run(own, tiny.data(), 1)
    width = lambda run: run.state.parameters["update"]["network"]["hidden_0"]["kernel"].shape
    assert width(plain) != width(run)
    first = run.advance(), plain.advance()
    assert first[0]["loss"] > first[1]["loss"]


@slow
@pytest.mark.parametrize("name", ["my_lab:Fronts", "my_automaton:Blinking"])
def test_on_blocks_parts_of_ones_own_do_what_they_do_on_the_whole_lattice(lab, name):
    config = tiny.config(
        **fields(
            **{
                "model.name": name,
                "model.nca.channels": 3 if name == "my_automaton:Blinking" else 16,
                "optimiser.name": "adam",
                "optimiser.optax.warmup_steps": 0,
                "training.batch": 2,
                "loss.own": ("my_parts:relative=0.5",),
            }
        )
    )
    data = tiny.data(shape=(16, 32))
    whole, blocks = tiny.Run(config, data, 1), tiny.Run(config, data, 1, blocks=(2, 2))
    expected, found = whole.advance(), blocks.advance()
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(found["gradient_norm"], expected["gradient_norm"], rtol=1e-4)
    assert expected["gradient_norm"] > 0


def test_data_of_ones_own_are_those_that_the_function_gives(lab):
    config = tiny.config(**{"data.name": "my_parts:measured"})
    config.data.own.count = 2
    (data,) = dataset.load(config)
    made = diffpattern.simulate("my_lab:Domains", (24, 24), range(9), count=2)
    np.testing.assert_array_equal(data["train"].values, made.values)
    np.testing.assert_array_equal(data["test"].values, made.values)
    assert data["train"].species == ("u",)


def test_a_changed_system_is_simulated_anew(lab, tmp_path, monkeypatch):
    kind = system_named("my_lab:Domains")
    settings = Simulation.recommended(kind())
    before = settings.name
    assert Simulation.recommended(kind(d=0.5)).name != before
    monkeypatch.setattr(parts, "source", lambda part: "another file")
    assert settings.name != before


@pytest.mark.parametrize(
    ("changes", "own", "told"),
    [
        ({"model.name": "nowhere:Rule"}, {}, "there is no module nowhere here"),
        ({"model.name": "needy:Rule"}, {}, "needy needs the module not_installed_anywhere"),
        ({"model.name": "broken:Rule"}, {}, "broken fails in line 3 of .*broken.py"),
        ({"model.name": "my_lab:Front"}, {}, "nothing called 'Front'; the nearest .* is Fronts"),
        ({"model.name": "my_lab:Domains"}, {}, "derives from flax.linen.module.Module"),
        ({"model.name": "my_lab:Fronts"}, {"model.own": {"second": 1}}, "model.own.second is set"),
        ({}, {"model.own": {"first": 1}}, "no part of the rule is of your own"),
        ({}, {"data.own": {"d": 1}}, "'gray_scott', which is not of your own"),
        (
            {"model.name": "my_lab:Fronts", "model.rda.polynomial.order": 2},
            {},
            "model.rda.polynomial.order is set to 2, but nothing uses it",
        ),
        (
            {"model.name": "my_automaton:Blinking", "optimiser.name": "adam"}
            | {"model.nca.fire_rate": 0.25},
            {},
            "model.nca.fire_rate is set to 0.25, but nothing uses it",
        ),
        ({"model.rda.terms": ("my_lab:Domains",)}, {}, "derives from diffpattern.models.term.Term"),
        ({"loss.own": ("my_parts:relative",), "optimiser.name": "adam"}, {}, "=WEIGHT' with a"),
        ({"loss.own": ("my_parts:relative=-1",), "optimiser.name": "adam"}, {}, "positive weight"),
        (
            {"loss.own": ("my_parts:relative=1", "my_parts:relative=2"), "optimiser.name": "adam"},
            {},
            "loss.own names 'my_parts:relative' twice",
        ),
        ({"loss.own": ("my_parts:relativ=1",), "optimiser.name": "adam"}, {}, "is relative"),
        ({"loss.own": ("my_parts:relative=1",)}, {}, "loss.own is set to .* but nothing uses it"),
        (
            {"model.name": "nca", "model.nca.stencils.kernels": ("identity", "my_parts:steep")}
            | {"optimiser.name": "adam"},
            {},
            "model.nca.stencils.kernels is 'my_parts:steep', but my_parts has nothing",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(lab, changes, own, told):
    config = tiny.config(**changes)
    for section, settings in own.items():
        configuration.get(config, section).update(settings)
    with pytest.raises(InputError, match=told):
        configuration.check(config)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        (
            "my_parts:measured",
            {},
            "data.own has nothing, but my_parts:measured is called otherwise",
        ),
        ("my_parts:measured", {"number": 2}, "data.own has number, but"),
        ("my_automaton:images", {"count": 2}, "are of the type int; they must be Trajectories"),
        ("my_lab:Domains", {"d": "much"}, "data.own.d is 'much', but must be a number"),
        ("my_lab:Domains", {"speed": 1.0}, "data.own.speed is set, but my_lab:Domains has no"),
    ],
)
def test_data_that_cannot_be_are_refused(lab, name, settings, told):
    config = tiny.config(**{"data.name": name})
    config.data.own.update(settings)
    with pytest.raises(InputError, match=told):
        dataset.load(config)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"loss.own": ("my_automaton:no_number=1",)},
            r"array of the shape \(1, 2\); it must give one",
        ),
        ({"model.nca.stencils.kernels": ("my_automaton:coarse",)}, "as many channels and cells"),
    ],
)
def test_parts_that_give_other_shapes_are_told(lab, changes, told):
    config = tiny.config(**fields(**tiny_runs.NCA, **changes))
    with pytest.raises(InputError, match=told):
        tiny.Run(config, tiny.data(), 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model.name": "my_automaton:Needy"}, "my_automaton:Needy cannot be made of grid .*width"),
        (
            {"model.name": "rda", "model.rda.terms": ("my_lab:Fronts", "other_lab:Fronts")},
            "two terms called 'Fronts'",
        ),
    ],
)
def test_rules_that_cannot_be_made_are_told(lab, changes, told):
    config = tiny.config(**{"optimiser.name": "adam", "training.batch": 2} | changes)
    with pytest.raises(InputError, match=told):
        tiny.Run(config, tiny.data(), 1)


def test_flags_change_only_what_the_file_sets(lab):
    file = f"--config={lab / 'own.py'}"
    configuration.check_arguments([file, "--config.data.own.r=0.1"])
    with pytest.raises(InputError, match="changes what .* does not set"):
        configuration.check_arguments([file, "--config.data.own.speed=0.1"])


def test_a_run_goes_on_only_with_its_own_settings(lab):
    made = tiny.config(**{"model.name": "my_lab:Fronts"})
    made.model.own.first = 0.5
    stored = configuration.from_json(configuration.to_json(made), "config.json")
    assert stored.model.own.first == 0.5
    configuration.agree(made, stored, "run")
    for first in (0.25, None):
        other = made.copy_and_resolve_references()
        del other.model.own.first
        if first is not None:
            other.model.own.first = first
        with pytest.raises(InputError, match="model.own.first is (0.25|None), but the run in run"):
            configuration.agree(other, stored, "run")
