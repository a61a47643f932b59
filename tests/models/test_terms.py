"""The terms of a PDE, alone and together, and the sensitivities that least squares carries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffpattern.errors import InputError
from diffpattern.grid.fluxes import advection
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.stencils import laplacian
from diffpattern.models import monomials
from diffpattern.models.advection import NetworkAdvection, PotentialTaxis, Taxis
from diffpattern.models.diffusion import CrossDiffusion, LinearDiffusion, NonlinearDiffusion
from diffpattern.models.phase_field import PhaseField
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.reaction import (
    CubicDamping,
    NetworkReaction,
    PolynomialReaction,
    SplitReaction,
)
from diffpattern.models.source import Source
from diffpattern.models.state_network import StateNetwork
from diffpattern.models.term import Term
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


def network(degree=1, hidden=(4,), **options):
    return StateNetwork(whitening(degree), degree, hidden, last_scale=1.0, **options)


CONSTRAINTS = ("A B: +B -A", "A B in B >= 0", "A^2 in A <= 0", "B has only 1, B, A B")
TERMS = {
    "polynomial": lambda grid: PolynomialReaction(3),
    "constrained": lambda grid: PolynomialReaction(2, CONSTRAINTS, ("A", "B")),
    "constrained of place": lambda grid: PolynomialReaction(2, CONSTRAINTS, ("A", "B"), True),
    "network": lambda grid: NetworkReaction(network()),
    "monomial network": lambda grid: NetworkReaction(network(3, (4, 3))),
    "network of place": lambda grid: NetworkReaction(network(position=True)),
    "network of one": lambda grid: NetworkReaction(network(2, reads=(1,)), (0,)),
    "split": lambda grid: SplitReaction(network(), channels=(1,)),
    "cubic": lambda grid: CubicDamping(),
    "diffusion": lambda grid: LinearDiffusion(grid),
    "nonlinear": lambda grid: NonlinearDiffusion(grid, network()),
    "nonlinear of one": lambda grid: NonlinearDiffusion(
        grid, network(position=True), channels=(1,)
    ),
    "cross": lambda grid: CrossDiffusion(grid),
    "cross network": lambda grid: CrossDiffusion(grid, network()),
    "central": lambda grid: NetworkAdvection(grid, network(), "central"),
    "upwind": lambda grid: NetworkAdvection(grid, network(), "upwind"),
    "taxis": lambda grid: Taxis(grid),
    "taxis network": lambda grid: Taxis(grid, network(), "upwind", movers=(0,)),
    "potential taxis": lambda grid: PotentialTaxis(grid, network(reads=(1,)), movers=(0,)),
    "upwind potential": lambda grid: PotentialTaxis(grid, network(reads=(0,)), "upwind", (1,)),
    "phase field": lambda grid: PhaseField(grid),
    "phase field network": lambda grid: PhaseField(grid, network()),
    "phase field of one": lambda grid: PhaseField(grid, order=1, channels=(1,)),
    "source": lambda grid: Source(grid, period=7.0, hidden=(4,), last_scale=1.0),
    "source of time": lambda grid: Source(grid, False, 7.0, (4,), last_scale=1.0, channels=(1,)),
}
USUAL = {"diffusion": "diffusion", "central": "advection", "upwind": "advection"}


def role(name):
    """What the term of this name is called in a rule."""
    usual = name in ("polynomial", "network", "monomial network")
    return "reaction" if usual else USUAL.get(name, name.replace(" ", "_"))


def rule_of(terms, grid):
    return ReactionDiffusionAdvection({role(name): TERMS[name](grid) for name in terms})


def forcing(grid):
    """Everything that terms may ask for."""
    fields = np.random.default_rng(7).uniform(0.2, 1.0, (3, *grid.shape))
    return Forcing(time=2.0, environment=jnp.asarray(fields))


def lattice(grid, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(0.1, 1.0, (2, *grid.shape)))


def first_parameters(rule, x, forced=UNFORCED):
    return jax.jit(rule.init)(jax.random.key(0), x, forced)["params"]


def random_parameters(rule, x, forced=UNFORCED):
    """None of them zero, so that every derivative counts."""
    flat, unravel = ravel_pytree(first_parameters(rule, x, forced))
    return unravel(flat + jnp.asarray(np.random.default_rng(1).uniform(0.1, 0.5, flat.shape)))


def right_hand_side(rule):
    return jax.jit(lambda *args: rule.apply({"params": args[0]}, *args[1:]))


def test_polynomial_with_the_coefficients_of_gray_scott_is_gray_scott():
    grid, system = GRIDS["torus"], GrayScott()
    rule = ReactionDiffusionAdvection(
        {"reaction": PolynomialReaction(3), "diffusion": LinearDiffusion(grid, "cross")}
    )
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
        ("network", "central"),
        ("polynomial", "split", "cubic", "diffusion"),
    ],
    ids=" + ".join,
)
def test_a_rule_is_the_sum_of_its_terms(terms):
    grid = GRIDS["walls"]
    x, rule = lattice(grid), rule_of(terms, grid)
    parameters = random_parameters(rule, x)
    assert list(parameters) == sorted(role(name) for name in terms)
    alone = [
        right_hand_side(rule_of((name,), grid))({role(name): parameters[role(name)]}, x)
        for name in terms
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


class OwnSpreading(Term):
    """A term of one's own with a linear part."""

    grid: Grid
    laplacian: str = "isotropic"

    def __call__(self, x, forcing=UNFORCED):
        return laplacian(x, self.grid.under(forcing), self.laplacian)

    def spectral_rates(self, parameters, eigenvalue, count):
        return jnp.broadcast_to(eigenvalue, (count, *eigenvalue.shape))


def test_a_linear_term_of_ones_own_says_its_stencil():
    grid = GRIDS["torus"]
    own = {"own": OwnSpreading(grid), "flux": NonlinearDiffusion(grid, network())}
    assert ReactionDiffusionAdvection(own).laplacian() == "isotropic"
    field = PhaseField(grid, laplacian="isotropic")
    assert ReactionDiffusionAdvection(own | {"field": field}).laplacian() == "isotropic"
    several = own | {"diffusion": LinearDiffusion(grid, "oono_puri")}
    with pytest.raises(InputError, match="Laplacians isotropic, oono_puri, but"):
        ReactionDiffusionAdvection(several).laplacian()
    assert ReactionDiffusionAdvection({"flux": own["flux"]}).laplacian() == "cross"


@pytest.mark.parametrize("name", ["central", "upwind", "taxis network", "upwind potential"])
def test_advection_is_minus_the_divergence_of_velocity_times_state(name):
    grid, scheme = GRIDS["torus"], "central" if name == "central" else "upwind"
    x, rule = lattice(grid), TERMS[name](grid)
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


@pytest.mark.parametrize("name", TERMS)
def test_derivatives_of_every_term(name):
    """Gradient against finite differences, variation against the gradient; flat lattices."""
    grid = GRIDS[("torus", "line", "walls")[list(TERMS).index(name) % 3]]
    x, term, forced = lattice(grid), TERMS[name](grid), forcing(grid)
    parameters = random_parameters(term, x, forced)
    flat, unravel = ravel_pytree(parameters)
    random = np.random.default_rng(2)
    changes, weights = random.normal(size=(2, 3, *grid.shape)), random.normal(size=x.shape)

    @jax.jit
    def probe(flat, x):
        value = lambda flat, x: term.apply({"params": unravel(flat)}, x, forced)
        loss = lambda flat, x: jnp.sum(weights * value(flat, x))
        variation = term.variation(unravel(flat), x, tuple(jnp.asarray(changes)), forced)
        return jax.value_and_grad(loss, (0, 1))(flat, x), variation

    (_, gradient), (responses, own) = jax.tree.map(np.asarray, probe(flat, x))
    direction, h = random.normal(size=flat.shape), 1e-5
    loss = lambda h: float(probe(flat + h * direction, x + h * changes[:, 0])[0][0])
    difference = (loss(h) - loss(-h)) / (2 * h)
    along = gradient[0] @ direction + np.sum(gradient[1] * changes[:, 0])
    assert along == pytest.approx(difference, rel=1e-6)

    others = tuple(n for n in range(x.ndim + 1) if n != 1)
    along = lambda changed, by_state: np.sum(by_state[:, None] * np.stack(changed), others)
    expected = along(changes, gradient[1])
    np.testing.assert_allclose(along(responses, weights), expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(along(own, weights), gradient[0], rtol=1e-9, atol=1e-10)
    of_each = np.abs(np.stack(own)).max(others)
    assert of_each.shape == flat.shape and of_each.min() > 1e-4

    first = ravel_pytree(first_parameters(term, x, forced))[0]
    for level in (0.0, 1.0):
        for parameters in (first, flat):
            results = probe(parameters, jnp.full_like(x, level))
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))


@pytest.mark.parametrize("name", ["split", "taxis"])
def test_a_term_inherits_the_same_variation(name):
    grid = GRIDS["torus"]
    x, term, forced = lattice(grid), TERMS[name](grid), forcing(grid)
    parameters = random_parameters(term, x, forced)
    s = tuple(jnp.asarray(np.random.default_rng(2).normal(size=(2, 3, *grid.shape))))
    inherited = lambda *args: Term.variation(term, *args)
    both = (
        jax.jit(variation)(parameters, x, s, forced) for variation in (term.variation, inherited)
    )
    for one, other in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", TERMS)
def test_shapes_and_bounds_on_any_number_of_axes(name):
    for grid in (GRIDS["line"], GRIDS["box"]):
        x, term, forced = lattice(grid), TERMS[name](grid), forcing(grid)
        value, variables = jax.eval_shape(term.init_with_output, jax.random.key(0), x, forced)
        assert value.shape == x.shape and value.dtype == x.dtype
        lower = jax.eval_shape(term.lower_bounds, variables["params"])
        same = jax.tree.map(lambda a, b: a.shape == b.shape, lower, variables["params"])
        assert all(jax.tree.leaves(same))


CASES = [
    (("polynomial", "diffusion"), "walls"),
    (("network", "diffusion", "central"), "line"),
    (("constrained", "split", "taxis"), "torus"),
    (("polynomial", "diffusion"), "box"),
]


@pytest.mark.parametrize(("terms", "where"), CASES, ids=lambda x: x if x in GRIDS else "+".join(x))
def test_sensitivities_are_the_derivatives(terms, where):
    """dS_k/dt is the change of the right-hand side along (S_k, e_k), by forward mode."""
    grid = GRIDS[where]
    x, rule = lattice(grid), rule_of(terms, grid)
    mask = jnp.asarray(np.random.default_rng(5).uniform(size=grid.shape) < 0.8)
    forced = forcing(grid).replace(mask=mask.astype(x.dtype))
    parameters = random_parameters(rule, x, forced)
    flat, unravel = ravel_pytree(parameters)
    s = jnp.asarray(np.random.default_rng(2).normal(size=(flat.size, *x.shape)))

    @jax.jit
    def by_forward_mode(flat, x, s):
        function = lambda flat, x: rule.apply({"params": unravel(flat)}, x, forced)
        push = lambda direction, change: jax.jvp(function, (flat, x), (direction, change))[1]
        return function(flat, x), jax.vmap(push)(jnp.eye(flat.size), s)

    expected, expected_s = by_forward_mode(flat, x, s)
    changes = tuple(jnp.moveaxis(s, 1, 0))
    slope, slope_s = jax.jit(rule.with_sensitivities)(parameters, (x, changes), forced)
    np.testing.assert_allclose(slope, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(np.stack(slope_s, 1), expected_s, rtol=1e-9, atol=1e-11)
    assert np.abs(expected_s).max((1, 2)).min() > 1e-3  # of every parameter
    outside = np.asarray(mask) == 0
    assert outside.any() and (np.asarray(slope)[:, outside] == 0).all()


RATED = ("polynomial", "diffusion", "phase field of one")


def test_rates_and_remainder_make_up_the_right_hand_side():
    """On the modes of a torus, by the symbol of the terms' own stencil."""
    grid = GRIDS["torus"]
    x, rule = lattice(grid), rule_of(RATED, grid)
    parameters = random_parameters(rule, x)
    point = jnp.zeros(grid.shape).at[0, 0].set(1.0)
    symbol = jnp.fft.fft2(laplacian(point, grid, "oono_puri")).real
    rates = jax.jit(rule.rates, static_argnums=2)(parameters, symbol, 2)
    assert rates.shape == x.shape and (np.asarray(rates) <= 1e-12).all()
    linear = np.fft.ifft2(rates * np.fft.fft2(x)).real
    rest = jax.jit(rule.remainder)(parameters, x)
    assert np.abs(linear).max() > 0.1 and np.abs(rest).max() > 0.1
    np.testing.assert_allclose(linear + rest, right_hand_side(rule)(parameters, x), rtol=1e-10)

    without = rule_of(("polynomial",), grid)
    np.testing.assert_array_equal(without.rates(parameters, symbol, 2), 0.0)


def test_the_order_of_terms_makes_no_difference():
    rule = rule_of(("polynomial", "diffusion"), GRIDS["torus"])
    assert hash(rule) == hash(rule_of(("diffusion", "polynomial"), GRIDS["torus"]))
    with pytest.raises(InputError, match="one or more terms"):
        ReactionDiffusionAdvection({})


def test_diffusion_coefficients_alone_are_bounded():
    grid = GRIDS["torus"]
    rule = rule_of(("polynomial", "diffusion", "central"), grid)
    parameters = first_parameters(rule, lattice(grid))
    lower = rule.lower_bounds(parameters)
    assert jax.tree.structure(lower) == jax.tree.structure(parameters)
    np.testing.assert_array_equal(lower["diffusion"]["coefficient"], 0.0)
    for name in ("reaction", "advection"):
        assert all(np.isneginf(leaf).all() for leaf in jax.tree.leaves(lower[name]))


def test_a_polynomial_starts_at_no_reaction_and_a_network_near_it():
    x = lattice(GRIDS["torus"])
    start = lambda rule: jax.jit(rule.init_with_output)(jax.random.key(0), x)[0]
    np.testing.assert_array_equal(start(PolynomialReaction(2)), 0.0)
    scaled = lambda scale: StateNetwork(whitening(1), hidden=(8,), last_scale=scale)
    small, large = (start(NetworkReaction(scaled(scale))) for scale in (0.01, 1))
    np.testing.assert_allclose(100 * small, large, rtol=1e-5)


def test_an_unknown_activation_is_refused():
    rule = NetworkReaction(network(activation="swoosh"))
    with pytest.raises(InputError, match="'swoosh'.*tanh"):
        rule.init(jax.random.key(0), lattice(GRIDS["torus"]))


@pytest.mark.parametrize("name", ["diffusion", "advection"])
def test_an_unknown_scheme_is_refused(name):
    grid = GRIDS["torus"]
    rule = {
        "diffusion": LinearDiffusion(grid, "round"),
        "advection": NetworkAdvection(grid, network(), "sideways"),
    }[name]
    with pytest.raises(InputError, match="'(round|sideways)', but must be one of"):
        rule.init(jax.random.key(0), lattice(grid))
