"""What the rule is: its equation, how well the data determine it, and what was read off it."""

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from diffpattern.report import mathematics, text
from diffpattern.report.contents import RunReport
from diffpattern.report.equations import of_diffusion
from diffpattern.report.rule.chapter import render


def chapter(report: RunReport) -> str:
    """The equation with its coefficients, or the form of a rule that has none."""
    diffusion = of_diffusion(report.scores)
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
    told = [*itertools.chain(*equation.values()), *diffusion.values()]
    told += (report.scores.get("coefficients") or {}).values()
    if not all(entry.get("determined", True) for entry in told):
        parts.append(
            f"<p>Terms marked {mathematics.NOT_DETERMINED} and underlined with dots are <b>not "
            "told apart from zero</b>: the value of each is within two standard errors of it, or "
            "has none, since the data do not determine it. They belong to the rule that was "
            "scored, but should not be read as a finding: without one of them, others would make "
            "up for it.</p>"
        )
    tables = "".join(
        _coefficient_table(name, diffusion.get(name), equation.get(name, ()))
        for name in report.species
        if name in diffusion or name in equation
    )
    if others := report.scores.get("coefficients"):
        rows = [(entry, html.escape(name)) for name, entry in others.items()]
        tables += _table("Numbers of other terms", "number", rows)
    if edge := report.scores.get("edge"):
        parts.append(
            f"<p>The edge of its mask lies {mathematics.coefficient(edge)} farther out than the "
            f"data's (standard error {mathematics.standard_error(edge)}).</p>"
        )
    if tables:
        normalised = text.normalised(report.scores)
        seen = "that training never saw" if text.unseen(report.scores) else "of the training data"
        parts.append(f"<div class='tables'>{tables}</div>")
        parts.append(
            "<p class='note'>Standard errors say how far a fit to other windows of data would "
            "scatter, as many as a batch of the training has. They follow from the Jacobian and "
            f"the residuals of windows {seen}; what the form of the rule may get wrong they do "
            "not measure. Coefficients are in the units of the data's time and "
            f"space{', and of species as normalised (see Results)' if normalised else ''}.</p>"
        )
    if report.reading is not None:
        parts.append(render(report.reading, report.scores))
    return "\n".join(parts)


def _coefficient_table(
    name: str, diffusion: Mapping[str, Any] | None, terms: Sequence[Mapping[str, Any]]
) -> str:
    rows = [] if diffusion is None else [(diffusion, mathematics.laplacian(name))]
    rows += [(entry, mathematics.term(entry["term"]) or "1") for entry in terms]
    return _table(f"Change of {mathematics.symbol(name)} with time", "term", rows)


def _table(caption: str, kind: str, rows: Sequence[tuple[Mapping[str, Any], str]]) -> str:
    body = "".join(
        f"<tr><td>{called}</td><td>{mathematics.coefficient(entry)}</td>"
        f"<td>{mathematics.standard_error(entry)}</td>"
        f"<td>{'yes' if entry.get('determined', True) else 'no ' + mathematics.NOT_DETERMINED}"
        "</td></tr>"
        for entry, called in rows
    )
    return (
        f"<div class='scroll'><table><caption>{caption}</caption><thead><tr><th>{kind}</th>"
        "<th>coefficient</th><th>standard error</th><th>told apart from zero</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
