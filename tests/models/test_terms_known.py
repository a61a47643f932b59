"""Terms against closed forms and against loops in numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from diffpattern.errors import InputError
from diffpattern.grid.fluxes import ADVECTION_SCHEMES
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.models import monomials
from diffpattern.models.advection import PotentialTaxis, Taxis
from diffpattern.models.diffusion import CrossDiffusion, NonlinearDiffusion, positive_stable
from diffpattern.models.phase_field import PhaseField
from diffpattern.models.reaction import CubicDamping, PolynomialReaction, SplitReaction
from diffpattern.models.source import Source
from diffpattern.models.state_network import StateNetwork

SPACING = 0.5
TORUS = Grid((6, 5), SPACING)
RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(0.1, 1.0, (2, *TORUS.shape))
POWERS = monomials.exponents(2, 1, 1)
WHITENING = monomials.whitening(RANDOM.uniform(0.1, 1.0, (500, 2)), POWERS)
NETWORK = StateNetwork(WHITENING, hidden=(4,), last_scale=1.0)


def value(term, parameters, x=X, forcing=UNFORCED, method="__call__"):
    function = jax.jit(term.apply, static_argnames="method")
    return np.asarray(function({"params": parameters}, jnp.asarray(x), forcing, method=method))


def start(term, forcing=UNFORCED):
    return jax.jit(term.init)(jax.random.key(0), jnp.asarray(X), forcing)["params"]


def flux_divergence(f, x):
    """div(f grad x) on a torus, face by face."""
    total = np.zeros(np.broadcast_shapes(f.shape, x.shape))
    for axis in (-2, -1):
        for side in (1, -1):
            face = (f + np.roll(f, side, axis)) / 2
            total += face * (np.roll(x, side, axis) - x) / SPACING**2
    return total


def compact_laplacian(x):
    return flux_divergence(np.ones_like(x), x)


def test_polynomials_of_place():
    fields = RANDOM.normal(size=(2, *TORUS.shape))
    forcing = Forcing(environment=jnp.asarray(fields))
    term = PolynomialReaction(1, position=True)
    parameters = start(term, forcing)
    assert parameters["by_field"].shape == (2, 2, 3)
    fixed, by_field = RANDOM.normal(size=(2, 3)), RANDOM.normal(size=(2, 2, 3))
    terms = np.stack([np.ones_like(X[0]), *X])
    table = fixed[..., None, None] + np.einsum("ecm,eyx->cmyx", by_field, fields)
    parameters = {"coefficients": jnp.asarray(fixed), "by_field": jnp.asarray(by_field)}
    expected = np.einsum("cmyx,myx->cyx", table, terms)
    np.testing.assert_allclose(value(term, parameters, forcing=forcing), expected, rtol=1e-12)
    np.testing.assert_array_equal(term.coefficients(parameters), fixed)


@pytest.mark.parametrize(
    "term",
    [PolynomialReaction(1, position=True), NonlinearDiffusion(TORUS, NETWORK)],
    ids=["polynomial", "network"],
)
def test_place_without_given_fields_is_refused(term):
    if isinstance(term, NonlinearDiffusion):
        term = NonlinearDiffusion(TORUS, StateNetwork(WHITENING, position=True))
    with pytest.raises(InputError, match="give them an environment"):
        start(term)


def test_split_reactions_have_two_rates_that_are_never_negative():
    term = SplitReaction(NETWORK, initial=0.02)
    parameters = jax.tree.map(lambda leaf: 20 * leaf, start(term))
    at = lambda level: value(term, parameters, np.stack([np.full(TORUS.shape, level), X[1]]))
    assert (at(0.0)[0] >= 0).all()
    quiet = SplitReaction(StateNetwork(WHITENING, last_scale=0.0), initial=0.02)
    np.testing.assert_allclose(value(quiet, start(quiet)), 0.02 * (1 - X), rtol=1e-6)
    with pytest.raises(InputError, match="initial is 0"):
        start(SplitReaction(NETWORK, initial=0))


def test_cubic_damping():
    term = CubicDamping()
    strength = np.array([0.5, 2.0])
    expected = -strength[:, None, None] * X**3
    np.testing.assert_allclose(value(term, {"coefficient": jnp.asarray(strength)}), expected)
    np.testing.assert_array_equal(term.lower_bounds(start(term))["coefficient"], 0.0)


def test_nonlinear_diffusion():
    term = NonlinearDiffusion(TORUS, NETWORK, initial=0.3)
    parameters = jax.tree.map(lambda leaf: 3 * leaf, start(term))
    f = value(term, parameters, method="quantities")
    assert (f > 0).all() and f.std() > 0.03
    np.testing.assert_allclose(value(term, parameters), flux_divergence(f, X), rtol=1e-10)
    still = NonlinearDiffusion(TORUS, StateNetwork(WHITENING, last_scale=0.0), 0.3, channels=(1,))
    expected = np.stack([np.zeros_like(X[0]), 0.3 * compact_laplacian(X[1])])
    np.testing.assert_allclose(value(still, start(still)), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("scheme", ADVECTION_SCHEMES)
@pytest.mark.parametrize("wall", ["zero", "symmetric", "replicate", "value", "flux"])
def test_nothing_climbs_a_potential_through_a_wall(wall, scheme):
    walls = Boundary(wall, (0.4, -0.3)) if wall in ("value", "flux") else wall
    grid = Grid(TORUS.shape, SPACING, (walls, ("symmetric", walls)))
    sees_signal = dataclasses.replace(NETWORK, reads=(1,))
    term = PotentialTaxis(grid, sees_signal, scheme, movers=(0,))
    cells, signal = value(term, jax.tree.map(lambda leaf: 3 * leaf, start(term)))
    assert abs(cells.sum()) < 1e-12 and np.abs(cells).max() > 0.1
    np.testing.assert_array_equal(signal, 0.0)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_cross_diffusion_has_eigenvalues_with_positive_real_parts(size):
    numbers = np.random.default_rng(size).normal(0, 1.5, (size**2, 100))
    matrices = jax.jit(positive_stable, static_argnums=1)(jnp.asarray(numbers), 0.5)
    matrices = np.moveaxis(np.asarray(matrices), -1, 0)
    assert (np.linalg.eigvals(matrices).real > 0).all()
    if size > 1:
        symmetric = matrices + np.swapaxes(matrices, 1, 2)
        assert (np.linalg.eigvalsh(symmetric)[:, 0] < 0).any()
    at_zero = positive_stable(jnp.zeros(size**2), 0.5)
    np.testing.assert_allclose(at_zero, 0.5 * np.eye(size), atol=1e-12)


def numbers_of(matrix, initial):
    """The numbers of which `positive_stable` makes this matrix."""
    inverse = scipy.linalg.solve_continuous_lyapunov(matrix.T, 2 * np.eye(len(matrix)))
    lower = np.linalg.cholesky(np.linalg.inv(inverse))
    skew = inverse @ matrix - np.eye(len(matrix))
    rows, columns = np.tril_indices(len(matrix))
    entries = lower[rows, columns]
    offset = np.log(np.expm1(np.sqrt(initial)))
    entries[rows == columns] = np.log(np.expm1(entries[rows == columns])) - offset
    return np.concatenate([entries, skew[np.tril_indices(len(matrix), -1)]])


def keller_segel(cells, diffusion=1.0, sensitivity=5.0, signal_diffusion=0.5):
    return np.array([[diffusion, -sensitivity * cells], [0.0, signal_diffusion]])


def test_every_matrix_with_such_eigenvalues_is_reached():
    """Keller and Segel's at any number of cells, not positive definite, and random ones."""
    matrices = [keller_segel(cells) for cells in (0.0, 0.1, 1.0, 5.0)]
    assert np.linalg.eigvalsh(matrices[2] + matrices[2].T)[0] < -1
    random = np.random.default_rng(0)
    for size in (2, 3, 4):
        matrix = random.normal(size=(size, size))
        lowest = np.linalg.eigvals(matrix).real.min()
        matrices.append(matrix + (0.1 - min(lowest, 0.0)) * np.eye(size))
    for matrix in matrices:
        made = positive_stable(jnp.asarray(numbers_of(matrix, 0.05)), 0.05)
        np.testing.assert_allclose(made, matrix, rtol=1e-8, atol=1e-9)


def test_keller_segel_is_found_from_its_fluxes():
    """By damped Gauss-Newton from the unit matrix, on what cross diffusion does to a lattice."""
    term, truth = CrossDiffusion(TORUS, initial=0.5), keller_segel(0.6)
    curvature = compact_laplacian(X)
    data = np.einsum("ij,jyx->iyx", truth, curvature)
    term_of = jax.jit(lambda n: term.apply({"params": {"numbers": n}}, jnp.asarray(X)))
    jacobian_of = jax.jit(jax.jacfwd(term_of))
    numbers, damping = jnp.zeros(4), 1.0
    cost = lambda n: float(np.sum((term_of(n) - data) ** 2))
    for _ in range(60):
        jacobian = np.asarray(jacobian_of(numbers)).reshape(-1, 4)
        residual = np.asarray(term_of(numbers) - data).reshape(-1)
        normal = jacobian.T @ jacobian
        trial = numbers - np.linalg.solve(
            normal + damping * np.diag(np.diag(normal)), jacobian.T @ residual
        )
        better = cost(trial) < cost(numbers)
        numbers, damping = (trial, damping / 5) if better else (numbers, damping * 5)
    np.testing.assert_allclose(positive_stable(numbers, 0.5), truth, atol=1e-6)


def test_cross_diffusion_moves_along_the_gradients_of_all():
    term = CrossDiffusion(TORUS, NETWORK, initial=0.5)
    parameters = start(term)
    matrix = value(term, parameters, method="quantities").reshape(2, 2, *TORUS.shape)
    assert np.abs(matrix[0, 1]).min() > 0 and matrix.std((2, 3)).min() > 1e-3
    expected = sum(flux_divergence(matrix[:, j], X[j]) for j in (0, 1))
    np.testing.assert_allclose(value(term, parameters), expected, rtol=1e-9, atol=1e-12)


def test_taxis_by_faces():
    term = Taxis(TORUS)
    parameters = {"sensitivity": jnp.array([2.0, -0.5])}
    assert start(term)["sensitivity"].shape == (2,) and term.pairs(2) == ((0, 1), (1, 0))
    expected = -np.stack([flux_divergence(2.0 * X[0], X[1]), flux_divergence(-0.5 * X[1], X[0])])
    np.testing.assert_allclose(value(term, parameters), expected, rtol=1e-10, atol=1e-12)
    assert term.pairs(3) == ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))


@pytest.mark.parametrize("scheme", ["central", "upwind"])
def test_taxis_converges_to_its_equation(scheme):
    """-div(u grad v) of smooth fields, at second and first order."""
    errors = []
    for cells in (32, 64):
        grid = Grid((cells,), 2 * np.pi / cells)
        y = grid.spacing[0] * np.arange(cells)
        u, v = 2 + np.sin(y), np.cos(y)
        exact = np.cos(y) * np.sin(y) + (2 + np.sin(y)) * np.cos(y)
        term = Taxis(grid, scheme=scheme, movers=(0,), signals=(1,))
        change = value(term, {"sensitivity": jnp.ones(1)}, np.stack([u, v]))
        np.testing.assert_array_equal(change[1], 0.0)
        errors.append(np.abs(change[0] - exact).max())
    order = np.log2(errors[0] / errors[1])
    assert order == pytest.approx({"central": 2, "upwind": 1}[scheme], abs=0.15)


def test_upwind_taxis_keeps_what_moves_non_negative():
    x = np.stack([(X[0] > 0.6).astype(float), X[1]])
    lowest = {}
    for scheme in ("central", "upwind"):
        term = Taxis(TORUS, scheme=scheme, movers=(0,), signals=(1,))
        advance = jax.jit(
            lambda x, term=term: (
                x + 0.05 * term.apply({"params": {"sensitivity": jnp.array([1.0])}}, x)
            )
        )
        state = jnp.asarray(x)
        for _ in range(20):
            state = advance(state).at[1].set(x[1])
        lowest[scheme] = float(state[0].min())
    assert lowest["upwind"] >= 0 > lowest["central"]


def test_potential_taxis():
    term = PotentialTaxis(TORUS, StateNetwork(WHITENING, reads=(1,), last_scale=1.0), movers=(0,))
    parameters = start(term)
    potential = value(term, parameters, method="quantities")
    assert potential.shape == X.shape and potential[0].std() > 0.01 and not potential[1].any()
    other = value(term, parameters, np.stack([2 * X[0], X[1]]), method="quantities")
    np.testing.assert_allclose(potential, other, rtol=1e-12)  # does not see the movers
    expected = np.stack([-flux_divergence(X[0], potential[0]), np.zeros_like(X[0])])
    np.testing.assert_allclose(value(term, parameters), expected, rtol=1e-9, atol=1e-12)


def test_phase_field_with_the_potential_of_cahn_and_hilliard():
    term = PhaseField(TORUS, order=3, laplacian="cross", channels=(1,))
    names = monomials.names(monomials.exponents(2, 1, 3), ("A", "B"))
    coefficients = np.zeros((1, len(names)))
    coefficients[0, names.index("B^3")], coefficients[0, names.index("B")] = 1.0, -1.0
    parameters = {"coefficients": jnp.asarray(coefficients), "kappa": jnp.array([0.3])}
    assert jax.tree.structure(start(term)) == jax.tree.structure(parameters)
    c = X[1]
    expected = compact_laplacian(c**3 - c - 0.3 * compact_laplacian(c))
    np.testing.assert_allclose(value(term, parameters)[1], expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(value(term, parameters)[0], 0.0)
    np.testing.assert_allclose(
        value(term, parameters, method="remainder")[1], compact_laplacian(c**3 - c), rtol=1e-9
    )
    lower = term.lower_bounds(parameters)
    assert lower["kappa"] == 0 and np.isneginf(lower["coefficients"]).all()


def test_phase_field_lets_a_mixture_fall_apart():
    """A small wave grows as its dispersion relation says: which no diffusion would let it."""
    grid = Grid((32,), 1.0)
    term = PhaseField(grid, laplacian="cross")
    parameters = {"coefficients": jnp.array([[-1.0, 0.0, 1.0]]), "kappa": jnp.array([1.0])}
    wave = 1e-4 * np.cos(2 * np.pi * 2 * np.arange(32) / 32)
    symbol = 2 * np.cos(2 * np.pi * 2 / 32) - 2
    change = value(term, parameters, wave[None])[0]
    assert -symbol - symbol**2 > 0.1
    np.testing.assert_allclose(change, (-symbol - symbol**2) * wave, rtol=1e-5, atol=1e-12)


def test_sources_of_place_and_time():
    def at_times(term):
        first = lambda time: term.init_with_output(jax.random.key(0), jnp.asarray(X), Forcing(time))
        return np.asarray(jax.jit(jax.vmap(lambda time: first(time)[0]))(jnp.array([3.0, 5, 11])))

    early, late, next_period = at_times(Source(TORUS, True, 8.0, last_scale=1.0))
    np.testing.assert_allclose(early, next_period, rtol=1e-9)
    assert np.abs(early - late).min() > 0 and early.std((1, 2)).min() > 0.01

    early, late, _ = at_times(Source(TORUS, True, None, last_scale=1.0, channels=(1,)))
    np.testing.assert_array_equal(early, late)
    assert (early[0] == 0).all() and early[1].std() > 0.01

    early, late, _ = at_times(Source(TORUS, False, 8.0, last_scale=1.0))
    np.testing.assert_array_equal(np.ptp(early, (1, 2)), 0.0)
    assert (early != late).all()


def test_a_source_goes_round_a_torus_without_a_seam():
    steps = {}
    for boundary in ("circular", "symmetric"):
        grid = Grid((64,), boundary=boundary)
        term = Source(grid, last_scale=1.0)
        x = jnp.zeros((1, 64))
        s = np.asarray(term.init_with_output(jax.random.key(0), x)[0][0])
        steps[boundary] = abs(s[0] - s[-1]) / np.abs(np.diff(s)).max()
    assert steps["circular"] < 1.5 and steps["symmetric"] > 3


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Source(TORUS, False), "depends on position, on time"),
        (Source(TORUS, True, -1.0), "period is -1.0"),
        (Source(TORUS, channels=(2,)), "channels are \\(2,\\), but must be one or more of 0 to 1"),
        (PhaseField(TORUS, channels=()), "channels are \\(\\)"),
        (NonlinearDiffusion(TORUS, NETWORK, channels=(0, 0)), "each once"),
        (NonlinearDiffusion(TORUS, NETWORK, initial=-1), "initial is -1"),
        (Taxis(TORUS, movers=(0,), signals=(0,)), "no pair"),
        (Taxis(TORUS, scheme="sideways"), "'sideways', but must be one of central, upwind"),
        (PhaseField(TORUS, laplacian="round"), "'round'"),
    ],
    ids=str,
)
def test_refusals(term, message):
    with pytest.raises(InputError, match=message):
        start(term)
