import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from diffpattern.data import builders
from diffpattern.data.simulation import SPLITS, Simulation, simulate
from diffpattern.errors import InputError
from diffpattern.systems import SYSTEMS, AllenCahn

SMALL = Simulation(shape=(12, 10), interval=4, end_time=8, train=3, validation=1, test=2)

# What a subprocess runs first: no way out, and the same small settings.
PREAMBLE = f"""
import dataclasses, os, socket, sys, time
from pathlib import Path

def no_network(*args, **kwargs):
    raise AssertionError("network used")

socket.socket.connect = socket.getaddrinfo = no_network
from diffpattern.data import builders
from diffpattern.data.simulation import Simulation

directory = Path(sys.argv[1])
settings = Simulation(
    shape={SMALL.shape}, interval=4, end_time=8, train=3, validation=1, test=2
)
"""


def start(script: str, directory: Path) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), str(directory)],
        env=os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen):
    for _ in range(600):
        if path.exists():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


def digests(data):
    return [data[split].digest() for split in SPLITS]


@pytest.fixture
def forbid_simulating(monkeypatch):
    def forbidden(settings):
        raise AssertionError("simulated")

    return lambda: monkeypatch.setattr(builders, "simulate", forbidden)


def test_the_files_give_back_the_simulation_and_are_read_the_second_time(
    tmp_path, forbid_simulating, capfd
):
    data = builders.load(SMALL, tmp_path)
    simulated = simulate(SMALL)
    assert digests(data) == digests(simulated)
    forbid_simulating()
    assert digests(builders.load(SMALL, tmp_path)) == digests(data)
    assert capfd.readouterr() == ("", "")


def test_the_data_set_is_one_of_tfds(tmp_path):
    data = builders.load(SMALL, tmp_path)
    builder = builders.BUILDERS["gray_scott"](SMALL, tmp_path)
    assert builder.name == "gray_scott" and str(builder.version) == "1.1.0"
    assert builder.info.file_format.value == "array_record"
    assert "Gray-Scott" in builder.info.description and "Pearson" in builder.info.citation
    assert builder.info.metadata["dt"] == SMALL.dt
    assert builder.info.metadata["system"]["name"] == "gray_scott"
    assert builder.info.features["snapshots"].shape == (3, 12, 10, 2)
    examples = builder.as_data_source("train")
    np.testing.assert_array_equal(examples[2]["snapshots"], data["train"].values[2])


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_builder_with_its_recommended_settings(name, tmp_path):
    recommended = Simulation.recommended(SYSTEMS[name]())
    (config,) = builders.BUILDERS[name].BUILDER_CONFIGS
    assert config.settings == recommended and config.name == recommended.name
    builder = builders.BUILDERS[name](recommended, tmp_path)
    assert builder.name == name and builder.builder_config is config
    assert builder.info.citation == SYSTEMS[name].citation
    assert ", ".join(SYSTEMS[name].species) in builder.info.description


def test_systems_have_folders_and_numbers_of_their_own(tmp_path):
    settings = dataclasses.replace(SMALL, system=AllenCahn(), dt=0.125)
    data = builders.load(settings, tmp_path)
    assert data["train"].species == ("u",)
    assert digests(data) == digests(simulate(settings))
    assert [folder.name for folder in tmp_path.iterdir()] == ["allen_cahn"]


def test_another_dt_is_simulated_beside_the_first(tmp_path):
    first = builders.load(SMALL, tmp_path)
    second = builders.load(dataclasses.replace(SMALL, dt=0.5), tmp_path)
    assert len(list((tmp_path / "gray_scott").glob("12x10-*/1.1.0"))) == 2
    assert digests(first) != digests(second)
    np.testing.assert_allclose(first["test"].values, second["test"].values, atol=0.02)


@pytest.mark.slow
def test_of_two_processes_one_simulates_and_both_read(tmp_path):
    script = """
        simulate = builders.simulate

        def slow(settings):
            (directory / f"simulated-{os.getpid()}").touch()
            time.sleep(1)
            return simulate(settings)

        builders.simulate = slow
        (directory / f"ready-{os.getpid()}").touch()
        while not (directory / "go").exists():
            time.sleep(0.01)
        data = builders.load(settings, directory / "data")
        print(*(data[split].digest() for split in data))
        assert "tensorflow" not in sys.modules
    """
    processes = [start(script, tmp_path) for _ in range(2)]
    for process in processes:
        wait_for(tmp_path / f"ready-{process.pid}", process)
    (tmp_path / "go").touch()
    printed = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        printed.append(out.split())
    assert len(list(tmp_path.glob("simulated-*"))) == 1
    assert printed[0] == printed[1]
    assert printed[0] == digests(builders.load(SMALL, tmp_path / "data"))


def test_a_killed_preparation_is_begun_anew(tmp_path, forbid_simulating):
    script = """
        original = builders.BUILDERS["gray_scott"]._generate_examples

        def stall(self, trajectories):
            if len(trajectories.values) == self.settings.validation:
                (directory / "stalled").touch()
                time.sleep(600)
            yield from original(self, trajectories)

        builders.BUILDERS["gray_scott"]._generate_examples = stall
        builders.load(settings, directory / "data")
    """
    process = start(script, tmp_path)
    wait_for(tmp_path / "stalled", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = tmp_path / "data" / "gray_scott" / SMALL.name
    half_written = list(folder.rglob("*train*"))
    assert half_written and not (folder / "1.1.0").exists()

    data = builders.load(SMALL, tmp_path / "data")
    assert [entry.name for entry in folder.iterdir()] == ["1.1.0"]
    forbid_simulating()
    assert digests(builders.load(SMALL, tmp_path / "data")) == digests(data)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "description"])
def test_damaged_files_are_refused_by_name(tmp_path, damage):
    builders.load(SMALL, tmp_path)
    (folder,) = tmp_path.glob("gray_scott/*/1.1.0")
    (records,) = folder.glob("*train*")
    content = bytearray(records.read_bytes())
    if damage == "flipped":
        content[1000] ^= 1
        records.write_bytes(content)
    elif damage == "truncated":
        records.write_bytes(content[:1000])
    elif damage == "missing":
        records.unlink()
    else:
        (folder / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match=f"{folder} are damaged .* remove this folder"):
        builders.load(SMALL, tmp_path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"data directory {tmp_path}/file/data cannot be used"):
        builders.load(SMALL, tmp_path / "file" / "data")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    script = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            builders.load(settings, directory)
        except builders.InputError as error:
            print(error)
    """
    out, err = start(script, tmp_path).communicate(timeout=60)
    assert out.startswith(f"data directory {tmp_path} cannot be used (File too large"), err
    assert not list(tmp_path.rglob("*train*"))


def test_an_impossible_simulation_leaves_no_trace(tmp_path):
    with pytest.raises(InputError, match=r"^data\.dt is 4"):
        builders.load(dataclasses.replace(SMALL, dt=4), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_data_are_kept_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFPATTERN_DATA", str(tmp_path / "chosen"))
    assert builders.default_directory() == tmp_path / "chosen"
    builders.load(SMALL)
    assert (tmp_path / "chosen" / "gray_scott" / SMALL.name).is_dir()
    monkeypatch.delenv("DIFFPATTERN_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert builders.default_directory() == tmp_path / "cache" / "diffpattern" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert builders.default_directory() == tmp_path / ".cache" / "diffpattern" / "data"
