"""Terms inside masks, and between walls whose values are given by species and over time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.models import monomials
from diffpattern.models.advection import NetworkAdvection, PotentialTaxis, Taxis
from diffpattern.models.diffusion import CrossDiffusion, LinearDiffusion, NonlinearDiffusion
from diffpattern.models.phase_field import PhaseField
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.state_network import StateNetwork

POWERS = monomials.exponents(2, 1, 1)
WHITENING = monomials.whitening(np.random.default_rng(0).uniform(0.1, 1, (500, 2)), POWERS)
NETWORK = StateNetwork(WHITENING, hidden=(3,), last_scale=1.0)
TERMS = {
    "linear": lambda grid: LinearDiffusion(grid),
    "nonlinear": lambda grid: NonlinearDiffusion(grid, NETWORK, channels=(1,)),
    "cross": lambda grid: CrossDiffusion(grid, NETWORK),
    "advection": lambda grid: NetworkAdvection(grid, NETWORK, "upwind"),
    "taxis": lambda grid: Taxis(grid),
    "upwind taxis": lambda grid: Taxis(grid, None, "upwind", (0,)),
    "potential taxis": lambda grid: PotentialTaxis(grid, NETWORK, movers=(0,)),
    "upwind potential": lambda grid: PotentialTaxis(grid, NETWORK, "upwind"),
    "phase field": lambda grid: PhaseField(grid, channels=(1,)),
}


def random_parameters(term, x, forcing):
    flat, unravel = ravel_pytree(jax.jit(term.init)(jax.random.key(0), x, forcing)["params"])
    return unravel(flat + jnp.asarray(np.random.default_rng(1).uniform(0.1, 0.5, flat.shape)))


@pytest.mark.parametrize("name", TERMS)
def test_nothing_passes_a_masks_edge(name):
    grid = Grid((6, 7), 0.5, ("circular", "symmetric"))
    random = np.random.default_rng(2)
    x = jnp.asarray(random.uniform(0.1, 1.0, (2, *grid.shape)))
    mask = (random.uniform(size=grid.shape) < 0.7).astype(float)
    rule, forcing = ReactionDiffusionAdvection({name: TERMS[name](grid)}), Forcing(mask=mask)
    parameters = random_parameters(rule, x, forcing)
    change = jax.jit(lambda x: rule.apply({"params": parameters}, x, forcing))
    inside = change(x * mask)
    assert np.abs(inside).max() > 1e-3 and (np.asarray(inside)[:, mask == 0] == 0).all()
    np.testing.assert_allclose(inside.sum((1, 2)), 0.0, atol=1e-11)
    # What there would be outside has no say.
    np.testing.assert_allclose(change(x), inside, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", TERMS)
def test_walls_with_a_value_for_each_species_that_changes(name):
    """The variation, of a wall that holds each species at its own value of the moment."""
    held = Boundary("value", ((0.2, 0.4), (0.6, 0.0)), (0.0, 10.0))
    given = Boundary("flux", (0.3, -0.1))
    grid = Grid((6, 5), 0.5, ((held, given), "symmetric"))
    random = np.random.default_rng(3)
    x = jnp.asarray(random.uniform(0.1, 1.0, (2, *grid.shape)))
    term, forcing = TERMS[name](grid), Forcing(time=5.0)
    parameters = random_parameters(term, x, forcing)
    s = random.normal(size=(2, 1, *grid.shape))

    @jax.jit
    def probe(x, s):
        value = lambda x: term.apply({"params": parameters}, x, forcing)
        responses, _ = term.variation(parameters, x, tuple(s), forcing)
        return jnp.stack(responses)[:, 0], *jax.jvp(value, (x,), (s[:, 0],))[::-1]

    response, pushed, value = probe(x, jnp.asarray(s))
    np.testing.assert_allclose(response, pushed, rtol=1e-9, atol=1e-10)
    assert np.isfinite(value).all() and np.abs(pushed).max() > 1e-2
