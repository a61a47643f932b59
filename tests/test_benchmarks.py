"""The two sides of each benchmark compute the same numbers, and are timed in turn."""

import dataclasses
import itertools
import json

import jax
import pytest

from benchmarks import __main__ as command
from benchmarks import nca, pairs, training
from benchmarks.pairs import Disagreement, Pair, Unavailable, measure
from benchmarks.rda import rda
from benchmarks.sensitivities import sensitivities


def pair(ours, theirs, **changes):
    made = Pair("a pair", "nothing", "another", ours, theirs, lambda: 0.0, 1e-6, rounds=3)
    return dataclasses.replace(made, **changes)


@pytest.mark.slow
def test_rda_has_the_loss_and_gradient_of_diffrax():
    tiny = rda(batch=3, shape=(5, 4), species=3, hidden=(4, 4), steps=3)
    loss, gradient = tiny.ours()
    assert loss > 0.01
    assert all(abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient))
    assert tiny.difference() < 1e-5


def test_sensitivities_are_the_jacobian_by_forward_mode():
    tiny = sensitivities(shape=(5, 4), hidden=3, steps=4)
    residuals, jacobian = tiny.ours()
    assert jacobian.shape == (residuals.size, 2 * 3 + 3 + 3 * 2 + 2 + 2)
    assert tiny.difference() < 1e-5


def test_nca_has_the_lattices_losses_and_gradients_of_cax():
    pytest.importorskip("cax", reason="CAX is not installed; it comes with the extra 'bench'.")
    from benchmarks import cax_automaton

    sizes = {"shape": (6, 5), "channels": 3, "hidden": 7}
    assert nca.nca(steps=4, rounds=1, batch=2, **sizes).difference() < 1e-5

    sought = nca.build(steps=4, fire_rate=1.0, **sizes)
    parameters = training.random_like(sought.initialise(0), 0.1)
    windows = training.random_windows(2, sizes["shape"], 3)
    loss, gradient = training.loss_and_gradient(sought)(parameters, windows)
    automaton = cax_automaton.Automaton(sought.rule, 3, parameters)
    their_loss, their_gradient = cax_automaton.loss_and_gradient(automaton, windows, steps=4)
    layers = [their_gradient["update"]["layers"][index] for index in range(2)]
    theirs = [(layer["kernel"][...][0, 0], layer["bias"][...]) for layer in layers]
    ours = cax_automaton.mapped(gradient, 3, 1.0)
    assert pairs.relative_difference((loss, ours), (their_loss, theirs)) < 1e-5


def test_sides_take_turns_and_the_row_has_the_median_of_the_ratios(monkeypatch):
    calls = []
    # The clock is read before and after each call: two that warm up, then three rounds of both.
    lengths = [9.0, 9.0, 1.0, 2.0, 2.0, 8.0, 4.0, 12.0]
    ticks = itertools.chain.from_iterable((0.0, length) for length in lengths)
    monkeypatch.setattr(pairs.time, "perf_counter", lambda: next(ticks))
    row = measure(pair(lambda: calls.append("ours"), lambda: calls.append("theirs")))
    assert calls == ["ours", "theirs"] * 4
    assert (row["ours_seconds"], row["other_seconds"]) == (2.0, 8.0)
    assert (row["ratio"], row["spread"]) == (3.0, [2.0, 4.0])


@pytest.mark.parametrize("difference", [1e-3, float("nan")])
def test_sides_that_differ_are_not_timed(difference):
    def never():
        pytest.fail("It was timed.")

    with pytest.raises(Disagreement, match="a pair: ours and another differ"):
        measure(pair(never, never, difference=lambda: difference))


def test_command_writes_the_rows_of_what_can_be_run(monkeypatch, tmp_path, capsys):
    def missing():
        raise Unavailable("gone compares with what is not installed")

    fine = lambda: pair(lambda: 0, lambda: 0, name="fine")
    monkeypatch.setattr(command, "BENCHMARKS", {"gone": missing, "fine": fine})
    file = tmp_path / "rows.json"
    assert command.main([f"--json={file}"]) == 0
    assert [row["name"] for row in json.loads(file.read_text())] == ["fine"]
    assert command.main(["--only=gone"]) == 1
    assert "not installed" in capsys.readouterr().err
    for wrong in ("--only=unknown", f"--json={tmp_path}"):
        with pytest.raises(SystemExit, match="2"):
            command.main([wrong])


def test_command_fails_when_two_sides_differ(monkeypatch, capsys):
    broken = lambda: pair(lambda: 0, lambda: 0, name="broken", difference=lambda: 1.0)
    monkeypatch.setattr(command, "BENCHMARKS", {"broken": broken})
    assert command.main([]) == 1
    assert "differ by 1.0e+00" in capsys.readouterr().err
