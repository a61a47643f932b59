"""What is known of the coefficients of a polynomial reaction, said in words and made linear.

A constraint is a line of text about the coefficients K[c, m] of the monomials m in the equations
dc/dt of the species c:

    "A has only 1, A, A B^2"    the equation of A has these terms and no others
    "A has nothing"             the equation of A has no term
    "A B^2 in A <= 0"           the sign of a term in an equation, or in several ("in A, B")
    "A B^2 >= 0"                the same in every equation
    "A B^2: +B -A"              one shared number: what B gains by the term, A loses ("2 B - A")
    "A B^2: A + B = 0"          the term's coefficients in A and B sum to zero
    "every term: A + B = 0"     the reaction conserves A + B

Coefficients that no line names stay free. Together the lines leave a linear family of tables K,
K = basis times free numbers, where each free number is itself a coefficient (up to its sign) so
that a sign becomes a bound at zero; see `family`.
"""

import dataclasses
import functools
from collections.abc import Sequence
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.errors import InputError
from diffpattern.models import monomials

EVERY_TERM = "every term"
_FORMS = (
    '"A has only 1, A", "A has nothing", "A B in A, B >= 0", "A B: +B -A", "A B: A + B = 0" or '
    '"every term: A + B = 0"'
)

# A coefficient's place: (equation, monomial). A row of a linear system: place -> factor.
_Place = tuple[int, int]
_Row = dict[_Place, Fraction]


@dataclasses.dataclass(frozen=True)
class Family:
    """The tables of coefficients that obey constraints.

    Attributes:
      basis: K[c, m] = sum_f basis[c, m, f] free[f], [C, M, F].
      bounded: which of the free numbers may not fall below zero, [F].
    """

    basis: np.ndarray
    bounded: np.ndarray

    @property
    def size(self) -> int:
        """How many numbers are free."""
        return len(self.bounded)

    def __call__(self, free: Array) -> Array:
        """K [..., C, M] of the free numbers [..., F]."""
        return jnp.einsum("cmf,...f->...cm", jnp.asarray(self.basis, free.dtype), free)


@functools.lru_cache(maxsize=64)
def family(
    constraints: tuple[str, ...], species: tuple[str, ...], powers: monomials.Exponents
) -> Family:
    """The tables that obey all constraints.

    Args:
      constraints: lines of text, as the module's docstring has them.
      species: names of the C species.
      powers: exponents of the M monomials.

    Raises:
      InputError: a line that is not understood, names what there is not, or contradicts another;
        or nothing is left free.
    """
    reader = _Reader(species, powers)
    for constraint in constraints:
        reader.read(constraint)
    signs = reader.signs
    places = [(c, m) for c in range(len(species)) for m in range(len(powers))]
    # What has a sign shall be free, not expressed by others.
    dependent = _eliminate(reader.equations, sorted(places, key=lambda place: place in signs))
    free = [place for place in places if place not in dependent]

    free_signs = {place: signs[place] for place in free if place in signs}
    depending = {place: dependent[place] for place in signs if dependent.get(place)}
    for place, row in depending.items():
        if len(row) == 1:
            ((other, factor),) = row.items()
            needed = signs[place] if factor > 0 else -signs[place]
            if free_signs.setdefault(other, needed) != needed:
                raise InputError(
                    f"constraints {constraints!r} leave only zero for {reader.name(place)}; drop "
                    "the term or one of its signs."
                )
    for place, row in depending.items():
        # A sum has a sign where each of its parts has it.
        if any(free_signs.get(p, 0) * factor * signs[place] <= 0 for p, factor in row.items()):
            parts = ", ".join(reader.name(part) for part in row)
            raise InputError(
                f"constraints {constraints!r} give a sign to {reader.name(place)}, which is a sum "
                f"of others; give one to each of {parts} in its place."
            )
    if not free:
        raise InputError(f"constraints {constraints!r} leave no coefficient free.")

    basis = np.zeros((len(species), len(powers), len(free)))
    for index, place in enumerate(free):
        basis[place][index] = free_signs.get(place, 1)
    for place, row in dependent.items():
        for other, factor in row.items():
            basis[place] += float(factor) * basis[other]
    return Family(basis, np.array([place in free_signs for place in free]))


def _eliminate(equations: Sequence[_Row], order: Sequence[_Place]) -> dict[_Place, _Row]:
    """Solves sum_p row[p] K[p] = 0 for as many coefficients as there are independent rows.

    Those that come first in `order` are expressed by those that come later.

    Returns:
      For each dependent place its row: K[place] = sum of factor * K[free place].
    """
    rank = {place: n for n, place in enumerate(order)}
    solved: dict[_Place, _Row] = {}
    for equation in equations:
        row = _substitute(equation, solved)
        if not row:
            continue
        pivot = min(row, key=rank.__getitem__)
        scale = -1 / row.pop(pivot)
        solution = {pivot: {place: scale * factor for place, factor in row.items()}}
        solved = {place: _substitute(old, solution) for place, old in solved.items()} | solution
    return solved


def _substitute(row: _Row, solved: dict[_Place, _Row]) -> _Row:
    """The row with what is solved expressed by the rest, without zeros."""
    result: _Row = {}
    for place, factor in row.items():
        for other, share in solved.get(place, {place: Fraction(1)}).items():
            result[other] = result.get(other, Fraction(0)) + factor * share
    return {place: factor for place, factor in result.items() if factor}


class _Reader:
    """Collects the linear equations and the signs that lines of text state."""

    def __init__(self, species: tuple[str, ...], powers: monomials.Exponents):
        self.species = species
        # A term as its factors in alphabetical order, so that "B A B" is "A B^2".
        self.terms = {
            tuple(sorted(name for name, p in zip(species, row, strict=True) for _ in range(p))): m
            for m, row in enumerate(powers)
        }
        self.names = monomials.names(powers, species)
        self.equations: list[_Row] = []
        self.signs: dict[_Place, int] = {}

    def name(self, place: _Place) -> str:
        return f'"{self.names[place[1]]} in {self.species[place[0]]}"'

    def read(self, line: str) -> None:
        words = line.split()
        if "has" in words:
            subject, _, allowed = line.partition(" has ")
            self._read_allowed(line, subject, allowed.strip())
        elif ":" in line:
            term, _, sum_text = line.partition(":")
            self._read_sum(line, term, sum_text)
        elif len(words) > 2 and words[-2] in (">=", "<=") and words[-1] == "0":
            sign = 1 if words[-2] == ">=" else -1
            term, _, equations = " ".join(words[:-2]).partition(" in ")
            self._read_sign(line, term, equations, sign)
        else:
            raise InputError(f"constraint {line!r} is not understood; say it like {_FORMS}.")

    def _read_allowed(self, line: str, subject: str, allowed: str) -> None:
        """All other terms are zero: "A has only 1, A"."""
        equation = self._equation(line, subject)
        if allowed == "nothing":
            kept = set()
        elif allowed.startswith("only "):
            listed = allowed.removeprefix("only ").split(",")
            kept = {m for text in listed for m in self._terms(line, text)}
        else:
            raise InputError(f"constraint {line!r} is not understood; say it like {_FORMS}.")
        for m in self.terms.values():
            if m not in kept:
                self.equations.append({(equation, m): Fraction(1)})

    def _read_sign(self, line: str, term: str, equations: str, sign: int) -> None:
        """The sign of a term in equations: "A B in A, B >= 0"."""
        listed = equations.split(",") if equations else self.species
        for name in listed:
            for m in self._terms(line, term):
                place = self._equation(line, name), m
                if self.signs.setdefault(place, sign) != sign:
                    raise InputError(f"constraint {line!r} contradicts another; keep one of them.")

    def _read_sum(self, line: str, term: str, sum_text: str) -> None:
        """One shared number, "A B: +B -A", or a sum that is zero, "A B: A + B = 0"."""
        combination, equals, right = sum_text.partition("=")
        factors = self._combination(line, combination)
        if equals and right.strip() != "0":
            raise InputError(f"constraint {line!r} is not understood; say it like {_FORMS}.")
        for m in self._terms(line, term):
            if equals:
                self.equations.append({(c, m): factor for c, factor in factors.items()})
                continue
            (first, reference), *others = factors.items()
            for c, factor in others:
                self.equations.append({(c, m): reference, (first, m): -factor})

    def _combination(self, line: str, text: str) -> dict[int, Fraction]:
        """What "2 B - A" says, as {equation: factor}."""
        factors: dict[int, Fraction] = {}
        factor = Fraction(1)
        for word in text.split():
            if word not in self.species and word[0] in "+-":
                factor *= 1 if word[0] == "+" else -1
                word = word[1:]
            if not word:
                continue
            if word in self.species:
                equation = self._equation(line, word)
                factors[equation] = factors.get(equation, Fraction(0)) + factor
                factor = Fraction(1)
                continue
            try:
                factor *= Fraction(word)
            except (ValueError, ZeroDivisionError):
                self._equation(line, word)  # which says that there is no such species
        if factor != 1:
            raise InputError(f"constraint {line!r} ends with a factor; say it like {_FORMS}.")
        if len(factors) < 2 or not all(factors.values()):
            raise InputError(
                f"constraint {line!r} names {len(factors)} species; a sum needs two or more, each "
                "with a factor other than zero."
            )
        return factors

    def _equation(self, line: str, name: str) -> int:
        if name.strip() not in self.species:
            raise InputError(
                f"constraint {line!r} names the species {name.strip()!r}; there are "
                f"{', '.join(self.species)}."
            )
        return self.species.index(name.strip())

    def _terms(self, line: str, text: str) -> tuple[int, ...]:
        """The monomials that a text such as "A B^2" means."""
        if text.strip() == EVERY_TERM:
            return tuple(self.terms.values())
        factors = []
        for word in text.replace("*", " ").split() or [""]:
            name, _, power = word.partition("^")
            if power.isdigit():
                factors += [name] * int(power)
            elif word != "1":
                factors.append(word)
        term = tuple(sorted(factors))
        if term not in self.terms:
            raise InputError(
                f"constraint {line!r} names the term {text.strip()!r}; there are "
                f"{', '.join(self.names)}."
            )
        return (self.terms[term],)
