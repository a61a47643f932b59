"""Cells and signals in single precision, as they are run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.models import monomials
from diffpattern.models.chemotaxis import chemotaxis
from diffpattern.models.state_network import StateNetwork

STEPS, DT = 1000, 0.05


@pytest.fixture(autouse=True)
def double_precision(quick_compilation):
    """In place of the double precision of the other tests here."""
    with jax.enable_x64(False):
        yield


def network(species):
    values = np.random.default_rng(0).uniform(0.2, 1.0, (500, species))
    whitening = monomials.whitening(values, monomials.exponents(species, 1, 1))
    return StateNetwork(whitening, hidden=(6,), last_scale=1.0)


def run(rule, x, steps=STEPS):
    """The lattice before and after, and the parameters, of which none is zero."""
    flat, unravel = ravel_pytree(jax.jit(rule.init)(jax.random.key(1), x)["params"])
    random = np.random.default_rng(1).normal(0, 0.2, flat.shape)
    parameters = unravel(flat + jnp.asarray(random, flat.dtype))
    parameters["diffusion"]["coefficient"] = jnp.full(len(x), 0.5)

    @jax.jit
    def advance(x):
        step = lambda x, _: (x + DT * rule.apply({"params": parameters}, x), None)
        return jax.lax.scan(step, x, length=steps)[0]

    return np.asarray(advance(x), np.float64), parameters


def lattice(grid, species):
    values = np.random.default_rng(2).uniform(0.2, 1.0, (species, *grid.shape))
    return jnp.asarray(values, jnp.float32)


@pytest.mark.parametrize(
    ("scheme", "boundary", "shape", "species", "cells"),
    [("central", "circular", (16, 12), 2, 1), ("upwind", "symmetric", (40,), 4, 2)],
)
def test_cells_are_conserved(scheme, boundary, shape, species, cells):
    grid = Grid(shape, 1.0, boundary)
    rule = chemotaxis(grid, network(species), species, cells, scheme=scheme)
    x = lattice(grid, species)
    after, _ = run(rule, x)
    before = np.asarray(x, np.float64)
    assert np.isfinite(after).all() and after.dtype == np.float64
    assert np.abs(after - before)[:cells].mean() > 0.01
    total = lambda x: x[:cells].reshape(cells, -1).sum(1)
    np.testing.assert_allclose(total(after), total(before), rtol=1e-5)
    # Signals are made and lost.
    others = lambda x: x[cells:].reshape(species - cells, -1).sum(1)
    assert (np.abs(others(after) / others(before) - 1) > 0.01).all()


def test_with_a_reaction_cells_are_born_and_die():
    grid = Grid((24,))
    rule = chemotaxis(grid, network(2), 2, cell_reaction=True)
    x = lattice(grid, 2)
    after, parameters = run(rule, x, steps=20)
    assert set(parameters) == {"diffusion", "taxis", "reaction", "cell_reaction"}
    assert abs(after[0].sum() / float(x[0].sum()) - 1) > 0.01


def test_cells_feel_signals_alone():
    """What moves a cell does not see the cells; what makes a signal sees both."""
    grid = Grid((8, 6))
    rule, x = chemotaxis(grid, network(3), 3, cells=1), lattice(grid, 3)
    parameters = jax.jit(rule.init)(jax.random.key(0), x)["params"]
    taxis = {"params": parameters["taxis"]}
    potential = jax.jit(lambda x: rule.terms["taxis"].apply(taxis, x, method="quantities")[0])
    np.testing.assert_array_equal(potential(x), potential(x.at[0].add(1.0)))
    assert np.abs(potential(x) - potential(x.at[2].add(1.0))).min() > 0
    reaction = jax.jit(
        lambda x: rule.terms["reaction"].apply({"params": parameters["reaction"]}, x)
    )
    assert (reaction(x)[0] == 0).all()
    assert np.abs(reaction(x) - reaction(x.at[0].add(1.0)))[1:].min() > 0


@pytest.mark.parametrize("cells", [0, 2, 3])
def test_both_groups_have_channels(cells):
    with pytest.raises(InputError, match=f"cells are {cells} of 2 channels"):
        chemotaxis(Grid((8,)), network(2), 2, cells)
