"""Runs of several processes, begun as a user begins them: as good as those of one."""

import json
import shutil

import hdf5_files
import many
import numpy as np
import pytest
import tiny_runs

from diffpattern.run_folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

FIELDS = tiny_runs.FIELDS | {"training.steps": 4, "training.log_every": 1}
NCA = FIELDS | tiny_runs.POOL
LEAST_SQUARES = FIELDS | tiny_runs.LEAST_SQUARES
CONFIG = """
from diffpattern.configs import default


def get_config():
    config = default.get_config()
    config.update_from_flattened_dict({fields!r})
    return config
"""


def config_file(directory, fields) -> str:
    """The flag of a config file with some fields changed."""
    path = directory / "config.py"
    path.write_text(CONFIG.format(fields=fields))
    return f"--config={path}"


def simulated(directory, fields) -> str:
    """The same for simulated data, which are kept in `directory`/data."""
    return config_file(directory, fields | {"data.directory": str(directory / "data")})


def losses(folder) -> dict[int, tuple[float, ...]]:
    """What the curves of a run show, by step; without the time it took."""
    lines = (folder / "metrics" / "scalars.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    names = ("loss", "gradient_norm", "trial_loss", "validation")
    return {row["step"]: tuple(row[name] for name in names if name in row) for row in rows}


def assert_alike(found, expected, steps):
    """Equal but for the order in which a sum over processes adds up."""
    assert list(found) == list(range(1, steps + 1))
    for step, row in found.items():
        np.testing.assert_allclose(row, expected[step], rtol=1e-5, err_msg=f"step {step}")


def well(started):
    with started:
        ended = started.ended()
    assert [one.code for one in ended] == [0] * len(ended), "".join(one.errors for one in ended)
    return ended


@pytest.fixture(scope="module")
def automaton(tmp_path_factory):
    """An automaton trained for six steps by one process, with its config's flag and losses."""
    directory = tmp_path_factory.mktemp("automaton")
    flag = simulated(directory, NCA)
    well(many.runs(1, flag, "--config.training.steps=6", f"--workdir={directory}/run", devices=2))
    return directory, flag, losses(directory / "run")


def test_an_automaton_is_trained_by_two_and_goes_on_anywhere(automaton, tmp_path):
    """With a pool, a fire mask and noise, all of which lie on the devices of both."""
    directory, flag, expected = automaton
    begun = tmp_path / "two"
    reports = "--config.evaluation.report=True"
    first, second = well(many.runs(2, flag, reports, f"--workdir={begun}"))
    assert_alike(losses(begun), expected, 4)
    run = json.loads((begun / "run.json").read_text())
    assert run["sessions"][0]["processes"] == 2 and len(run["sessions"][0]["devices"]) == 2
    assert (begun / "report.html").is_file()
    assert "step 4 of 4" in first.errors and "Scores:" in first.output
    assert "step" not in second.errors and "Scores" not in second.output
    # On one device of one process; on four processes.
    for count in (1, 4):
        folder = shutil.copytree(begun, tmp_path / str(count))
        flags = [f"--workdir={folder}", "--config.training.steps=6", f"--config.mesh.data={count}"]
        ended = well(many.runs(count, flag, *flags))
        assert "Going on from step 4 of 6." in ended[0].errors
        assert_alike(losses(folder), expected, 6)


def test_what_four_processes_have_begun_one_goes_on_with(automaton, tmp_path):
    directory, flag, expected = automaton
    folder = tmp_path / "run"
    well(many.runs(4, flag, f"--workdir={folder}", "--config.mesh.data=-1"))
    assert_alike(losses(folder), expected, 4)
    flags = [f"--workdir={folder}", "--config.training.steps=6"]
    (ended,) = well(many.runs(1, flag, *flags, devices=2))
    assert "Going on from step 4 of 6." in ended.errors
    assert_alike(losses(folder), expected, 6)


WRITING = """
import json, os, sys
from pathlib import Path
import tiny_runs

directory, run = map(Path, sys.argv[1:])
touched = set()

def heard(event, arguments):
    changed = arguments[:1] if event in ("os.mkdir", "os.remove", "os.truncate") else ()
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        changed = arguments[:1]
    if event == "os.rename":
        changed = arguments[:2]
    for path in changed:
        if isinstance(path, (str, os.PathLike)) and Path(path).absolute().is_relative_to(run):
            touched.add(Path(path).absolute().relative_to(run).parts[:1])

sys.addaudithook(heard)
tiny_runs.run(directory, run, **tiny_runs.POOL | {"evaluation.report": True})
print(json.dumps(sorted("".join(parts) for parts in touched)))
"""


def test_only_process_0_writes_what_is_not_a_checkpoint(tmp_path):
    """Which files and folders of a run each opens to write, makes or renames, as Python tells it.

    Arrays of checkpoints, of which each process has a part, are not written by Python itself.
    """
    ended = many.of_script(WRITING, 2, tmp_path / "data", tmp_path / "run")
    assert [one.code for one in ended] == [0, 0], ended[0].errors + ended[1].errors
    first, second = (json.loads(one.output.splitlines()[-1]) for one in ended)
    assert {"run.json", "metrics", "report.html", "eval", "checkpoints"} <= set(first)
    assert set(second) <= {"checkpoints"}


def test_a_lattice_is_cut_into_blocks_of_two_processes(tmp_path):
    """Borders, fire masks and the pool of a lattice of which each process has one half."""
    flag = simulated(tmp_path, NCA | {"data.shape": (16, 16), "mesh.data": 1})
    two, one = tmp_path / "two", tmp_path / "one"
    well(many.runs(2, flag, f"--workdir={two}", "--config.mesh.rows=2"))
    well(many.runs(1, flag, f"--workdir={one}", "--config.training.steps=6"))
    assert_alike(losses(two), losses(one), 4)
    # On the whole lattice, and on other blocks.
    for rows, columns in ((1, 1), (2, 4)):
        folder = shutil.copytree(two, tmp_path / f"{rows} x {columns}")
        cut = [f"--config.mesh.rows={rows}", f"--config.mesh.columns={columns}"]
        flags = [f"--workdir={folder}", "--config.training.steps=6", *cut]
        (ended,) = well(many.runs(1, flag, *flags, devices=rows * columns))
        assert "Going on from step 4 of 6." in ended.errors
        assert_alike(losses(folder), losses(one), 6)


def test_each_process_reads_its_own_block_of_what_is_in_files(tmp_path):
    """Trajectories that stay in a file, on a lattice of which each process has three columns."""
    place = hdf5_files.numbered(4, 9)
    species = {"A": np.cos(place / 40), "B": np.cos(place / 23)}
    path = hdf5_files.the_well(tmp_path / "well.hdf5", species)
    fields = {
        "data.name": "the_well", "data.the_well.train": path,
        "data.the_well.validation_trajectories": 1, "data.the_well.test_trajectories": 1,
        "training.batch": 3, "training.steps": 4, "training.log_every": 1, "mesh.data": 1,
        "model.nca.stencils.laplacian": "cross",
    }  # fmt: skip
    flag = config_file(tmp_path, tiny_runs.NCA | fields)
    two, one = tmp_path / "two", tmp_path / "one"
    well(many.runs(2, flag, f"--workdir={two}", "--config.mesh.columns=2"))
    well(many.runs(1, flag, f"--workdir={one}"))
    assert_alike(losses(two), losses(one), 4)


def test_two_processes_score_as_one_does(automaton, tmp_path):
    folder = shutil.copytree(automaton[0] / "run", tmp_path / "run")
    before = json.loads((folder / "eval" / "scores.json").read_text())
    well(many.runs(2, "--mode=eval", f"--workdir={folder}"))
    after = json.loads((folder / "eval" / "scores.json").read_text())
    assert before["step"] == after["step"]
    for name in ("nrmse", "valid_time"):
        for species, row in before[name].items():
            np.testing.assert_allclose(
                np.array(after[name][species], float), np.array(row, float), rtol=1e-5
            )


def test_least_squares_finds_the_same_with_several_processes(tmp_path):
    """Three windows, which four devices do not share evenly; and which terms leave on the way."""
    selection = "optimiser.levenberg_marquardt.selection"
    selecting = {f"{selection}.steps": 2, f"{selection}.windows": 4}
    flag = simulated(tmp_path, LEAST_SQUARES | selecting | {"mesh.data": -1})
    # The several come first, so that one of them simulates the data for all.
    for count in (4, 1):
        well(many.runs(count, flag, f"--workdir={tmp_path}/{count}"))
    expected = losses(tmp_path / "1")
    assert list(expected) == [1, 2, 3, 4]
    found = losses(tmp_path / "4")
    assert list(found) == list(expected)
    for step, row in found.items():
        # Where a loss is nearly nothing, it is the rounding of what it is made of.
        np.testing.assert_allclose(row, expected[step], rtol=1e-3, err_msg=f"step {step}")


def test_what_one_process_cannot_work_with_ends_all(automaton, tmp_path):
    """Another config, and a folder in which somebody else is training."""
    directory, flag, _ = automaton
    folder = tmp_path / "run"
    with many.runs(2, flag, f"--workdir={folder}", of_one=["--config.seed=5"]) as started:
        ended = started.ended()
    assert [one.code for one in ended] == [2, 2]
    errors = "".join(one.errors for one in ended)
    assert errors.count("Process 1 has another config or workdir than process 0;") == 1
    assert not folder.exists()
    folder.mkdir()
    with (
        RunFolder(folder).alone(),
        many.runs(2, flag, f"--workdir={folder}") as started,
    ):
        ended = started.ended()
    assert [one.code for one in ended] == [2, 2]
    errors = "".join(one.errors for one in ended)
    assert errors.count("Another process is training in") == 1
    assert RunFolder(folder).is_free
