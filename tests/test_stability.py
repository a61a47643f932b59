"""Which waves grow on a homogeneous state: beside the formulae of textbooks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from diffpattern.grid.stencils import gradient
from diffpattern.models import monomials
from diffpattern.models.diffusion import LinearDiffusion
from diffpattern.models.nca import NeuralCellularAutomaton
from diffpattern.models.perception import Stencils
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.reaction import PolynomialReaction
from diffpattern.models.updates import Network
from diffpattern.stability import LocalRule, dispersion, homogeneous_states
from diffpattern.systems import (
    AllenCahn,
    Brusselator,
    CahnHilliard,
    ComplexGinzburgLandau,
    GrayScott,
    KellerSegel,
    Schnakenberg,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


def rule_of(system, spacing=(0.5, 0.5), laplacian="isotropic"):
    on = lambda grid: lambda x: system.right_hand_side(x, grid, laplacian)
    return LocalRule(on, len(system.species), spacing)


def about_rest(system, **options):
    return dispersion(rule_of(system, **options), np.array(system.rest))


def threshold(make, low, high):
    """The parameter at which the fastest wave neither grows nor decays, and that wave."""
    growth = lambda value: about_rest(make(value), spacing=(0.5,)).fastest_growth
    critical = optimize.brentq(growth, low, high, rtol=1e-3)
    return critical, about_rest(make(critical), spacing=(0.5,))


def test_schnakenberg_patterns_from_murrays_ratio_of_diffusivities_on():
    # Murray, Mathematical Biology II, section 2.3: with slopes f_u, f_v, g_u, g_v at rest, patterns
    # start where (d f_u + g_v)^2 = 4 d det, at the wavenumber k^2 = sqrt(det / d).
    a, b = 0.1, 0.9
    by_u, determinant = (b - a) / (a + b), (a + b) ** 2
    by_v = -determinant
    root = (np.sqrt(determinant) + np.sqrt(determinant - by_u * by_v)) / by_u
    found, wave = threshold(lambda d: Schnakenberg(1.0, d, a, b), 4.0, 20.0)
    assert found == pytest.approx(root**2, rel=0.02)
    assert wave.fastest == pytest.approx((determinant / root**2) ** 0.25, rel=0.02)


def test_brusselator_patterns_from_its_critical_supply_on():
    # At rest the slopes are b - 1, a^2, -b, -a^2: (Dv (b - 1) - Du a^2)^2 = 4 Du Dv a^2.
    a, slow, quick = 4.5, 1.0, 8.0
    found, wave = threshold(lambda b: Brusselator(slow, quick, a, b), 5.0, 10.0)
    assert found == pytest.approx((1 + a * np.sqrt(slow / quick)) ** 2, rel=0.02)
    assert wave.wavelength == pytest.approx(2 * np.pi * (slow * quick) ** 0.25 / a**0.5, rel=0.02)


def test_growth_is_that_of_the_matrix_of_slopes_and_stencils():
    system = Brusselator()
    found = about_rest(system, spacing=(0.5,))
    symbol = -np.square(2 / 0.5 * np.sin(0.5 * found.wavenumbers / 2))
    slopes = np.array([[system.b - 1, system.a**2], [-system.b, -(system.a**2)]])
    diffusion = np.diag([system.diffusion_x, system.diffusion_y])
    sigma = np.linalg.eigvals(slopes + symbol[:, None, None] * diffusion)
    np.testing.assert_allclose(found.growth, sigma.real.max(1), atol=1e-9)
    leading = np.take_along_axis(sigma, sigma.real.argmax(1)[:, None], 1)[:, 0]
    np.testing.assert_allclose(found.frequency, np.abs(leading.imag), atol=1e-6)
    assert found.turing_unstable and found.fastest_growth >= found.growth.max()
    low, high = found.band
    assert low < found.fastest < high < found.wavenumbers[-1]


def test_what_is_unstable_and_what_is_turing_unstable():
    patterns, oscillates = about_rest(Schnakenberg()), about_rest(Brusselator(8.0, 1.0, 1.0, 3.0))
    assert patterns.turing_unstable and not patterns.unstable_without_waves
    assert oscillates.unstable_without_waves and not oscillates.turing_unstable
    assert oscillates.frequency[0] > 0.5
    # Something is conserved: neither stable nor unstable while all cells are alike.
    demixes = about_rest(CahnHilliard())
    assert demixes.waves_grow and not demixes.turing_unstable
    assert not demixes.stable_without_waves and not demixes.unstable_without_waves
    assert demixes.wavelength == pytest.approx(2 * np.pi * np.sqrt(2), rel=0.02)
    assert about_rest(KellerSegel(sensitivity=3.0)).turing_unstable
    assert not about_rest(KellerSegel(sensitivity=2.8)).waves_grow
    # All cells alike grow fastest.
    assert about_rest(ComplexGinzburgLandau()).wavelength is None


def test_a_band_ends_where_the_growth_is_zero():
    # Murray: between the roots of d k^4 - (d f_u + g_v) k^2 + det = 0 waves grow.
    system = Schnakenberg()
    by_u, determinant = (system.b - system.a) / (system.a + system.b), (system.a + system.b) ** 2
    ratio = system.diffusion_v / system.diffusion_u
    ends = np.sqrt(np.sort(np.roots([ratio, -(ratio * by_u - determinant), determinant])))
    fine = dispersion(rule_of(system, (0.02,), "cross"), np.array(system.rest), count=4097)
    np.testing.assert_allclose(fine.band, ends, rtol=1e-4)
    # However few wavenumbers are listed.
    few, many = (
        dispersion(rule_of(system, (0.5,)), np.array(system.rest), count=count)
        for count in (9, 257)
    )
    np.testing.assert_allclose(few.band, many.band, rtol=1e-6)
    np.testing.assert_allclose(few.fastest, many.fastest, rtol=1e-3)


def test_a_band_without_an_end_is_told_as_such():
    # Demixing: of 0 itself nothing is said, as the sum is conserved, but all longer waves grow.
    low, high = about_rest(CahnHilliard(), spacing=(0.5,)).band
    assert low == 0.0 and high == pytest.approx(1.0, rel=0.03)
    oscillates = about_rest(Brusselator(8.0, 1.0, 1.0, 3.0), spacing=(0.5,))
    assert oscillates.band[0] == 0.0 < oscillates.band[1] < oscillates.wavenumbers[-1]
    grows = lambda grid: lambda x: 0.3 * x
    found = dispersion(LocalRule(grows, 1, (0.5,)), np.zeros(1))
    assert found.band == (0.0, found.wavenumbers[-1])


def test_gray_scott_has_one_homogeneous_state_which_nothing_leaves():
    rule = rule_of(GrayScott(), (1.0, 1.0), "oono_puri")
    lattice = np.stack(np.meshgrid(*2 * (np.linspace(-0.2, 1.2, 12),)), -1).reshape(-1, 2)
    starts = np.concatenate([[[0.7, 0.1]], lattice])
    states = homogeneous_states(rule, starts, starts.min(0), starts.max(0))
    np.testing.assert_allclose(states, [[1.0, 0.0]], rtol=1e-8)
    found = dispersion(rule, states[0])
    assert found.stable_without_waves and not found.waves_grow
    assert found.wavelength is None and found.band is None
    assert found.fastest_growth == pytest.approx(-GrayScott().alpha)


def test_all_homogeneous_states_are_found_and_only_between_the_bounds():
    starts = np.linspace(-1.5, 1.5, 16)[:, None] + 0.2
    find = lambda low, high: homogeneous_states(rule_of(AllenCahn()), starts, [low], [high])
    np.testing.assert_allclose(np.sort(find(-2.0, 2.0).ravel()), [-1, 0, 1], atol=1e-8)
    np.testing.assert_allclose(find(-0.5, 2.0).ravel()[:1], 0.0, atol=1e-8)
    assert len(find(1.2, 2.0)) == 0
    # What is conserved can have any value: that of the first start.
    conserved = rule_of(CahnHilliard())
    np.testing.assert_allclose(homogeneous_states(conserved, starts, [-2], [2]), starts[:1])


def test_waves_are_looked_for_in_all_directions_and_may_travel():
    def windy(grid):
        return lambda x: -2.0 * gradient(x, grid)[:, 0] - x

    found = dispersion(LocalRule(windy, 1, (0.5,)), np.zeros(1))
    np.testing.assert_allclose(found.growth, -1.0, atol=1e-12)
    expected = 2.0 * np.sin(0.5 * found.wavenumbers) / 0.5
    np.testing.assert_allclose(found.frequency, expected, atol=1e-9)

    def skew(grid):
        # 2 d2x/dydx - x, which makes waves along one of the diagonals grow, and no others.
        twice = lambda x: gradient(gradient(x, grid)[:, 0], grid)[:, 1]
        return lambda x: 2.0 * twice(x) - x

    found = dispersion(LocalRule(skew, 1, (1.0, 1.0)), np.zeros(1))
    expected = 2.0 * np.sin(found.wavenumbers / np.sqrt(2)) ** 2 - 1.0
    np.testing.assert_allclose(found.growth, expected, atol=1e-9)
    assert found.turing_unstable and found.fastest == pytest.approx(np.pi / np.sqrt(2), rel=1e-4)


TRUE = Schnakenberg()
POWERS = monomials.exponents(2, 1, 3)
# Of the monomials u, v, u^2, uv, v^2, u^3, u^2 v, ...; the constants stand apart.
RATES = np.zeros((2, len(POWERS)))
RATES[0, POWERS.index((1, 0))] = -1.0
RATES[:, POWERS.index((2, 1))] = 1.0, -1.0
SUPPLY = np.array([TRUE.a, TRUE.b])


def test_a_learnt_pde_with_the_true_numbers_has_the_true_dispersion():
    parameters = {
        "polynomial": {"coefficients": np.concatenate([SUPPLY[:, None], RATES], axis=1)},
        "diffusion": {"coefficient": np.array([TRUE.diffusion_u, TRUE.diffusion_v])},
    }

    def on(grid):
        terms = {"polynomial": PolynomialReaction(3), "diffusion": LinearDiffusion(grid, "cross")}
        rule = ReactionDiffusionAdvection(terms)
        return lambda x: rule.apply({"params": parameters}, x)

    learnt = dispersion(LocalRule(on, 2, (1.0, 1.0)), np.array(TRUE.rest))
    true = about_rest(TRUE, spacing=(1.0, 1.0), laplacian="cross")
    np.testing.assert_allclose(learnt.growth, true.growth, atol=1e-9)
    assert learnt.wavelength == pytest.approx(true.wavelength)
    # Waves of a spectral solver have no stencil's error.
    rates = lambda eigenvalue: jnp.array([[TRUE.diffusion_u], [TRUE.diffusion_v]]) * eigenvalue
    reaction = ReactionDiffusionAdvection({"polynomial": PolynomialReaction(3)})
    without = {"polynomial": parameters["polynomial"]}
    spectral = LocalRule(
        lambda grid: lambda x: reaction.apply({"params": without}, x), 2, (1.0, 1.0), modes=rates
    )
    fine = about_rest(TRUE, spacing=(0.02,), laplacian="cross")
    found = dispersion(spectral, np.array(TRUE.rest))
    assert found.wavelength == pytest.approx(fine.wavelength, rel=1e-3)
    assert found.fastest_growth == pytest.approx(fine.fastest_growth, rel=1e-3)


def test_an_automaton_that_is_eulers_step_has_the_logarithm_of_its_growth():
    # Linear in the monomials and their Laplacians: h (supply + R m + D lap x).
    step = 0.01
    of_laplacian = np.zeros_like(RATES)
    of_laplacian[0, 0], of_laplacian[1, 1] = TRUE.diffusion_u, TRUE.diffusion_v
    output = {"kernel": np.concatenate([RATES.T, of_laplacian.T]), "bias": SUPPLY}

    def on(grid):
        perception = Stencils(("identity", "laplacian"), order=3, laplacian="cross")
        rule = NeuralCellularAutomaton(grid, perception, Network(()), (), 1.0, step)
        parameters = {"update": {"network": {"output": output}}}
        return lambda x: rule.apply({"params": parameters}, x, jax.random.key(0))

    rule = LocalRule(on, 2, (1.0, 1.0), step=step)
    learnt = dispersion(rule, np.array(TRUE.rest))
    true = about_rest(TRUE, spacing=(1.0, 1.0), laplacian="cross")
    sigma = true.growth + 1j * true.frequency
    # Where waves are slow, as here, the same eigenvalue leads.
    leading = true.growth > -1.0
    expected = np.log(np.abs(1 + step * sigma)) / step
    np.testing.assert_allclose(learnt.growth[leading], expected[leading], atol=1e-9)
    assert learnt.turing_unstable and learnt.wavelength == pytest.approx(true.wavelength, rel=1e-3)
    np.testing.assert_allclose(rule.rates(np.array([TRUE.rest])), 0.0, atol=1e-12)
    np.testing.assert_allclose(rule.rates(np.array([1.2, 0.4])), [0.1 - 1.2 + 0.576, 0.9 - 0.576])


def test_a_rule_is_asked_on_the_smallest_torus_that_holds_it():
    for spacing in ((0.5,), (0.5,) * 3):
        rule = rule_of(CahnHilliard(), spacing)
        assert rule.reach == 2
        assert rule.response(np.zeros(1)).shape == (1, 1, *(5,) * len(spacing))
