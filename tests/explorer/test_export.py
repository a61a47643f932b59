import base64
import dataclasses
import re

import explored
import numpy as np
import pytest
import tiny

from diffpattern import export
from diffpattern.configs import rules
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.explorer import page, speed
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.run_folder import RunFolder


def rule_of(config, shape=(8, 12), boundary="circular", species=("A", "B"), **fields):
    values = np.random.default_rng(0).uniform(0.2, 0.8, (2, 3, *shape, len(species)))
    grid = Grid(shape, 1.0, boundary)
    data = Trajectories(values, 16.0 * np.arange(3), species, grid, **fields)
    return explored.restored(config, data, 0.1)


def explore(rule, folder="."):
    return export.explore(rule, RunFolder(folder))


def test_what_a_cell_takes_is_what_is_counted_by_hand(tmp_path):
    """Of the plain automaton: 16 channels, 64 features, 128 hidden units."""
    exploration = explore(rule_of(rules.get_config("plain")), tmp_path)
    (one,) = exploration.program.passes
    counts = exploration.program.per_cell()
    assert counts["reads"] == 9 * 4 and counts["writes"] == 4
    multiplications = 64 * 128 + 128 * 16
    # Besides the network: biases, relu and mask, and the stencils of 16 channels.
    assert 0 < counts["operations"] - 2 * multiplications < 16 * 70
    assert counts["weights"] == multiplications / 4 + 128 / 4
    assert exploration.program.weights.size == multiplications + 128
    assert speed.steps_a_second(counts, 256 * 256) > 60
    assert "for (" in one.body


def test_passes_are_as_many_as_there_are_lattices_to_be_asked_for(tmp_path):
    names = {"polynomial": 2, "nonlinear_diffusion": 3, "phase_field": 4, "chemotaxis": 3}
    for name, count in names.items():
        program = explore(rule_of(rules.get_config(name)), tmp_path).program
        assert len(program.passes) == count
    config = rules.get_config("multi_scale")
    coarse = explore(rule_of(config, shape=(8, 8)), tmp_path).program
    assert [one.writes.scale for one in coarse.passes] == [2, 4, 1]


@pytest.mark.parametrize(
    ("solver", "dt", "told"),
    [("heun", 1.0, None), ("etdrk4", 4.0, "solved by etdrk4; here"), ("tsit5", 0.0, "adaptive")],
)
def test_a_solver_that_a_page_cannot_run_gives_way_to_a_stable_one(tmp_path, solver, dt, told):
    config = tiny.config(**{"solver.name": solver, "solver.dt": dt})
    rule = rule_of(config)
    exploration = explore(rule, tmp_path)
    if told is None:
        assert exploration.step_size == dt and "solved by" not in exploration.running
        return
    assert told in exploration.running
    # Of D lap, whose fastest wave decays at 8 D (Oono and Puri: 6 D), it is far from the limit.
    diffusion = rule.checkpoint.parameters["diffusion"]["coefficient"]
    assert 0 < exploration.step_size < 4 / (6 * float(np.max(diffusion)))
    assert exploration.step_size <= (dt or np.inf)


def test_what_the_page_is_told_is_what_the_run_has(tmp_path):
    config = rules.get_config("alive")
    config.model.nca.channels, config.model.nca.fire_rate = 6, 0.75
    config.model.nca.alive.channel, config.model.nca.start_alive = 1, True
    config.model.nca.step_size = 0.5
    wall = Boundary("value", 0.3)
    rule = rule_of(config, boundary=("circular", wall), inputs=np.array([[1.0, 2.0], [3.0, 4.0]]))
    told = page.data_of(explore(rule, tmp_path))
    assert told["species"] == ["A", "B"] and told["channels"] == 6
    assert told["walls"]["kinds"] == ["circular", "circular", "value", "value"]
    assert told["walls"]["values"][3] == [[0.3] * 6]
    each = rule_of(config, boundary=("circular", Boundary("value", (0.3, 0.1))))
    told_of_each = page.data_of(explore(each, tmp_path))
    assert told_of_each["walls"]["values"][3] == [[0.3, 0.1, 0.0, 0.0, 0.0, 0.0]]
    assert told["fireRate"] == 0.75 and told["stepSize"] == 0.5 and told["inputs"] == [1.0, 2.0]
    # 16 steps an interval of 16.
    assert told["timePerStepSize"] * told["stepSize"] == 1.0
    assert told["hidden"] == {"alive": 1, "noise": 0.0} and told["alone"]
    assert 256 in told["sizes"]


@pytest.mark.parametrize(("steps", "speed"), [(1, 0.0625), (10, 0.5), (200, 8.0)])
def test_the_time_of_the_data_goes_by_in_about_ten_seconds(tmp_path, steps, speed):
    config = rules.get_config("alive")
    config.model.nca.steps_per_interval = 16 * steps
    told = page.data_of(explore(rule_of(config), tmp_path))
    assert told["speed"] == speed  # two intervals, 60 frames a second


def test_a_rule_that_takes_long_begins_at_a_pace_that_a_laptop_keeps(tmp_path):
    config = rules.get_config("alive")
    config.model.nca.steps_per_interval = 3200
    values = np.random.default_rng(0).uniform(0.2, 0.8, (1, 3, 512, 512, 2))
    data = Trajectories(values, 16.0 * np.arange(3), ("A", "B"), Grid((512, 512)))
    assert explore(explored.restored(config, data, 0.1), tmp_path).speed <= 1


def test_what_is_outside_of_a_mask_counts_in_no_number_of_the_page(tmp_path):
    mask = np.zeros((2, 8, 12))
    mask[:, 3:5, 3:7] = 1
    config = rules.get_config("plain")
    exploration = explore(rule_of(config, mask=mask), tmp_path)
    assert min(exploration.erased[:2]) > 0.2 and exploration.erased[2:] == [0.0] * 14
    assert all(low > 0.15 for low, _ in exploration.ranges[:2])
    # A species that the first snapshot lacks is erased to zero, as it is kept.
    known = np.ones((2, 3, 2))
    known[:, 0, 1] = 0
    lacking = explore(rule_of(config, mask=mask, known=known), tmp_path)
    assert lacking.erased[0] == exploration.erased[0] and lacking.erased[1] == 0
    assert lacking.ranges[1][0] > 0.15


def test_ranges_are_in_the_units_of_the_data(tmp_path):
    units = {"offset": (10.0, 0.0), "scale": (4.0, 1.0), "time_unit": "h"}
    exploration = explore(rule_of(rules.get_config("plain"), **units), tmp_path)
    told = page.data_of(exploration)
    assert told["timeUnit"] == "h" and told["starts"][-1]["name"] == "unseen start 1 at t = 32 h"
    assert told["offset"][:3] == [10.0, 0.0, 0.0] and told["scale"][:3] == [4.0, 1.0, 1.0]
    assert len(told["offset"]) == len(told["scale"]) == told["channels"]
    # 99% of numbers that are spread evenly from 0.2 to 0.8.
    np.testing.assert_allclose(told["ranges"][0], [10.8, 13.2], atol=0.05)
    np.testing.assert_allclose(told["ranges"][1], [0.2, 0.8], atol=0.02)
    assert "A = 10 + 4 * value." in exploration.rule
    assert "kernel scale 1;" in exploration.rule
    assert "normalised" not in explore(rule_of(rules.get_config("plain")), tmp_path).rule


def test_starts_are_those_of_the_data_to_sixteen_bits(tmp_path):
    rule = rule_of(rules.get_config("network"))
    exploration = explore(rule, tmp_path)
    truth = rule.truth[0].values
    assert [start.time for start in exploration.starts] == [0.0, 0.0, 32.0]
    for start, values in zip(
        exploration.starts, (truth[0, 0], truth[1, 0], truth[0, -1]), strict=True
    ):
        packed = page.data_of(dataclasses.replace(exploration, starts=[start]))["starts"][0]
        levels = np.frombuffer(base64.b64decode(packed["values"]["data"]), "<u2")
        low, high = (np.array(packed["values"][end]) for end in ("low", "high"))
        found = low + (high - low) * levels.reshape(values.shape) / 65535
        np.testing.assert_allclose(found, values, atol=1e-5)


def test_a_page_needs_nothing_but_itself(tmp_path):
    config = rules.get_config("network")
    config.data.name = "</script><b>"
    text = explored.written(rule_of(config), tmp_path).read_text()
    assert not re.findall(r"(?:src|href)=|@import|url\(|fetch\(|XMLHttp", text)
    assert text.count("</script>") == 1 and "{{" not in text
    assert len(text) < 1_000_000


def test_what_cannot_be_explored_is_said(tmp_path):
    config = rules.get_config("plain")
    config.model.nca.channels = 40
    with pytest.raises(InputError, match="has 40 channels, but the explorer takes up to 32"):
        explore(rule_of(config), tmp_path)
    with pytest.raises(InputError, match="lattices of two axes, but the run's data have 1"):
        explore(rule_of(rules.get_config("plain"), shape=(16,)), tmp_path)


def test_a_rule_that_would_make_a_large_page_is_refused(tmp_path, monkeypatch):
    config = rules.get_config("plain")
    config.model.nca.network.hidden = (512, 512)
    rule = rule_of(config)
    monkeypatch.setattr(export.restored, "restore", lambda folder, step: rule)
    with pytest.raises(InputError, match="numbers in its shaders, with which .* 1 MB"):
        export.export(RunFolder(tmp_path))
    assert not list(tmp_path.iterdir())


def test_estimates_fall_with_what_a_cell_takes():
    cell = {"reads": 9.0, "writes": 1.0, "operations": 1000.0, "weights": 100.0}
    first = speed.steps_a_second(cell, 65536)
    for name, value in cell.items():
        assert speed.steps_a_second(cell | {name: 2 * value}, 65536) < first
    assert speed.steps_a_second(cell, 4 * 65536) == pytest.approx(first / 4)
