import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.models import monomials


def test_exponents_are_ordered_by_degree_then_by_species():
    assert monomials.exponents(2, 0, 2) == ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
    assert monomials.exponents(1, 1, 3) == ((1,), (2,), (3,))
    assert monomials.exponents(3, 1, 1) == ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@pytest.mark.parametrize(("species", "highest", "count"), [(1, 3, 4), (2, 3, 10), (3, 3, 20)])
def test_there_are_as_many_as_combinatorics_says(species, highest, count):
    powers = monomials.exponents(species, 0, highest)
    assert len(set(powers)) == len(powers) == count
    assert all(sum(row) <= highest for row in powers)


def test_values_are_products_of_powers():
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    powers = monomials.exponents(3, 0, 4)
    values = monomials.evaluate(jnp.asarray(x), powers)
    expected = [x[0] ** p * x[1] ** q * x[2] ** r for p, q, r in powers]
    np.testing.assert_allclose(values, expected, rtol=1e-13)


def test_names():
    powers = monomials.exponents(2, 0, 3)
    assert monomials.names(powers, ("A", "B")) == (
        "1", "A", "B", "A^2", "A B", "B^2", "A^3", "A^2 B", "A B^2", "B^3",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A", "A"),
        (" A ", "A"),
        ("Alexa 488", "Alexa_488"),
        ("A  B^2*C", "A_B_2_C"),
        ("Ki-67", "Ki-67"),
    ],
)
def test_names_of_species_are_one_word(text, name):
    assert monomials.name_of(text) == name == monomials.name_of(name)
    (term,) = monomials.names(((1,),), (name,))
    assert term.split() == [name]


def samples(species, count=4000):
    """Correlated species far from zero, of different size."""
    random = np.random.default_rng(0)
    mixed = random.normal(size=(count, species)) @ random.normal(size=(species, species))
    return 5.0 + mixed * np.geomspace(0.1, 10, species)


@pytest.mark.parametrize(("species", "degree"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_whitened_monomials_have_zero_mean_and_unit_covariance(species, degree):
    powers = monomials.exponents(species, 1, degree)
    values = samples(species)
    z = monomials.whitening(values, powers)(monomials.evaluate(jnp.asarray(values.T), powers))
    np.testing.assert_allclose(np.mean(z, 1), 0.0, atol=1e-8)
    np.testing.assert_allclose(np.cov(z).reshape(len(powers), -1), np.eye(len(powers)), atol=1e-3)


def test_whitening_does_not_blow_up_what_hardly_varies():
    random = np.random.default_rng(1)
    a = random.normal(size=4000)
    values = np.stack([a, a + 1e-5 * random.normal(size=4000)], axis=-1)
    powers = monomials.exponents(2, 1, 1)
    z = monomials.whitening(values, powers, smallest=1e-3)(jnp.asarray(values.T))
    deviations = np.sqrt(np.sort(np.linalg.eigvalsh(np.cov(z))))
    assert deviations[1] == pytest.approx(1.0, abs=1e-3)
    # The difference of the species varies 1e-5 / 2 as much as their sum, but counts as 1e-3.
    assert deviations[0] == pytest.approx(0.5e-5 / 1e-3, rel=0.1)
    full = monomials.whitening(values, powers, smallest=0.0)(jnp.asarray(values.T))
    np.testing.assert_allclose(np.cov(full), np.eye(2), atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 0.1, 1.0, 300.0])
def test_what_does_not_change_keeps_its_scale(level):
    random = np.random.default_rng(1)
    values = np.stack([np.full(4000, level), random.normal(size=4000)], axis=-1)
    values[::2, 0] *= 1 + np.finfo(values.dtype).eps
    powers = monomials.exponents(2, 1, 1)
    whitens = monomials.whitening(values, powers)
    moved = whitens(jnp.array([level + 1e-2, 0.0])) - whitens(jnp.array([level, 0.0]))
    np.testing.assert_allclose(np.linalg.norm(moved), 1e-2, rtol=1e-2)
    z = whitens(jnp.asarray(values.T))
    np.testing.assert_allclose(np.sort(np.var(z, axis=1)), [0.0, 1.0], atol=1e-3)


def test_what_changes_by_little_is_scaled_all_the_same():
    values = 1e-13 * samples(2)
    powers = monomials.exponents(2, 1, 1)
    z = monomials.whitening(values, powers)(jnp.asarray(values.T))
    np.testing.assert_allclose(np.cov(z), np.eye(2), atol=1e-3)


@pytest.mark.parametrize("degree", [1, 3])
def test_where_nothing_changes_monomials_lose_their_mean_alone(degree):
    powers = monomials.exponents(2, 1, degree)
    whitens = monomials.whitening(np.full((100, 2), [0.25, 0.0]), powers)
    np.testing.assert_allclose(whitens.matrix, np.eye(len(powers)))
    np.testing.assert_allclose(whitens.mean, [0.25**a * 0.0**b for a, b in powers])


def test_whitening_is_static():
    powers = monomials.exponents(2, 1, 1)
    one, two = (monomials.whitening(samples(2), powers) for _ in range(2))
    assert one == two and hash(one) == hash(two)


@pytest.mark.parametrize("kept", [(0,), (1, 4), (0, 1, 2, 3, 4)])
def test_whitening_of_some_monomials_is_that_of_their_data(kept):
    powers = monomials.exponents(2, 1, 2)
    values = samples(2)
    m = monomials.evaluate(jnp.asarray(values.T), powers)[jnp.asarray(kept)]
    z = monomials.whitening(values, powers, smallest=0.0).of(kept)(m)
    np.testing.assert_allclose(np.mean(z, 1), 0.0, atol=1e-7)
    np.testing.assert_allclose(np.cov(z).reshape(len(kept), -1), np.eye(len(kept)), atol=1e-3)
