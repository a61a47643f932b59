"""What a config makes of its data: doses and environments; simulations are tested on their own."""

import dataclasses

import numpy as np
import pytest
import tiny

from diffpattern import dataset
from diffpattern.data import sources
from diffpattern.data.simulation import simulate
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid

FIELDS = {
    "data.shape": (8, 8), "data.interval": 2.0, "data.end_time": 4.0, "data.train": 2,
    "data.validation": 1, "data.test": 1, "training.window": 1,
}  # fmt: skip
NCA = {
    "model.name": "nca", "optimiser.name": "nadam", "model.nca.channels": 3,
    "model.nca.network.hidden": (8,), "model.nca.steps_per_interval": 2, "model.nca.fire_rate": 1.0,
}  # fmt: skip


@pytest.mark.usefixtures("quick_compilation")
def test_each_dose_has_trajectories_of_its_own_and_the_rule_is_told_which(tmp_path):
    doses = ("alpha=0.0623,0.03", "gamma=0.05,0.055,0.07")
    config = tiny.config(
        **FIELDS | {"data.directory": str(tmp_path), "data.doses": doses, "data.mask": "ellipse"}
    )
    (data,) = dataset.load(config)
    train = data["train"]
    assert len(train.values) == len(train.mask) == 12 and len(data["test"].values) == 6
    np.testing.assert_allclose(train.inputs[::2, 0], [1, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(train.inputs[::2, 1], [0, 0.25, 1] * 2)
    settings = dataset.simulation(config)
    system = dataclasses.replace(settings.system, alpha=0.03, gamma=0.055)
    alone = simulate(dataclasses.replace(settings, system=system))["train"]
    np.testing.assert_allclose(train.values[8:10], alone.values, atol=1e-6)
    assert dataset.combinations(config) == 6
    times, expected = dataset.expected(config, (1,))
    np.testing.assert_array_equal(times, train.times)
    assert expected.inputs == 2 and expected.masked


@pytest.mark.usefixtures("quick_compilation")
def test_an_automaton_that_is_told_the_dose_does_another_thing_at_each(tmp_path):
    config = tiny.config(
        **FIELDS
        | NCA
        | {
            "data.directory": str(tmp_path), "data.doses": ("alpha=0.01,0.06",),
            "data.environment": ("coordinates",), "training.batch": 4,
        }
    )  # fmt: skip
    run = tiny.Run(config, dataset.load(config)[0]["train"], 2)
    run.train(2)
    # 3 channels and 4 coordinates, through the identity, two gradients and a Laplacian; one dose.
    parameters = run.state.parameters["update"]["network"]["hidden_0"]
    assert parameters["kernel"].shape == (4 * 7, 8) and parameters["inputs"].shape == (1, 8)
    assert np.abs(parameters["inputs"]).min() > 0


@pytest.mark.parametrize(
    ("doses", "complaint"),
    [
        (("alpha",), "'alpha'; write NAME=VALUE,VALUE"),
        (("alpha=0.1",), "two or more values"),
        (("alpha=0.1,low",), "two or more values"),
        (("alpha=0.1,nan",), "two or more values"),
        (("beta=0.1,0.2",), "diffusion_a, diffusion_b, alpha, gamma"),
        (("alpha=-0.1,0.2",), r"data\.doses: alpha is -0\.1"),
    ],
)
def test_doses_that_are_none_are_refused(doses, complaint):
    with pytest.raises(InputError, match=complaint):
        dataset.expected(tiny.config(**FIELDS | {"data.doses": doses}), (1,))


def one_snapshot():
    return Trajectories(np.zeros((1, 1, 4, 4, 1)), [0.0], ("u",), Grid((4, 4)))


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_snapshot_is_refused_in_a_sentence(split):
    data = {"train": tiny.data(), split: one_snapshot()}
    config = tiny.config(**{"data.name": "given"})
    with pytest.raises(InputError, match=f"The {split} data have one snapshot .* two or more"):
        dataset.load(config, sources.by_split(data, "The data"))


def test_one_image_is_refused_in_a_sentence(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((8, 8), np.float32))
    images = {"data.name": "images", "data.images.train": (str(tmp_path / "one.npy"),)}
    with pytest.raises(InputError, match="The train data have one snapshot"):
        dataset.load(tiny.config(**images))


def test_snapshots_that_come_in_between_are_told(caplog):
    times = np.array([0.0, 0.333, 0.667, 1.0])
    uneven = Trajectories(np.ones((1, 4, 4, 1)), times, ("u",), Grid(4))
    with caplog.at_level("INFO"):
        data = sources.by_split({"train": uneven, "test": tiny.data()}, "The data")
        (loaded,) = dataset.load(tiny.config(**{"data.name": "given"}), data)
    assert len(loaded["train"].times) == 1001
    (told,) = (message for message in caplog.messages if "train" in message)
    assert "intervals of 0.001 they have 1001 snapshots, of which 997 come in between" in told
    assert not any("test" in message for message in caplog.messages)


@pytest.mark.parametrize("name", ["A B", "A^2", "A*B", " A"])
def test_species_that_no_term_can_hold_are_refused(name):
    data = sources.by_split(dataclasses.replace(tiny.data(), species=("A", name)), "The data")
    with pytest.raises(InputError, match="species called .* call it 'A") as told:
        dataset.load(tiny.config(**{"data.name": "given"}), data)
    assert repr(name) in str(told.value)
