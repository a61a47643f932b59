"""What the rule is: its equation, how well the data determine it, and what was read off it."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from diffpattern.report import mathematics, text
from diffpattern.report.contents import RunReport
from diffpattern.report.rule.chapter import render


def chapter(report: RunReport) -> str:
    """The equation with its coefficients, or the form of a rule that has none."""
    diffusion = _with_standard_errors(report.scores)
    equation = report.scores.get("equation") or {}
    parts = [f"<p>{html.escape(report.rule)}</p>"] if report.rule else []
    for name in report.species:
        if name in equation:
            parts.append(
                mathematics.equation(
                    name,
                    equation[name],
                    diffusion.get(name),
                    others=report.unwritten.get(name, ()),
                )
            )
    undetermined = [
        entry for terms in equation.values() for entry in terms if not entry.get("determined", True)
    ]
    if undetermined:
        parts.append(
            f"<p>Terms marked {mathematics.NOT_DETERMINED} and underlined with dots are <b>not "
            "told apart from zero</b>: the value of each is within two standard errors of it. They "
            "belong to the rule that was scored, but should not be read as a finding: without one "
            "of them, others would make up for it.</p>"
        )
    tables = "".join(
        _coefficient_table(name, diffusion.get(name), equation.get(name, ()))
        for name in report.species
        if name in diffusion or name in equation
    )
    if edge := report.scores.get("edge"):
        parts.append(
            f"<p>The edge of its mask lies {mathematics.coefficient(edge)} farther out than the "
            f"data's (standard error {mathematics.standard_error(edge)}).</p>"
        )
    if tables:
        normalised = text.normalised(report.scores)
        parts.append(f"<div class='tables'>{tables}</div>")
        parts.append(
            "<p class='note'>Standard errors say how far a fit to other windows of data would "
            "scatter, as many as a batch of the training has. They follow from the Jacobian and "
            "the residuals of windows that training never saw; what the form of the rule may get "
            "wrong they do not measure. Coefficients are in the units of the data's time and "
            f"space{', and of species as normalised (see Results)' if normalised else ''}.</p>"
        )
    if report.reading is not None:
        parts.append(render(report.reading, report.scores))
    return "\n".join(parts)


def _with_standard_errors(scores: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    errors = scores.get("diffusion_standard_error") or {}
    return {
        name: {"coefficient": coefficient, "standard_error": errors.get(name)}
        for name, coefficient in (scores.get("diffusion") or {}).items()
    }


def _coefficient_table(
    name: str, diffusion: Mapping[str, Any] | None, terms: Sequence[Mapping[str, Any]]
) -> str:
    rows = [] if diffusion is None else [(diffusion, mathematics.laplacian(name))]
    rows += [(entry, mathematics.term(entry["term"]) or "1") for entry in terms]
    body = "".join(
        f"<tr><td>{factors}</td><td>{mathematics.coefficient(entry)}</td>"
        f"<td>{mathematics.standard_error(entry)}</td>"
        f"<td>{'yes' if entry.get('determined', True) else 'no ' + mathematics.NOT_DETERMINED}"
        "</td></tr>"
        for entry, factors in rows
    )
    return (
        "<div class='scroll'><table><caption>Change of "
        f"{mathematics.symbol(name)} with time</caption><thead><tr><th>term</th>"
        "<th>coefficient</th><th>standard error</th><th>told apart from zero</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
