"""What memory cannot hold is refused in a sentence before any of it is made."""

import jax
import numpy as np
import pytest
import tiny

from diffpattern import commands, dataset, main, memory
from diffpattern.errors import MENDABLE, InputError
from diffpattern.parallel.mesh import make_mesh
from diffpattern.rehearsal import rehearse


def test_what_memory_holds_passes_and_what_it_does_not_is_refused():
    memory.require(memory.of_machine(), "The data", "take fewer")
    with pytest.raises(InputError, match="^The data take .* this machine has .*; take fewer\\.$"):
        memory.require(memory.of_machine() + 1, "The data", "take fewer")


def test_the_limit_of_a_container_holds_where_it_has_one(monkeypatch, tmp_path):
    (tmp_path / "limit").write_text("4096\n")
    (tmp_path / "none").write_text("max\n")
    physical = memory.of_machine()
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "none", tmp_path / "missing"))
    assert memory.of_machine() >= physical
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "none", tmp_path / "limit"))
    assert memory.of_machine() == 4096


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data.shape": (1_000_000, 1_000_000)}, "data.shape, data.train and so on ask for take"),
        ({"data.train": 2_000_000_000}, "take 4.26 PB of memory"),
        (
            {"data.shape": (300_000, 300_000), "data.interval": 8.0, "data.end_time": 8.0},
            "take a smaller lattice, fewer trajectories",
        ),
        ({"data.spacing": 1e6, "data.end_time": 16.0}, "take a smaller data.spacing"),
        ({"training.batch": 1_000_000_000}, "The 1000000000 windows of a batch"),
        (
            {
                "model.rda.terms": ("network", "diffusion"),
                "model.rda.network.hidden": (1_000_000, 1_000_000),
                "optimiser.name": "nadam",
            },
            "The rule's parameters take",
        ),
    ],
    ids=str,
)
def test_runs_that_no_machine_holds_are_refused(changes, told):
    config = tiny.config(**changes)
    with pytest.raises(InputError) as error:
        rehearse(config, *dataset.expected(config, (1, 3)), make_mesh(1))
    assert told in str(error.value) and "this machine has" in str(error.value)


def test_a_lattice_that_only_its_simulation_makes_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "of_machine", lambda: 2_000_000)
    small = {"data.shape": (32, 32), "data.end_time": 16.0, "data.train": 1}
    dataset.require_memory(tiny.config(**small))
    with pytest.raises(InputError, match="The lattices of the simulation take 2.1 MB"):
        dataset.require_memory(tiny.config(**small | {"data.refinement": 16}))


def test_errors_of_memory_are_told_apart_from_others():
    with pytest.raises(MemoryError) as numpys:
        np.zeros((10**9, 10**9))
    assert "Unable to allocate" in memory.lack(numpys.value)
    exhausted = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
    assert memory.lack(exhausted).endswith(".") and "allocating 9 bytes" in memory.lack(exhausted)
    assert memory.lack(jax.errors.JaxRuntimeError("INTERNAL: else")) is None
    assert memory.lack(ValueError("RESOURCE_EXHAUSTED")) is None


def test_memory_that_runs_out_is_told_by_the_command_in_a_sentence(monkeypatch, capsys):
    def fail():
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr(commands, "run", fail)
    with pytest.raises(SystemExit) as ended:
        main.main(["diffpattern"])
    assert ended.value.code == MENDABLE
    told = capsys.readouterr().err
    assert told.startswith("diffpattern: Memory does not suffice") and told.count("\n") == 1
