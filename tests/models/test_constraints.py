"""Constraints on polynomial coefficients: what a line of text means, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.models import monomials
from diffpattern.models.constraints import family
from diffpattern.models.reaction import PolynomialReaction

SPECIES = ("A", "B", "C")
POWERS = monomials.exponents(3, 0, 3)
NAMES = monomials.names(POWERS, SPECIES)
COUNT = len(NAMES)


def tables(*constraints, bounded=True):
    """Random tables {species: {term: coefficient}} that obey the constraints."""
    made = family(constraints, SPECIES, POWERS)
    free = np.random.default_rng(0).uniform(0.5, 1.5, (20, made.size))
    free[:, ~made.bounded] *= np.random.default_rng(1).choice([-1, 1], (20, (~made.bounded).sum()))
    table = np.asarray(made(jnp.asarray(free)))
    assert table.shape == (20, 3, COUNT)
    rank = np.linalg.matrix_rank(made.basis.reshape(-1, made.size))
    assert rank == made.size
    entry = lambda species, term: table[:, SPECIES.index(species), NAMES.index(term)]
    return made, entry


def test_no_constraint_leaves_all_free():
    made, _ = tables()
    np.testing.assert_array_equal(made.basis.reshape(-1, made.size), np.eye(3 * COUNT))
    assert not made.bounded.any()


def test_an_equation_has_only_some_terms():
    made, entry = tables("A has only 1, B^2 A,C", "B has nothing")
    assert made.size == 3 + COUNT
    for term in NAMES:
        assert np.all(entry("A", term) != 0) == (term in ("1", "C", "A B^2"))
        assert np.all(entry("B", term) == 0) and np.all(entry("C", term) != 0)


def test_signs():
    made, entry = tables("A B^2 in A <= 0", "A B^2 in B, C >= 0", "1 >= 0")
    assert made.bounded.sum() == 6 and made.size == 3 * COUNT
    assert (entry("A", "A B^2") < 0).all() and (entry("C", "A B^2") > 0).all()
    assert all((entry(species, "1") > 0).all() for species in SPECIES)
    assert (entry("A", "B") > 0).any() and (entry("A", "B") < 0).any()
    np.testing.assert_array_equal(family(("1 >= 0",), SPECIES, POWERS)(jnp.zeros(3 * COUNT)), 0.0)


def test_a_shared_term():
    made, entry = tables("A B^2: 2 B -A + 1/2 C")
    assert made.size == 3 * COUNT - 2
    np.testing.assert_allclose(entry("B", "A B^2"), -2 * entry("A", "A B^2"))
    np.testing.assert_allclose(entry("C", "A B^2"), -0.5 * entry("A", "A B^2"))


@pytest.mark.parametrize("sign", ["<=", ">="])
def test_a_shared_term_with_a_sign(sign):
    """The sign of one equation fixes the other's, whichever of the two is the free number."""
    for equation in ("A", "B"):
        made, entry = tables("A B: +B -A", f"A B in {equation} {sign} 0")
        assert made.bounded.sum() == 1
        gain = entry("B", "A B") * (1 if equation == "B" else -1)
        assert (gain > 0).all() == (sign == ">=")
        np.testing.assert_array_equal(entry("A", "A B"), -entry("B", "A B"))


def test_conserved_sums():
    made, entry = tables("every term: A + B + 2 C = 0")
    assert made.size == 2 * COUNT
    for term in NAMES:
        total = entry("A", term) + entry("B", term) + 2 * entry("C", term)
        np.testing.assert_allclose(total, 0.0, atol=1e-12)
    made, entry = tables("A C: A + B = 0", "A C in C >= 0")
    assert made.size == 3 * COUNT - 1 and made.bounded.sum() == 1
    np.testing.assert_array_equal(entry("A", "A C"), -entry("B", "A C"))


def test_signs_of_a_sum_follow_from_those_of_its_parts():
    made, entry = tables("B: A + B + C = 0", "B in A <= 0", "B in B, C >= 0")
    assert made.bounded.sum() == 2
    np.testing.assert_allclose(entry("A", "B"), -entry("B", "B") - entry("C", "B"))


def test_gray_scott_has_four_numbers():
    constraints = (
        "A has only 1, A, A B^2",
        "B has only B, A B^2",
        "A B^2: +B -A",
        "A B^2 in B >= 0",
        "B in B <= 0",
        "1 in A >= 0",
        "A in A <= 0",
    )
    rule = PolynomialReaction(3, constraints, ("A", "B"))
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 4, 5)))
    parameters = rule.init(jax.random.key(0), x)["params"]
    assert parameters["free"].shape == (4,)
    np.testing.assert_array_equal(rule.lower_bounds(parameters)["free"], 0.0)
    parameters = {"free": jnp.array([0.04, 0.04, 0.1, 1.0])}
    reaction = x[0] * x[1] ** 2
    value = rule.apply({"params": parameters}, x)
    np.testing.assert_allclose(value[0], 0.04 * (1 - x[0]) - reaction, rtol=1e-12)
    np.testing.assert_allclose(value[1], reaction - 0.1 * x[1], rtol=1e-12)
    table = rule.coefficients(parameters)
    names = monomials.names(monomials.exponents(2, 0, 3), ("A", "B"))
    assert table.shape == (2, 10) and table[1, names.index("B")] == -0.1


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (("A B",), "'A B' is not understood"),
        (("A has many",), "not understood"),
        (("A has only D",), "term 'D'; there are 1, A, B, C, A\\^2"),
        (("A has only A^4",), "term 'A\\^4'"),
        (("A has only A,",), "term ''"),
        (("D has nothing",), "species 'D'; there are A, B, C"),
        (("A in D >= 0",), "species 'D'"),
        (("A: +B -D",), "species 'D'"),
        (("A: +B",), "names 1 species"),
        (("A: +B -0 A",), "factor other than zero"),
        (("A: B - B + C",), "factor other than zero"),
        (("A: +B -A 2",), "ends with a factor"),
        (("A: +B 1/0 A",), "species '1/0'"),
        (("A: B + C = 1",), "not understood"),
        (("A in A >= 0", "A in A <= 0"), "'A in A <= 0' contradicts"),
        (("A: +B -A", "A in A, B >= 0"), 'leave only zero for "A in A"'),
        (("A: A + B + C = 0", "A in A, B, C >= 0"), "is a sum of others"),
        (("A has nothing", "B has nothing", "C has nothing"), "no coefficient free"),
    ],
    ids=lambda x: "; ".join(x) if isinstance(x, tuple) else "",
)
def test_refusals(constraints, message):
    with pytest.raises(InputError, match=message):
        family(constraints, SPECIES, POWERS)


def test_constraints_need_a_name_for_each_channel():
    rule = PolynomialReaction(2, ("A has nothing",), ("A", "B"))
    with pytest.raises(InputError, match="3 channels need a name for each"):
        rule.init(jax.random.key(0), jnp.zeros((3, 4)))
