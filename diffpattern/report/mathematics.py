"""Numbers and equations as HTML: signs, powers of ten, terms and the equation of a species.

A term is written as in `scores.json`: factors between blanks, powers by a caret ("A B^2"), "1"
for a constant.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

MINUS = "\N{MINUS SIGN}"
NABLA_SQUARED = "\N{NABLA}<sup>2</sup>"
NOT_DETERMINED = "(?)"


def number(value: float | None, digits: int = 4) -> str:
    """A number to so many significant digits; None or one that is not finite says so."""
    if value is None or not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if 10**digits <= abs(value) < 1e6:
        return f"{value:.0f}".replace("-", MINUS)  # plainer than a power of ten
    mantissa, _, exponent = f"{value:#.{digits}g}".partition("e")
    text = mantissa.removesuffix(".").replace("-", MINUS)
    if not exponent:
        return text
    return f"{text}\N{MULTIPLICATION SIGN}10<sup>{int(exponent)}</sup>".replace(
        "<sup>-", f"<sup>{MINUS}"
    )


def time(value: float) -> str:
    """A time to four digits, or to all of its whole part, without zeros at the end."""
    return f"{value:.{max(4, len(str(int(abs(value)))))}g}".replace("-", MINUS)


def coefficient(entry: Mapping[str, Any]) -> str:
    """A coefficient, to the digits that `digits` gives it."""
    return number(entry["coefficient"], digits(entry))


def digits(entry: Mapping[str, Any]) -> int:
    """How many digits a coefficient deserves: up to the first one of its standard error.

    At most 7, as many as a float32 has; 4 where there is no error to go by.
    """
    value, error = entry["coefficient"], entry.get("standard_error")
    if not error or not math.isfinite(error) or not value or not math.isfinite(value):
        return 4
    known = math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) + 1
    return min(max(known, 1), 7)


def standard_error(entry: Mapping[str, Any]) -> str:
    """A standard error to two digits, or a dash where there is none."""
    error = entry.get("standard_error")
    return "\N{EN DASH}" if error is None else number(error, 2)


def symbol(name: str) -> str:
    """A species' name, in italics as variables are."""
    return f"<i>{html.escape(name)}</i>"


def term(text: str) -> str:
    """A term's factors; "1", the constant, has none."""
    factors = []
    for factor in text.split():
        name, _, power = factor.partition("^")
        if name != "1":
            factors.append(symbol(name) + (f"<sup>{html.escape(power)}</sup>" if power else ""))
    return "\N{THIN SPACE}".join(factors)


def laplacian(species: str) -> str:
    """The Laplacian of a species."""
    return f"{NABLA_SQUARED}{symbol(species)}"


def equation(
    species: str,
    terms: Sequence[Mapping[str, Any]],
    diffusion: Mapping[str, Any] | None,
    others: Sequence[str] = (),
) -> str:
    """The equation of one species; terms that the data do not determine are marked.

    Args:
      species: the name on the left.
      terms: {"term", "coefficient", "standard_error", "determined"} each.
      diffusion: {"coefficient", "standard_error"}, or None for a species that does not diffuse.
      others: names of terms that come to these and cannot be written out.
    """
    summands = [] if diffusion is None else [(diffusion, laplacian(species))]
    summands += [(entry, term(entry["term"])) for entry in terms]
    pieces = [
        _summand(entry, factors, first=position == 0)
        for position, (entry, factors) in enumerate(summands)
    ]
    for name in others:
        plus = "+\N{NO-BREAK SPACE}" if pieces else ""
        pieces.append(f"<span>{plus}[{html.escape(name)}]</span>")
    left = f"\N{PARTIAL DIFFERENTIAL}{symbol(species)}/\N{PARTIAL DIFFERENTIAL}<i>t</i>"
    return f'<p class="equation"><span>{left} =</span> {" ".join(pieces) or "0"}</p>'


def _summand(entry: Mapping[str, Any], factors: str, *, first: bool) -> str:
    size = coefficient(entry)
    negative = size.startswith(MINUS)
    sign = MINUS if negative else ("" if first else "+")
    body = f"{size.removeprefix(MINUS)}\N{THIN SPACE}{factors}".rstrip()
    joined = sign + body if first else f"{sign}\N{NO-BREAK SPACE}{body}"
    if entry.get("determined", True):
        return f"<span>{joined}</span>"
    return f'<span class="undetermined">{joined} <small>{NOT_DETERMINED}</small></span>'
