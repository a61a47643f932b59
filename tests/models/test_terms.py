"""The terms of a PDE, alone and together, and the sensitivities that least squares carries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffpattern.errors import InputError
from diffpattern.grid.fluxes import advection
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.stencils import laplacian
from diffpattern.models import monomials
from diffpattern.models.advection import NetworkAdvection
from diffpattern.models.diffusion import LinearDiffusion
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.reaction import NetworkReaction, PolynomialReaction
from diffpattern.systems import GrayScott

GRIDS = {
    "torus": Grid((5, 4), 0.5),
    "line": Grid((7,), 0.5, Boundary("value", 0.3)),
    "walls": Grid((4, 5), 0.5, (Boundary("value", 0.3), "symmetric")),
    "box": Grid((3, 2, 4), 0.5, ("circular", Boundary("value", -0.2), "zero")),
}


def whitening(degree):
    powers = monomials.exponents(2, 1, degree)
    return monomials.whitening(np.random.default_rng(0).uniform(0.1, 1, (500, 2)), powers)


TERMS = {
    "polynomial": lambda grid: PolynomialReaction(3),
    "network": lambda grid: NetworkReaction(1, whitening(1), (4,), last_scale=1.0),
    "monomial network": lambda grid: NetworkReaction(3, whitening(3), (4, 3), last_scale=1.0),
    "diffusion": lambda grid: LinearDiffusion(grid),
    "central": lambda grid: NetworkAdvection(grid, whitening(1), "central", (4,), last_scale=1.0),
    "upwind": lambda grid: NetworkAdvection(grid, whitening(1), "upwind", (4,), last_scale=1.0),
}
ROLES = {"diffusion": "diffusion", "central": "advection", "upwind": "advection"}


def rule_of(terms, grid):
    return ReactionDiffusionAdvection(
        **{ROLES.get(name, "reaction"): TERMS[name](grid) for name in terms}
    )


def lattice(grid, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(0.1, 1.0, (2, *grid.shape)))


def first_parameters(rule, x):
    return jax.jit(rule.init)(jax.random.key(0), x)["params"]


def random_parameters(rule, x):
    """None of them zero, so that every derivative counts."""
    flat, unravel = ravel_pytree(first_parameters(rule, x))
    return unravel(flat + jnp.asarray(np.random.default_rng(1).uniform(0.1, 0.5, flat.shape)))


def right_hand_side(rule):
    return jax.jit(lambda parameters, x: rule.apply({"params": parameters}, x))


def test_polynomial_with_the_coefficients_of_gray_scott_is_gray_scott():
    grid, system = GRIDS["torus"], GrayScott()
    rule = ReactionDiffusionAdvection(PolynomialReaction(3), LinearDiffusion(grid, "cross"))
    names = monomials.names(monomials.exponents(2, 0, 3), ("A", "B"))
    coefficients = np.zeros((2, len(names)))
    for row, terms in enumerate(
        [
            {"1": system.alpha, "A": -system.alpha, "A B^2": -1.0},
            {"B": -(system.alpha + system.gamma), "A B^2": 1.0},
        ]
    ):
        for name, value in terms.items():
            coefficients[row, names.index(name)] = value
    parameters = {
        "reaction": {"coefficients": jnp.asarray(coefficients)},
        "diffusion": {"coefficient": jnp.array([system.diffusion_a, system.diffusion_b])},
    }
    x = lattice(grid)
    assert jax.tree.structure(first_parameters(rule, x)) == jax.tree.structure(parameters)
    np.testing.assert_allclose(
        right_hand_side(rule)(parameters, x),
        system.right_hand_side(x, grid, "cross"),
        rtol=1e-12,
        atol=1e-14,
    )


@pytest.mark.parametrize(
    "terms",
    [
        ("polynomial", "diffusion"),
        ("network", "central"),
        ("diffusion", "upwind"),
        ("monomial network", "diffusion", "central"),
    ],
    ids=" + ".join,
)
def test_a_rule_is_the_sum_of_its_terms(terms):
    grid = GRIDS["walls"]
    x, rule = lattice(grid), rule_of(terms, grid)
    parameters = random_parameters(rule, x)
    assert set(parameters) == {ROLES.get(name, "reaction") for name in terms}
    alone = [
        right_hand_side(rule_of((name,), grid))({role: parameters[role]}, x)
        for name, role in ((name, ROLES.get(name, "reaction")) for name in terms)
    ]
    np.testing.assert_allclose(right_hand_side(rule)(parameters, x), sum(alone), rtol=1e-12)
    assert all(np.abs(share).max() > 1e-3 for share in alone)


def test_diffusion_is_a_coefficient_a_channel_times_the_laplacian():
    grid = GRIDS["walls"]
    x = lattice(grid)
    rule = LinearDiffusion(grid, "isotropic", 0.7)
    first = first_parameters(rule, x)
    np.testing.assert_array_equal(first["coefficient"], [0.7, 0.7])
    value = right_hand_side(rule)({"coefficient": jnp.array([2.0, 0.5])}, x)
    curvature = laplacian(x, grid, "isotropic")
    np.testing.assert_allclose(value, [2.0 * curvature[0], 0.5 * curvature[1]], rtol=1e-12)


@pytest.mark.parametrize("scheme", ["central", "upwind"])
def test_advection_is_minus_the_divergence_of_velocity_times_state(scheme):
    grid = GRIDS["torus"]
    x, rule = lattice(grid), TERMS[scheme](grid)
    parameters = random_parameters(rule, x)
    velocity = jax.jit(lambda x: rule.apply({"params": parameters}, x, method="velocity"))(x)
    assert velocity.shape == (2, 2, *grid.shape)
    share = right_hand_side(rule)(parameters, x)
    np.testing.assert_allclose(share, -advection(x, velocity, grid, scheme), rtol=1e-12)
    np.testing.assert_allclose(share.sum((1, 2)), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", ["polynomial", "network", "monomial network"])
def test_a_reaction_sees_its_own_cell_alone(name):
    grid = GRIDS["torus"]
    x, rule = lattice(grid), TERMS[name](grid)
    parameters = random_parameters(rule, x)
    reaction = right_hand_side(rule)
    before, after = reaction(parameters, x), reaction(parameters, x.at[:, 2, 1].add(0.1))
    changed = np.any(np.asarray(before != after), axis=0)
    assert changed[2, 1] and changed.sum() == 1


CASES = [
    *(((name,), "torus") for name in TERMS),
    (("central",), "walls"),
    (("upwind",), "line"),
    (("diffusion",), "box"),
    (("polynomial", "diffusion"), "walls"),
    (("network", "diffusion", "central"), "line"),
    (("monomial network", "diffusion", "upwind"), "walls"),
    (("polynomial", "diffusion", "central"), "box"),
]


@pytest.mark.parametrize(("terms", "where"), CASES, ids=lambda x: x if x in GRIDS else "+".join(x))
def test_sensitivities_are_the_derivatives(terms, where):
    """dS_k/dt is the change of the right-hand side along (S_k, e_k), by forward mode."""
    grid = GRIDS[where]
    x, rule = lattice(grid), rule_of(terms, grid)
    parameters = random_parameters(rule, x)
    flat, unravel = ravel_pytree(parameters)
    s = jnp.asarray(np.random.default_rng(2).normal(size=(flat.size, *x.shape)))

    @jax.jit
    def by_forward_mode(flat, x, s):
        function = lambda flat, x: rule.apply({"params": unravel(flat)}, x)
        push = lambda direction, change: jax.jvp(function, (flat, x), (direction, change))[1]
        return function(flat, x), jax.vmap(push)(jnp.eye(flat.size), s)

    expected, expected_s = by_forward_mode(flat, x, s)
    changes = tuple(jnp.moveaxis(s, 1, 0))
    slope, slope_s = jax.jit(rule.with_sensitivities)(parameters, (x, changes))
    np.testing.assert_allclose(slope, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(np.stack(slope_s, 1), expected_s, rtol=1e-9, atol=1e-11)
    assert np.abs(expected_s).max((1, 2)).min() > 1e-3  # of every parameter


def test_diffusion_coefficients_alone_are_bounded():
    grid = GRIDS["torus"]
    rule = rule_of(("polynomial", "diffusion", "central"), grid)
    parameters = first_parameters(rule, lattice(grid))
    lower = rule.lower_bounds(parameters)
    assert jax.tree.structure(lower) == jax.tree.structure(parameters)
    np.testing.assert_array_equal(lower["diffusion"]["coefficient"], 0.0)
    for name in ("reaction", "advection"):
        assert all(np.isneginf(leaf).all() for leaf in jax.tree.leaves(lower[name]))
    assert LinearDiffusion.non_negative == ("coefficient",)


def test_a_polynomial_starts_at_no_reaction_and_a_network_near_it():
    x = lattice(GRIDS["torus"])
    start = lambda rule: jax.jit(rule.init_with_output)(jax.random.key(0), x)[0]
    np.testing.assert_array_equal(start(PolynomialReaction(2)), 0.0)
    small, large = (start(NetworkReaction(1, whitening(1), (8,), last_scale=s)) for s in (0.01, 1))
    np.testing.assert_allclose(100 * small, large, rtol=1e-5)


def test_an_unknown_activation_is_refused():
    rule = NetworkReaction(1, whitening(1), activation="swoosh")
    with pytest.raises(InputError, match="'swoosh'.*tanh"):
        rule.init(jax.random.key(0), lattice(GRIDS["torus"]))


@pytest.mark.parametrize("name", ["diffusion", "advection"])
def test_an_unknown_scheme_is_refused(name):
    grid = GRIDS["torus"]
    rule = {
        "diffusion": LinearDiffusion(grid, "round"),
        "advection": NetworkAdvection(grid, whitening(1), "sideways"),
    }[name]
    with pytest.raises(InputError, match="'(round|sideways)', but must be one of"):
        rule.init(jax.random.key(0), lattice(grid))
