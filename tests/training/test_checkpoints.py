"""Checkpoints come back bit for bit or not at all, whatever happened to their files."""

import json
import logging as standard_logging
import os
import pathlib
import random
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from diffpattern.errors import InputError, TrainingError
from diffpattern.training.checkpoints import Checkpoints

# TensorStore's threads print tracebacks of their own unless kept from it.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


def make_parameters(seed: int) -> dict:
    values = np.random.default_rng(seed)
    return {
        "diffusion": jnp.asarray(values.normal(size=2), jnp.float32),
        "reaction": {
            "dense": {
                "kernel": jnp.asarray(values.normal(size=(8, 6)), jnp.float32),
                "bias": jnp.asarray(values.normal(size=6), jnp.bfloat16),
            }
        },
    }


def make_training_state(seed: int) -> dict:
    parameters = make_parameters(seed)
    optimiser = optax.adam(1e-3)
    _, moments = optimiser.update(parameters, optimiser.init(parameters))
    return {
        "optimiser": moments,
        "key": jax.random.key(seed),
        "keys": jax.random.split(jax.random.key(seed, impl="rbg"), 3),
        "step": jnp.int32(seed),
        "accepted": jnp.asarray([True, False]),
        "costs": np.linspace(0.0, 1.0, 5) / 3,
        "empty": jnp.zeros((0, 3), jnp.bfloat16),
    }


PARAMETERS_TEMPLATE = jax.eval_shape(lambda: make_parameters(0))
TRAINING_STATE_TEMPLATE = make_training_state(0)


def to_bytes(tree) -> list[tuple]:
    """Each leaf as path, type, shape and bytes."""

    def one(path, leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return (
                path,
                str(leaf.dtype),
                leaf.shape,
                np.asarray(jax.random.key_data(leaf)).tobytes(),
            )
        return path, str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()

    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [one(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert to_bytes(found) == to_bytes(expected)


def assert_is_step(restored, step: int):
    """Asserts that what was restored is exactly what `write` saved at that step."""
    assert restored.step == step
    assert restored.metadata == {"step": step, "units": "µm"}
    assert_same(restored.parameters, make_parameters(step))
    if restored.training_state is not None:
        assert_same(restored.training_state, make_training_state(step))


def save(checkpoints: Checkpoints, step: int, score: float | None = None):
    checkpoints.save(
        step,
        make_parameters(step),
        make_training_state(step),
        {"step": step, "units": "µm"},
        score,
    )


def write(folder: pathlib.Path, *steps: int) -> pathlib.Path:
    with Checkpoints(folder) as checkpoints:
        for step in steps:
            save(checkpoints, step)
    return folder


def resume(folder: pathlib.Path):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.resume(PARAMETERS_TEMPLATE, TRAINING_STATE_TEMPLATE)


def assert_one_sentence(error: pytest.ExceptionInfo, *words: object):
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert str(word) in message


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> pathlib.Path:
    """A folder with checkpoints 1 and 2, not to be changed."""
    return write(tmp_path_factory.mktemp("pristine") / "checkpoints", 1, 2)


@pytest.fixture
def folder(pristine, tmp_path) -> pathlib.Path:
    """A copy of the pristine folder, to be damaged."""
    return pathlib.Path(shutil.copytree(pristine, tmp_path / "checkpoints"))


@pytest.fixture
def warned():
    """Warnings or worse of the module, and what asyncio tells of errors that nobody caught."""
    messages = []

    class Keep(standard_logging.Handler):
        def emit(self, record):
            if record.filename == "checkpoints.py" or record.name == "asyncio":
                messages.append(record.getMessage())

    handler = Keep(standard_logging.WARNING)
    loggers = [logging.get_absl_logger(), standard_logging.getLogger("asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    yield messages
    for logger in loggers:
        logger.removeHandler(handler)


# What is saved comes back.


def test_restores_every_type_bit_for_bit(folder):
    assert_is_step(resume(folder), 2)
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(PARAMETERS_TEMPLATE, TRAINING_STATE_TEMPLATE, step=1)
        assert isinstance(restored.training_state["costs"], np.ndarray)
        assert restored.training_state["costs"].dtype == np.float64
    assert_is_step(restored, 1)


@pytest.mark.parametrize("template", [None, PARAMETERS_TEMPLATE])
def test_restores_parameters_alone(folder, template):
    shutil.rmtree(folder / "2" / "training_state")
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(template)
    assert restored.training_state is None
    assert_is_step(restored, 2)


def test_restores_lists_and_states_without_arrays(tmp_path):
    parameters = [jnp.arange(3), {"scale": 2.0}]
    state = optax.identity().init(parameters)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(0, parameters, state, {})
        restored = checkpoints.restore(parameters, state, step=0)
    assert_same(restored.parameters, [jnp.arange(3), {"scale": jnp.asarray(2.0)}])
    assert restored.training_state == state


def test_close_right_after_save_keeps_it_all(tmp_path):
    folder = tmp_path / "checkpoints"
    checkpoints = Checkpoints(folder)
    save(checkpoints, 5)
    checkpoints.close()
    assert_is_step(resume(folder), 5)


def test_buffers_may_be_donated_right_after_save(tmp_path):
    overwrite = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    values = jax.block_until_ready(jax.jit(lambda: jnp.arange(1_000_000, dtype=jnp.float32))())
    counts = np.arange(10)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, {"values": values}, {"counts": counts}, {})
        counts[:] = -1
        for _ in range(3):
            values = jax.block_until_ready(overwrite(values))
        restored = checkpoints.restore({"values": values}, {"counts": counts})
    np.testing.assert_array_equal(restored.training_state["counts"], np.arange(10))
    np.testing.assert_array_equal(restored.parameters["values"], np.arange(1_000_000))


# Which are kept.


def test_keeps_the_latest_three_and_the_best(tmp_path):
    folder = tmp_path / "checkpoints"
    scores = {10: 3.0, 20: 1.0, 30: 2.0, 40: None, 50: float("nan")}
    with Checkpoints(folder) as checkpoints:
        for step, score in scores.items():
            save(checkpoints, step, score)
        assert checkpoints.steps() == [20, 30, 40, 50]
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.best == 20
        save(checkpoints, 60, 4.0)
        assert checkpoints.steps() == [20, 40, 50, 60]
        save(checkpoints, 70, 0.5)
        assert (checkpoints.best, checkpoints.latest) == (70, 70)
        assert checkpoints.steps() == [50, 60, 70]
    assert sorted(path.name for path in folder.iterdir()) == ["50", "60", "70"]


def test_without_scores_keeps_the_latest(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        for step in range(4):
            save(checkpoints, step)
        assert checkpoints.best is None
        assert checkpoints.steps() == [2, 3]


def test_a_failed_save_deletes_nothing_and_is_told(tmp_path):
    folder = write(tmp_path / "checkpoints", 1, 2, 3)
    # A link to nowhere: the folder that Orbax writes first can be neither made nor cleared away.
    (folder / "4.orbax-checkpoint-tmp").symlink_to(tmp_path / "nowhere")
    checkpoints = Checkpoints(folder)
    with pytest.raises(TrainingError) as error:
        save(checkpoints, 4)
        checkpoints.wait()
    assert_one_sentence(error, folder)
    checkpoints.close()
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [1, 2, 3]
        for step in (1, 2, 3):
            assert_is_step(checkpoints.restore(step=step), step)


def test_keep_must_be_positive(tmp_path):
    with pytest.raises(InputError) as error:
        Checkpoints(tmp_path, keep=0)
    assert_one_sentence(error, 0)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(InputError) as error:
        Checkpoints(tmp_path / "checkpoints")
    assert_one_sentence(error, tmp_path / "checkpoints")


# Nothing there, or only half of it.


def test_an_empty_or_missing_folder_is_told_and_left_alone(tmp_path):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.resume(PARAMETERS_TEMPLATE, TRAINING_STATE_TEMPLATE) is None
        assert (checkpoints.steps(), checkpoints.latest, checkpoints.best) == ([], None, None)
        with pytest.raises(InputError) as error:
            checkpoints.restore(PARAMETERS_TEMPLATE)
        assert_one_sentence(error, folder)
        with pytest.raises(InputError) as error:
            checkpoints.restore(PARAMETERS_TEMPLATE, step=3)
        assert_one_sentence(error, folder / "3")
    assert not folder.exists()


def test_a_missing_step_is_refused_with_those_that_exist(folder):
    with Checkpoints(folder) as checkpoints, pytest.raises(InputError) as error:
        checkpoints.restore(PARAMETERS_TEMPLATE, step=7)
    assert_one_sentence(error, folder / "7", "1, 2")


def test_half_written_folders_are_no_checkpoints(folder, warned):
    shutil.copytree(folder / "2", folder / "3.orbax-checkpoint-tmp")
    (folder / "4.orbax-checkpoint-tmp-17").mkdir()
    (folder / "notes.txt").touch()
    assert_is_step(resume(folder), 2)
    assert (folder / "3.orbax-checkpoint-tmp").exists()  # another process may be writing it
    assert not warned
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [1, 2]
        save(checkpoints, 3)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "3", "notes.txt"]
    assert_is_step(resume(folder), 3)


# Damage.


def flip(path: pathlib.Path, chance: random.Random):
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path: pathlib.Path, chance: random.Random):
    os.truncate(path, chance.randrange(1, path.stat().st_size))


def empty(path: pathlib.Path, chance: random.Random):
    os.truncate(path, 0)


def remove(path: pathlib.Path, chance: random.Random):
    path.unlink()


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("harm", [flip, truncate, empty, remove])
@pytest.mark.parametrize("item", ["", "parameters", "training_state", "metadata"])
def test_damage_is_never_restored(folder, warned, harm, item):
    """Each file of one item is harmed in turn: right values, or the step before and a warning."""
    newest = folder / "2"
    chance = random.Random(f"{harm.__name__} {item}")
    targets = files_of(newest / item) if item else [p for p in newest.iterdir() if p.is_file()]
    noticed = 0
    for target in targets:
        kept = target.read_bytes()
        harm(target, chance)
        warned.clear()
        restored = resume(folder)
        assert_is_step(restored, restored.step)
        with Checkpoints(folder) as checkpoints:
            if restored.step == 2:
                assert not warned
                assert_is_step(
                    checkpoints.restore(PARAMETERS_TEMPLATE, TRAINING_STATE_TEMPLATE, step=2), 2
                )
            else:
                noticed += 1
                assert len(warned) == 1
                assert str(newest) in warned[0]
                with pytest.raises(InputError) as error:
                    checkpoints.restore(PARAMETERS_TEMPLATE, TRAINING_STATE_TEMPLATE, step=2)
                assert_one_sentence(error, newest, "damaged")
        target.write_bytes(kept)
    assert targets
    if item:
        assert noticed
    assert_is_step(resume(folder), 2)


def test_flipped_bytes_of_arrays_are_noticed(tmp_path, warned):
    """In arrays of some size nearly every byte counts, and no flip may get through."""
    folder = tmp_path / "checkpoints"
    saved = {
        step: {"field": np.random.default_rng(step).normal(size=(64, 64)).astype(np.float32)}
        for step in (1, 2)
    }
    with Checkpoints(folder) as checkpoints:
        for step, parameters in saved.items():
            checkpoints.save(step, parameters, {}, {})
    chance = random.Random(5)
    largest = max(files_of(folder / "2"), key=lambda path: path.stat().st_size)
    kept = largest.read_bytes()
    for _ in range(20):
        flip(largest, chance)
        with Checkpoints(folder) as checkpoints:
            restored = checkpoints.restore(saved[1])
        assert restored.step == 1
        assert_same(restored.parameters, saved[1])
        largest.write_bytes(kept)
    assert len(warned) == 20


def test_intact_files_with_other_values_are_noticed(folder, warned):
    shutil.rmtree(folder / "2" / "parameters")
    shutil.copytree(folder / "1" / "parameters", folder / "2" / "parameters")
    assert_is_step(resume(folder), 1)
    assert "diffusion of its parameters does not match its digest" in warned[0]


def edit_record(folder: pathlib.Path, edit):
    path = folder / "2" / "metadata" / "metadata"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record["metadata"].update(step=3),
        lambda record: record.update(score=0.5),
        lambda record: record["leaves"]["parameters"].pop("diffusion"),
        lambda record: record.pop("digest"),
        lambda record: record.clear(),
    ],
)
def test_edited_metadata_is_noticed(folder, warned, edit):
    edit_record(folder, edit)
    assert_is_step(resume(folder), 1)
    assert "metadata does not match its digest" in warned[0]
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.best is None


def test_a_renamed_checkpoint_is_noticed(folder, warned):
    (folder / "1").rename(folder / "9")
    assert_is_step(resume(folder), 2)
    assert "saved as step 1" in warned[0]


def test_no_intact_checkpoint_is_refused(folder):
    for step in "12":
        shutil.rmtree(folder / step / "metadata")
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(InputError) as error:
            checkpoints.resume(PARAMETERS_TEMPLATE, TRAINING_STATE_TEMPLATE)
        assert_one_sentence(error, folder, "step 2")


# Going on after damage.


@pytest.mark.parametrize("step", [2, 3])
def test_damaged_checkpoints_are_set_aside_by_the_next_save(folder, warned, step):
    remove(folder / "2" / "metadata" / "metadata", random.Random(0))
    content = {path.relative_to(folder / "2"): path.read_bytes() for path in files_of(folder / "2")}
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [1, 2]
        restored = checkpoints.resume(PARAMETERS_TEMPLATE, TRAINING_STATE_TEMPLATE)
        assert_is_step(restored, 1)
        assert (checkpoints.steps(), checkpoints.latest) == ([1], 1)
        save(checkpoints, step)
        assert checkpoints.steps() == [1, step]
    aside = folder / "damaged-2-1"
    assert {path.relative_to(aside): path.read_bytes() for path in files_of(aside)} == content
    assert any("damaged-2-1" in message for message in warned)
    warned.clear()
    assert_is_step(resume(folder), step)
    assert not warned


def test_no_checkpoint_is_overwritten(folder):
    for number in (1, 2):
        with Checkpoints(folder) as checkpoints:
            save(checkpoints, 2)
            save(checkpoints, 3 + number)
        assert (folder / f"replaced-2-{number}" / "parameters").is_dir()
    assert_is_step(resume(folder), 5)


# Other models.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda p: p["reaction"]["dense"].update(kernel=jnp.zeros((8, 7))),
            ("reaction/dense/kernel", "float32[8, 6]", "float32[8, 7]"),
        ),
        (lambda p: p.update(diffusion=jnp.zeros(2, jnp.int32)), ("diffusion", "int32[2]")),
        (lambda p: p.update(advection=jnp.zeros(4)), ("advection", "missing", "float32[4]")),
        (lambda p: p.pop("reaction"), ("reaction/dense/bias", "bfloat16[6]")),
    ],
)
def test_templates_of_another_model_are_refused(folder, warned, change, words):
    parameters = make_parameters(0)
    change(parameters)
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(InputError) as error:
            checkpoints.restore(parameters)
        assert_one_sentence(error, folder / "2", *words)
        with pytest.raises(InputError) as error:
            checkpoints.restore(parameters, step=1)
        assert_one_sentence(error, folder / "1", *words)
    assert not warned


def test_training_state_of_another_optimiser_is_refused(folder):
    with Checkpoints(folder) as checkpoints, pytest.raises(InputError) as error:
        checkpoints.resume(PARAMETERS_TEMPLATE, {"key": jax.random.key(0, impl="rbg")})
    assert_one_sentence(error, "key of its training_state", "uint32[2]", "uint32[4]")


# Other devices.


def place(tree, sharding):
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)


def describe(tree, sharding):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def shardings() -> dict[str, jax.sharding.Sharding]:
    """One device, and copies or pieces on eight."""
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8")
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    return {
        "one": SingleDeviceSharding(jax.devices()[3]),
        "copies": NamedSharding(mesh, PartitionSpec()),
        "pieces": NamedSharding(mesh, PartitionSpec("data")),
    }


@pytest.mark.parametrize("before", ["one", "copies", "pieces"])
@pytest.mark.parametrize("after", ["one", "copies", "pieces"])
def test_restores_on_other_devices(tmp_path, before, after):
    sharding = shardings()
    parameters = {"field": jnp.arange(128, dtype=jnp.float32).reshape(16, 8)}
    state = {"keys": jax.random.split(jax.random.key(1), 8), "half": jnp.ones(8, jnp.bfloat16)}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, place(parameters, sharding[before]), place(state, sharding[before]), {})
        restored = checkpoints.restore(
            describe(parameters, sharding[after]), describe(state, sharding[after])
        )
    assert_same((restored.parameters, restored.training_state), (parameters, state))
    for leaf in jax.tree.leaves((restored.parameters, restored.training_state)):
        assert leaf.sharding.is_equivalent_to(sharding[after], leaf.ndim)


def test_digests_do_not_depend_on_devices(tmp_path):
    records = []
    for name, sharding in shardings().items():
        folder = tmp_path / name
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(1, place({"field": jnp.arange(16.0)}, sharding), {}, {"a": 1})
        records.append(json.loads((folder / "1" / "metadata" / "metadata").read_text()))
    assert records[0] == records[1] == records[2]


def test_parameters_restore_in_a_process_with_one_device(tmp_path):
    sharding = shardings()["pieces"]
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        parameters = place({"rule": {"field": jnp.arange(16.0)}}, sharding)
        checkpoints.save(4, parameters, parameters, {})
    program = (
        "import sys, jax\n"
        "from diffpattern.training.checkpoints import Checkpoints\n"
        "with Checkpoints(sys.argv[1]) as checkpoints:\n"
        "    parameters = checkpoints.restore().parameters\n"
        "print(jax.device_count(), parameters['rule']['field'].tolist())\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    answer = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == f"1 {[float(i) for i in range(16)]}"
