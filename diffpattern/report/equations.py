"""The equation of a rule as plain text and as LaTeX, out of its scores."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffpattern.report.mathematics import digits


def of_diffusion(scores: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What scores say of each diffusion coefficient, as of other terms.

    Args:
      scores: with "diffusion" and maybe "diffusion_standard_error" and "diffusion_determined", each
        by species.

    Returns:
      {species: {"coefficient", "standard_error", "determined"}}.

    Example:
      >>> of_diffusion({"diffusion": {"u": 0.1}})
      {'u': {'coefficient': 0.1, 'standard_error': None, 'determined': True}}
    """
    errors, determined = (
        scores.get(f"diffusion_{name}") or {} for name in ("standard_error", "determined")
    )
    return {
        name: {
            "coefficient": value,
            "standard_error": errors.get(name),
            "determined": determined.get(name, True),
        }
        for name, value in (scores.get("diffusion") or {}).items()
    }


@dataclass(frozen=True)
class Equation:
    """What a rule makes of each species, written out as far as its terms can be.

    Printed it is text; a notebook shows it as LaTeX.

    Attributes:
      species: the names on the left.
      diffusion: {"coefficient", "standard_error", "determined"} by the species that have one.
      terms: {"term", "coefficient", "standard_error", "determined"} each, by species.
      unwritten: names of further terms by species, which nothing writes out.

    Example:
      >>> diffusion = {"u": {"coefficient": 0.1, "standard_error": 0.002}}
      >>> terms = {"u": [{"term": "u^2", "coefficient": -1.5, "standard_error": 0.1}]}
      >>> equation = Equation(("u",), diffusion, terms)
      >>> print(equation.text)
      du/dt = 0.1 lap u - 1.5 u^2
      >>> len(equation.latex.splitlines())  # with those around the only equation
      3
    """

    species: tuple[str, ...]
    diffusion: Mapping[str, Mapping[str, Any]]
    terms: Mapping[str, Sequence[Mapping[str, Any]]]
    unwritten: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text

    def _repr_latex_(self) -> str:
        return f"$${self.latex}$$"

    @property
    def text(self) -> str:
        """One line for each species; a coefficient not told apart from zero is followed by (?)."""
        return "\n".join(
            f"d{name}/dt = {self._sum(name, _text_number, _text_term, f'lap {name}', '[{}]')}"
            for name in self.species
        )

    @property
    def latex(self) -> str:
        """An `aligned` environment with a line for each species, for mathematics mode."""
        lines = " \\\\\n".join(
            f"\\partial_t {_latex_symbol(name)} &= "
            + self._sum(
                name,
                _latex_number,
                _latex_term,
                f"\\nabla^2 {_latex_symbol(name)}",
                "\\left[\\text{{{}}}\\right]",
            )
            for name in self.species
        )
        return f"\\begin{{aligned}}\n{lines}\n\\end{{aligned}}"

    def _sum(self, name: str, number, term, laplacian: str, others: str) -> str:
        """The right-hand side of a species, in a notation for numbers, terms and the rest."""
        summands = [(self.diffusion[name], laplacian)] if name in self.diffusion else []
        summands += [(entry, term(entry["term"])) for entry in self.terms.get(name, ())]
        written = ""
        for entry, factors in summands:
            size = number(entry)
            sign = "-" if size.startswith("-") else "+"
            body = f"{size.removeprefix('-')} {factors}".strip()
            body += "" if entry.get("determined", True) else " (?)"
            between = f" {sign} " if written else sign.replace("+", "")
            written += between + body
        for other in self.unwritten.get(name, ()):
            rest = others.format(other.replace("_", " "))
            written += f" + {rest}" if written else rest
        return written or "0"


def _text_number(entry: Mapping[str, Any]) -> str:
    return f"{entry['coefficient']:.{digits(entry)}g}"


def _text_term(term: str) -> str:
    return "" if term == "1" else term


def _latex_number(entry: Mapping[str, Any]) -> str:
    if not math.isfinite(entry["coefficient"]):
        return "\\text{not finite}"
    mantissa, _, exponent = _text_number(entry).partition("e")
    return mantissa + (f" \\times 10^{{{int(exponent)}}}" if exponent else "")


def _latex_term(term: str) -> str:
    """A term such as "A B^2", whose factors are names with or without a power."""
    if term == "1":
        return ""
    factors = (factor.partition("^") for factor in term.split())
    return " ".join(
        _latex_symbol(name) + (f"^{{{power}}}" if power else "") for name, _, power in factors
    )


def _latex_symbol(name: str) -> str:
    """A name; of several letters it is upright, as a word is."""
    escaped = re.sub(r"([#$%&_{}])", r"\\\1", name)
    return name if len(name) == 1 and name.isalpha() else f"\\mathrm{{{escaped}}}"
