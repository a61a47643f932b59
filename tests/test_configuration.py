"""Configs that cannot work are refused in a sentence that names the field; others come back."""

import json
import re

import pytest
import tiny
from ml_collections import ConfigDict

from diffpattern import configuration
from diffpattern.configs import default
from diffpattern.errors import InputError

NCA = {"model.name": "nca"}
NADAM = {"optimiser.name": "nadam"}
LBFGS = {"optimiser.name": "lbfgs"}
CONSTANT = {"optimiser.optax.schedule": "constant"}
FRACTION = {"loss.settings.sampled_euclidean.fraction": 1.5}
WELL, RUN = {"data.name": "the_well"}, {"data.name": "run", "data.directory": "data"}
NETWORK = {"model.rda.terms": ("network", "diffusion")}
SQUARES = "optimiser.levenberg_marquardt"
FREE = {f"{SQUARES}.form": "matrix_free"}
POOL = NADAM | {"training.starts": "pool"}


def assert_one_sentence(message: str, *words: str):
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        NCA,
        NADAM,
        LBFGS,
        NADAM | CONSTANT,
        NETWORK,
        WELL,
        RUN,
        {"solver.dt": 0.0, "solver.adaptive.max_steps": 9},
        FREE | {f"{SQUARES}.start_weight": 1.0, f"{SQUARES}.conjugate_gradients.iterations": 9},
        {f"{SQUARES}.selection.steps": 5, f"{SQUARES}.selection.windows": 9, "data.noise": 0.1},
        {"training.continuation": (0.5,), "training.continuation_steps": 5},
        WELL | {"data.noise": 0.1, "data.seed": 1},
        {"loss.channel_weights": (1.0, 2.0), "loss.time_weights": (1.0,)},
        {"model.rda.polynomial.order": 0},
    ],
)
def test_sound_configs_pass(changes):
    configuration.check(tiny.config(**changes))


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"model.name": "cellular"}, "model.name", "rda, chemotaxis, nca"),
        ({"data.name": "brussels"}, "data.name", "gray_scott"),
        ({"matmul_precision": "low"}, "matmul_precision", "highest"),
        ({"model.rda.terms": ("spline",)}, "model.rda.terms", "polynomial, network"),
        ({"model.rda.diffusion.laplacian": "box"}, "model.rda.diffusion.laplacian", "oono_puri"),
        ({"model.rda.advection.scheme": "weno"}, "model.rda.advection.scheme", "upwind"),
        ({"training.sampling": "linear"}, "training.sampling", "uniform"),
        ({"training.windows": "apar"}, "training.windows", "apart"),
        ({"optimiser.name": "adamm"}, "optimiser.name", "levenberg_marquardt, ada"),
        ({"model.rda.terms": ()}, "model.rda.terms", "polynomial"),
        ({"model.rda.terms": ("network", "network")}, "model.rda.terms", "each once"),
        ({"model.rda.terms": ("network", "decay")}, "model.rda.terms", "advection"),
        ({"model.nca.stencils.kernels": ("identity", "sobel")}, "stencils.kernels", "gradient"),
        ({"model.nca.network.activation": "rellu"}, "model.nca.network.activation", "relu"),
        ({"model.rda.network.activation": "sin"}, "model.rda.network.activation", "tanh"),
        ({"model.rda.network.hidden": (16, 0)}, "model.rda.network.hidden", "positive"),
        ({"model.rda.network.hidden": ("a",)}, "model.rda.network.hidden", "whole number"),
        ({"solver.dt": -1.0}, "solver.dt", "0 or more"),
        ({"model.rda.polynomial.order": -1}, "model.rda.polynomial.order", "0 or more"),
        (NETWORK | {"model.rda.network.order": 0}, "model.rda.network.order", "positive"),
        (NCA | {"model.nca.stencils.order": 0}, "model.nca.stencils.order", "positive"),
        ({"solver.dt": float("nan")}, "solver.dt", "0 or more"),
        ({"training.steps": 0}, "training.steps", "positive"),
        ({"training.checkpoint_minutes": -1.0}, "training.checkpoint_minutes", "0 or more"),
        ({"training.pictures_every": -1}, "training.pictures_every", "0 or more"),
        ({"training.stall_factor": 0.5}, "training.stall_factor", "above 1, or 0"),
        ({"training.stall_seconds": 0.0}, "training.stall_seconds", "positive"),
        ({"training.batch": -4}, "training.batch", "positive"),
        ({"optimiser.optax.learning_rate": float("inf")}, "learning_rate", "positive"),
        ({"optimiser.optax.skip_nonfinite": -1}, "skip_nonfinite", "0 or more"),
        (NADAM | {"optimiser.optax.schedule": "cosin"}, "optimiser.optax.schedule", "piecewise"),
        (NADAM | {"optimiser.optax.average_decay": 1.0}, "average_decay", "below 1"),
        (NADAM | {"optimiser.optax.pruning.sparsity": 1.0}, "pruning.sparsity", "below 1"),
        (LBFGS | {"optimiser.optax.lbfgs.memory": 0}, "lbfgs.memory", "positive"),
        (LBFGS | {"optimiser.optax.lbfgs.search_steps": 0}, "lbfgs.search_steps", "positive"),
        ({"loss.l1": -1.0}, "loss.l1", "0 or more"),
        ({"model.nca.fire_rate": 1.5}, "model.nca.fire_rate", "at most 1"),
        ({"seed": -1}, "seed", "0 or more"),
        ({"seed": 2**32}, "seed", "at most 4294967295"),
        ({"data.seed": 2**70}, "data.seed", "at most 4294967295"),
        # What is of another kind, or beyond what can be.
        ({"data.boundary": None}, "data.boundary", "('circular',)"),
        ({"data.shape": None}, "data.shape", "a tuple, such as (64, 64)"),
        ({"data.further_shapes": None}, "data.further_shapes", "a tuple"),
        ({"data.noise": None}, "data.noise", "a number, such as 0.0"),
        ({"evaluation.covered": None}, "evaluation.covered", "a tuple"),
        ({"evaluation.floor": None}, "evaluation.floor", "a number"),
        ({"evaluation.threshold": None}, "evaluation.threshold", "a number"),
        ({"evaluation.windows": None}, "evaluation.windows", "a whole number"),
        ({"loss.channel_weights": None}, "loss.channel_weights", "a tuple"),
        ({"loss.time_weights": None}, "loss.time_weights", "a tuple"),
        ({"mesh.columns": None}, "mesh.columns", "a whole number, such as 1"),
        ({"model.name": None}, "model.name", "a text, such as 'rda'"),
        ({"training.steps": True}, "training.steps", "a whole number"),
        ({"loss.channel_weights": ("a", 1)}, "loss.channel_weights", "'a' must be a number"),
        ({"loss.time_weights": ((1,),)}, "loss.time_weights", "(1,) must be a number"),
        ({"training.continuation": ("a",)}, "training.continuation", "'a' must be a number"),
        ({"data.shape": (8, 8.5)}, "data.shape", "8.5 must be a whole number"),
        ({"data.doses": (3,)}, "data.doses", "3 must be a text"),
        ({"training.batch": 10**10}, "training.batch", "2147483647 is the most"),
        ({"data.shape": (10**10, 8)}, "data.shape", "2147483647 is the most"),
        ({"data.refinement": 10**30}, "data.refinement", "2147483647 is the most"),
        ({"data.refinement": 10**5}, "data.refinement", "at most 64"),
        ({"data.noise": 1e30}, "data.noise", "at most 10"),
        ({"data.spacing": 1e30}, "data.spacing", "another unit of length"),
        ({"model.rda.polynomial.order": 40}, "model.rda.polynomial.order", "at most 8"),
        ({"mesh.cpu_devices": -2}, "mesh.cpu_devices", "0 or more"),
        # What nothing would use.
        ({"data.brusselator.b": 7.0}, "data.brusselator.b", "data.name is 'gray_scott'"),
        ({"loss.l1": 1.0}, "loss.l1", "minimises l2"),
        ({"loss.l2": 0.5}, "loss.l2", "minimises l2"),
        ({"optimiser.optax.clip_norm": 2.0}, "optimiser.optax.clip_norm", "levenberg_marquardt"),
        (NADAM | {"optimiser.levenberg_marquardt.damping": 1.0}, "damping", "nadam"),
        ({"optimiser.optax.frozen": ("diffusion",)}, "optimiser.optax.frozen", "levenberg"),
        ({f"{SQUARES}.form": "sparse"}, f"{SQUARES}.form", "dense, matrix_free"),
        ({f"{SQUARES}.conjugate_gradients.iterations": 9}, "iterations", "form is 'dense'"),
        ({f"{SQUARES}.start_weight": 1.0}, f"{SQUARES}.start_weight", "form is 'dense'"),
        (FREE | {f"{SQUARES}.start_weight": -1.0}, f"{SQUARES}.start_weight", "0 or more"),
        (FREE | {f"{SQUARES}.conjugate_gradients.tolerance": 0.0}, "tolerance", "positive"),
        ({f"{SQUARES}.selection.windows": 9}, "selection.windows", "selection.steps is 0"),
        (NETWORK | {f"{SQUARES}.selection.steps": 5}, "selection.steps", "no polynomial"),
        ({f"{SQUARES}.selection.steps": -1}, f"{SQUARES}.selection.steps", "0 or more"),
        ({"training.continuation_steps": 5}, "continuation_steps", "continuation is empty"),
        (POOL | {"training.continuation": (1,)}, "continuation", "training.starts is 'pool'"),
        ({"data.noise": -0.1}, "data.noise", "0 or more"),
        (WELL | {"data.seed": 1}, "data.seed", "read and not simulated"),
        (NADAM | {"optimiser.optax.lbfgs.memory": 5}, "lbfgs.memory", "nadam"),
        (NADAM | {"optimiser.optax.weight_decay": 0.1}, "weight_decay", "nadam"),
        (NADAM | {"optimiser.optax.piecewise": ("9=0.1",)}, "optax.piecewise", "'cosine'"),
        (NADAM | CONSTANT | {"optimiser.optax.decay_steps": 9}, "decay_steps", "'constant'"),
        (NADAM | CONSTANT | {"optimiser.optax.final_fraction": 0.1}, "final_fraction", "constant"),
        (NADAM | {"optimiser.optax.pruning.last_step": 9}, "pruning.last_step", "sparsity is 0"),
        (NADAM | {"optimiser.optax.pruning.first_step": 9}, "first_step", "sparsity is 0"),
        (LBFGS | {"optimiser.optax.learning_rate": 0.1}, "optax.learning_rate", "lbfgs"),
        (LBFGS | {"optimiser.optax.rates": ("diffusion=2",)}, "optax.rates", "lbfgs"),
        (LBFGS | {"optimiser.optax.clip_norm": 2.0}, "optax.clip_norm", "lbfgs"),
        (
            NADAM | {"optimiser.optax.frozen": ("diffusion",), "optimiser.derivative_steps": 5},
            "optimiser.derivative_steps",
            "optimiser.optax.frozen is ('diffusion',)",
        ),
        ({"model.nca.network.hidden": (64,)}, "model.nca.network.hidden", "model.name is 'rda'"),
        (NCA | {"solver.dt": 0.5}, "solver.dt", "model.name is 'nca'"),
        ({"model.rda.network.hidden": (8,)}, "model.rda.network.hidden", "no 'network'"),
        (NETWORK | {"model.rda.polynomial.order": 2}, "polynomial.order", "no 'polynomial'"),
        ({"model.rda.advection.hidden": (8,)}, "model.rda.advection.hidden", "no 'advection'"),
        ({"model.rda.terms": ("polynomial",), "model.rda.diffusion.initial": 0.1}, "initial", "no"),
        ({"solver.adaptive.max_steps": 9}, "adaptive.max_steps", "solver.dt is not 0"),
        (NCA | {"optimiser.derivative_steps": 5}, "optimiser.derivative_steps", "set it to 0"),
        (
            NCA | NADAM | {"model.nca.perception": "steerable", "augmentation.turn": True},
            "augmentation.turn",
            "'steerable'",
        ),
        (NETWORK | {"evaluation.windows": 8}, "evaluation.windows", "no polynomial"),
        (NCA | {"model.nca.perception": "sight"}, "model.nca.perception", "steerable"),
        (NCA | {"model.nca.change": "mlp"}, "model.nca.change", "kan"),
        (NCA | {"model.nca.gated.hidden": (8,)}, "gated.hidden", "change is 'network'"),
        (NCA | {"model.nca.finishing": ("dead",)}, "model.nca.finishing", "alive"),
        (NCA | {"model.nca.alive.channel": 1}, "alive.channel", "no 'alive'"),
        (
            NCA | {"model.nca.start_alive": True, "model.nca.alive.threshold": 0.2},
            "alive.threshold",
            "no 'alive'",
        ),
        (NCA | {"model.nca.learnt.count": 2}, "learnt.count", "perception is 'stencils'"),
        ({"solver.name": "rk4"}, "solver.name", "etdrk4"),
        ({"solver.exact": True}, "solver.exact", "no exponential solver"),
        ({"model.mask": "hard"}, "model.mask", "given, soft, trainable"),
        ({"data.mask": "disc"}, "data.mask", "none, ellipse, micropattern"),
        (NADAM | {"regulariser.coverage": 1.0}, "regulariser.coverage", "model.mask"),
        (NADAM | {"regulariser.outside": 1.0}, "regulariser.outside", "data.mask is 'none'"),
        (NADAM | {"loss.patches": -1.0}, "loss.patches", "0 or more"),
        (NADAM | {"regulariser.sparsity": -1.0}, "regulariser.sparsity", "0 or more"),
        (NADAM | {"loss.channel_weights": (1.0, -1.0)}, "loss.channel_weights", "negative"),
        (NADAM | {"loss.time_weights": (0.0,)}, "loss.time_weights", "one must be positive"),
        ({"loss.l1": 1.0}, "loss.l1", "minimises l2"),
        (
            NADAM | {"loss.settings.patches.size": 7},
            "patches.size",
            "patches have no weight under loss",
        ),
        (
            NADAM | {"loss.settings.perceptual.files": ("vgg.pth",)},
            "loss.settings.perceptual.files",
            "vgg_gram and lpips have no weight under loss",
        ),
        (NADAM | FRACTION | {"loss.sampled_euclidean": 1.0}, "euclidean.fraction", "at most 1"),
        (
            NADAM | {"loss.multi_scale": 1.0, "loss.settings.multi_scale.of": "patches"},
            "loss.settings.multi_scale.of",
            "l2, l1",
        ),
        (
            NADAM | {"loss.multi_scale": 1.0, "loss.settings.multi_scale.scales": (0,)},
            "loss.settings.multi_scale.scales",
            "positive whole number",
        ),
        ({"model.rda.taxis.order": 2}, "model.rda.taxis.order", "no 'taxis'"),
        (
            {"model.rda.terms": ("taxis",), "model.rda.taxis.order": 2},
            "model.rda.taxis.order",
            "coefficients is 'constant'",
        ),
        ({"model.chemotaxis.cells": 2}, "model.chemotaxis.cells", "model.name is 'rda'"),
        ({"data.doses": ("alpha=0.1,0.2",)}, "data.doses", "only automata"),
        ({"data.environment": ("edges",)}, "data.environment", "coordinates, edge"),
        ({"data.environment": ("edge",)}, "data.environment", "position=True"),
        ({"data.the_well.every": 2}, "data.the_well.every", "data.name is 'gray_scott'"),
        (WELL | {"data.pdebench.every": 2}, "data.pdebench.every", "data.name is 'the_well'"),
        (WELL | {"data.shape": (8, 8)}, "data.shape", "read and not simulated"),
        (WELL | {"data.the_well.inputs": ("F",)}, "data.the_well.inputs", "only automata"),
        (WELL | {"data.doses": ("alpha=1,2",)}, "data.doses", "read and not simulated"),
        (WELL | {"data.directory": "data"}, "data.directory", "read and not simulated"),
        (RUN | {"data.run.train": 0}, "data.run.train", "positive"),
        (RUN | {"data.run.interval": -1.0}, "data.run.interval", "0 or more"),
        (RUN | {"data.end_time": 64.0}, "data.end_time", "read and not simulated"),
        ({"data.run.seed": 1}, "data.run.seed", "data.name is 'gray_scott'"),
        (WELL | {"data.the_well.every": 0}, "data.the_well.every", "positive"),
        (WELL | {"data.the_well.snapshots": -1}, "data.the_well.snapshots", "0 or more"),
        (
            WELL | {"data.the_well.stream": False, "data.the_well.scan": False},
            "data.the_well.scan",
            "data.the_well.stream is False",
        ),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(changes, field, hint):
    with pytest.raises(InputError) as error:
        configuration.check(tiny.config(**changes))
    assert_one_sentence(str(error.value), field, hint)


def test_fields_that_there_are_not_are_refused_and_missing_ones_too():
    unlocked = default.get_config().unlock()
    unlocked.training.batches = 3
    with pytest.raises(InputError) as error:
        configuration.check(unlocked)
    assert_one_sentence(str(error.value), "training.batches", "training.batch.")
    with pytest.raises(InputError) as error:
        configuration.check(ConfigDict({"seed": 0}))
    assert_one_sentence(str(error.value), "no field augmentation.crop", "configs/default.py")


@pytest.mark.parametrize("changes", [{}, NCA, {"data.shape": (8,), "model.rda.network.order": 1}])
def test_a_config_comes_back_out_of_json(changes):
    config = tiny.config(**changes)
    again = configuration.from_json(configuration.to_json(config), "config.json")
    assert again == config
    assert isinstance(again.data.shape, tuple)


def test_a_config_of_before_a_field_was_added_takes_its_default():
    stored = json.loads(configuration.to_json(tiny.config()))
    del stored["evaluation"]["windows"]
    assert configuration.from_json(json.dumps(stored), "config.json") == tiny.config()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "Expecting value"),
        ('{"seed": 0', "delimiter"),
        ("[1, 2]", "no JSON object"),
        ('{"sed": 0}', "sed"),
        ('{"training": {"step": 3}}', "training.steps"),
        ('{"training": {"steps": "many"}}', "steps"),
        ('{"training": 3}', "training"),
        ('{"seed": {"a": 1}}', "seed.a"),
        ('{"solver": {"dt": -1}}', "solver.dt"),
    ],
)
def test_a_damaged_stored_config_is_refused_by_its_path(text, hint):
    with pytest.raises(InputError) as error:
        configuration.from_json(text, "RUN/config.json")
    assert_one_sentence(str(error.value), "RUN/config.json", hint)


def test_only_fields_of_operation_may_differ_in_a_resumed_run():
    defaults = default.get_config()
    strict = []
    for field, value in configuration.leaves(defaults):
        other = default.get_config()
        changed = (*value, 1) if isinstance(value, tuple) else type(value)(f"{value}1")
        if isinstance(value, bool):
            changed = not value
        other.update_from_flattened_dict({field: changed})
        try:
            configuration.agree(other, defaults, "runs/a")
        except InputError as error:
            assert_one_sentence(str(error), field, "runs/a", repr(value))
            strict.append(field)
    free = {field for field, _ in configuration.leaves(defaults)} - set(strict)
    files = [f"data.{name}" for name in ("the_well", "pdebench")]
    assert free == {
        *(f"{name}.{field}" for name in files for field in ("train", "validation", "test", "scan")),
        "data.run.folder",
        "compilation_cache",
        "data.directory",
        "profile.steps",
        "evaluation.covered",
        "evaluation.report",
        "evaluation.threshold",
        "evaluation.windows",
        *(f"mesh.{field}" for field in defaults.mesh),
        *(f"plan.{field}" for field in defaults.plan),
        "optimiser.optax.skip_nonfinite",
        "training.checkpoint_every",
        "training.checkpoint_minutes",
        "training.log_every",
        "training.pictures_every",
        "training.stall_factor",
        "training.stall_seconds",
        "training.steps",
        "training.windows",
    }


GOOD = """
from diffpattern.configs import default
def get_config(kind=""):
    config = default.get_config()
    {}
    return config
"""


@pytest.mark.parametrize(
    ("content", "hints"),
    [
        ("def get_config(:\n    pass\n", ("is not Python", "line 1")),
        ("import nothing_of_this_name\n", ("line 1", "nothing_of_this_name")),
        ("x = 3\n", ("get_config",)),
        ("def get_config():\n    return 3\n", ("int", "configs/default.py")),
        (GOOD.format("config.training.step = 3"), ("line 5", '"step"', '"steps"')),
        (GOOD.format("config.training.steps = 'many'"), ("line 5", "steps")),
        (GOOD.format("config.data.shape = 1 / 0"), ("line 5", "ZeroDivisionError")),
        (GOOD.format("config.unlock(); config.lr = 3"), ("lr",)),
    ],
)
def test_a_config_file_that_fails_is_refused_by_its_line(tmp_path, content, hints):
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        configuration.check_file(str(path))
    assert_one_sentence(str(error.value), *hints)
    if "get_config" in content and "unlock" not in content:
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--config=none.py"], "none.py"),
        (["--config="], "no file"),
        (["--config"], "no file"),
        (["--config", "none.py"], "none.py"),
        (["-config=none.py"], "none.py"),
        (["--config=.", "--config.seed=3"], "'.'"),
        (["--config.seed=3"], "--config.seed=3"),
        (["--config.seed=3", "--config=GOOD"], "--config=FILE before"),
        (["--config=GOOD", "--config.sed=3"], "is seed."),
        (["--config=GOOD", "-config.training.step", "3"], "is training.steps."),
        (["--config=GOOD", "--noconfig.optimiser.optax.normalize_blocks"], "normalise_blocks"),
        (["--config=GOOD", "--config.training=3"], "training"),
        (["--config=GOOD", "--config.data.shape[0]=3"], "data.shape"),
    ],
    ids=str,
)
def test_command_lines_that_lead_to_no_config_are_refused(tmp_path, arguments, hint):
    path = tmp_path / "good.py"
    path.write_text(GOOD.format(""))
    arguments = [re.sub("GOOD", str(path), argument) for argument in arguments]
    with pytest.raises(InputError) as error:
        configuration.check_arguments(["main.py", *arguments])
    assert_one_sentence(str(error.value), hint)


def test_command_lines_that_lead_to_a_config_pass(tmp_path):
    path = tmp_path / "good.py"
    path.write_text(GOOD.format(""))
    for arguments in (
        [],
        ["--mode=eval", "--workdir=configs"],
        [f"--config={path}", "--config.training.steps=3", "--config.seed", "4"],
        ["--config", f"{path}:fast", "--config.data.shape=(8, 8)"],
    ):
        configuration.check_arguments(["main.py", *arguments])


def test_what_run_json_tells_of_a_session_is_its_config():
    kept = tiny.config(
        **{"training.steps": 7, "data.shape": (8, 12), "model.rda.terms": ("split",)}
    )
    kept.data.boundary = ("symmetric",)
    changes = configuration.changes(kept)
    assert changes["training.steps"] == 7 and "seed" not in changes
    sessions = [{"fields": {"training.steps": 3}}, {"fields": changes}]
    read = configuration.from_json(json.dumps({"sessions": sessions}), "RUN/run.json")
    assert read == kept
    for damaged in ([], [{}], [{"fields": {"training.step": 3}}]):
        with pytest.raises(InputError, match="RUN/run.json does not hold the config of a run"):
            configuration.from_json(json.dumps({"sessions": damaged}), "RUN/run.json")


def test_a_stored_config_is_read_like_a_config_file(tmp_path):
    path = tmp_path / "config.json"
    kept = tiny.config(**{"training.steps": 7, "data.shape": (8, 12)})
    path.write_text(configuration.to_json(kept))
    given = ["main", "--mode=train", f"--config={path}", "--config.seed=1", "--input=a.json"]
    read = configuration.with_stored(given)
    assert [read[n] for n in (0, 1, 3, 4)] == [given[n] for n in (0, 1, 3, 4)]
    flag, _, file = read[2].partition("=")
    assert flag == "--config"
    assert configuration.call(file, "get_config") == kept
    assert configuration.with_stored(["main", "--config", str(path)])[2] == file
    path.write_text("{")
    for wrong, told in ((path, "does not hold the config"), (tmp_path / "no.json", "cannot be")):
        (_, argument) = configuration.with_stored(["main", f"--config={wrong}"])
        with pytest.raises(InputError, match=f"{wrong} {told}"):
            configuration.check_arguments([argument])
