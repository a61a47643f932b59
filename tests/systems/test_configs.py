"""configs/systems.py: a sound config for every system."""

import pytest

from diffpattern import configuration, dataset
from diffpattern.configs import default, systems
from diffpattern.data.simulation import Simulation
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary
from diffpattern.parallel.mesh import make_mesh
from diffpattern.rehearsal import rehearse
from diffpattern.systems import SYSTEMS


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_config_of_a_system_simulates_it_as_recommended(name):
    config = systems.get_config(name)
    configuration.check(config)
    settings = dataset.simulation(config)
    assert settings == Simulation.recommended(SYSTEMS[name]())
    assert configuration.from_json(configuration.to_json(config), "config.json") == config
    rehearse(config, *dataset.expected(config, (1,)), make_mesh(1))


def test_gray_scott_is_the_default():
    assert systems.get_config() == default.get_config()


def test_parameters_are_those_of_the_section_of_the_system():
    config = systems.get_config("brusselator")
    config.data.brusselator.b = 8.0
    assert dataset.simulation(config).system == SYSTEMS["brusselator"](b=8.0)
    config.data.brusselator.a = 0.0
    with pytest.raises(InputError, match=r"^data\.brusselator\.a is 0\.0, .* positive\.$"):
        dataset.simulation(config)


def test_a_system_that_there_is_not_is_refused_from_the_command_line():
    with pytest.raises(InputError, match="'brussels', but must be one of allen_cahn, "):
        configuration.check_file("configs/systems.py:brussels")


def test_walls_reach_the_simulation_and_come_back_out_of_json():
    config = default.get_config()
    fall = {"kind": "value", "value": [1.0, 0.0], "times": [0.0, 64.0]}
    config.data.boundary = ([fall, "symmetric"], "circular")
    across, along = dataset.simulation(config).grid.boundary
    assert across.lower == Boundary("value", (1.0, 0.0), (0.0, 64.0))
    assert across.upper.kind == "symmetric" and along.kind == "circular"
    again = configuration.from_json(configuration.to_json(config), "config.json")
    assert dataset.simulation(again) == dataset.simulation(config)
    configuration.agree(config, again, "runs/a")


def test_one_entry_is_for_all_axes():
    config = default.get_config()
    config.data.boundary = ("symmetric",)
    assert [walls.kind for walls in dataset.simulation(config).grid.boundary] == ["symmetric"] * 2
