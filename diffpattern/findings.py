"""What can be read off a trained rule: its coefficients, how sure they are, its equation."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from diffpattern.data import windows
from diffpattern.data.trajectories import Trajectories
from diffpattern.models import monomials
from diffpattern.models.diffusion import LinearDiffusion
from diffpattern.models.masks import LearntEdge
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.reaction import PolynomialReaction
from diffpattern.parallel.mesh import block_axes
from diffpattern.prediction import spread
from diffpattern.problem import Problem
from diffpattern.training import least_squares

Parameters = Any

KINDS = (
    "diffusion", "diffusion_standard_error", "diffusion_determined", "equation", "left_out",
    "coefficients", "edge",
)  # fmt: skip
# Singular values of the scaled Jacobian below this fraction of the largest one are rounding: its
# triangular factors are float32. A parameter is undetermined if a direction to which the data are
# blind moves it by more than this share of the direction's length.
SMALLEST_SINGULAR_VALUE = 1e-6
_LARGEST_BLIND_SHARE = 0.01


def read(
    sought: Problem,
    parameters: Parameters,
    truths: Sequence[Trajectories],
    mesh: Mesh,
    *,
    together: bool,
    batch: int,
    selected: bool = False,
    **drawn: Any,
) -> dict[str, Any]:
    """The diffusion coefficients of a PDE, the terms of its polynomial reaction, and the numbers of
    its other terms.

    Args:
      sought: whose rule it is.
      parameters: of the rule.
      truths: data from which the windows for standard errors are drawn, for one size of lattices
        after the other.
      mesh: over which these are spread.
      together: see `training.step.over_windows`.
      batch: windows of each size that a train step sees. Standard errors are given for a fit to so
        many: a least squares step fits one batch, and does not remember the ones before.
      selected: whether coefficients of a polynomial that are zero were left out by `selection`.
      drawn: how they are drawn, as `data.windows.draw` takes it.

    Returns:
      {"diffusion": {species: number}, "diffusion_standard_error", "diffusion_determined": likewise,
      "equation": {species: [{"term", "coefficient", "standard_error", "determined"}, ...]},
      "left_out": {species: [term, ...]}, "coefficients": {what it is: {"coefficient",
      "standard_error", "determined"}}, see `Term.readings`, "edge": {"coefficient",
      "standard_error"}, the margin of a mask whose edge is learnt}, empty where the rule has no
      such thing. A standard error is None where the data do not determine the coefficient, where
      the rule has too many parameters for a dense Jacobian, and where networks stand beside no
      polynomial. "determined" says, but for the latter two, that the value is more than two
      standard errors away from zero. Terms that were left out are no part of the equation.
    """
    found: dict[str, Any] = {name: {} for name in KINDS}
    if isinstance(sought.mask, LearntEdge):
        margin = float(parameters["mask"]["margin"])
        found["edge"] = {"coefficient": margin, "standard_error": None}
    rule = sought.rule
    if not isinstance(rule, ReactionDiffusionAdvection):
        return found
    species = sought.statistics.species
    terms = {type(term): name for name, term in rule.terms.items()}
    diffusion, polynomial = terms.get(LinearDiffusion), terms.get(PolynomialReaction)

    def readings(parameters: Parameters) -> dict[str, Any]:
        """The numbers told: of diffusion [C], of a polynomial [C, M], of an edge [], and of other
        terms, each [] by its name."""
        numbers: dict[str, Any] = {"coefficients": {}}
        for name, term in rule.terms.items():
            numbers["coefficients"] |= term.readings(parameters.get(name, {}), species)
        if found["edge"]:
            numbers["edge"] = parameters["mask"]["margin"]
        if diffusion:
            numbers["diffusion"] = parameters[diffusion]["coefficient"]
        if polynomial:
            numbers["equation"] = rule.terms[polynomial].coefficients(parameters[polynomial])
        return numbers

    told = readings(parameters)
    if diffusion:
        found["diffusion"] = dict(zip(species, map(float, told["diffusion"]), strict=True))
    found["coefficients"] = {
        name: {"coefficient": float(value), "standard_error": None, "determined": True}
        for name, value in told["coefficients"].items()
    }
    networks = any(
        type(term) is not LinearDiffusion and not term.readings(parameters.get(name, {}), species)
        for name, term in rule.terms.items()
    )
    if not polynomial and networks:
        return found

    count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    if computed := count <= least_squares.MOST_PARAMETERS:
        batches = [windows.draw(truth, 0, **drawn)["window"] for truth in truths]
        times = sought.statistics.interval * np.arange(drawn["window"] + 1)
        fitted = None
        if selected:
            fitted = ~of_polynomials(sought, parameters) | (ravel_pytree(parameters)[0] != 0)
        errors = standard_errors(
            sought, parameters, batches, times, mesh, together, readings, fitted
        )
        errors = jax.tree.map(lambda error: error * np.sqrt(drawn["count"] / batch), errors)
    else:
        errors = jax.tree.map(lambda numbers: np.full(np.shape(numbers), np.inf), told)
    is_told_apart = lambda value, error: bool(abs(value) > 2 * error) or not computed
    if diffusion:
        for name, error in zip(species, errors["diffusion"], strict=True):
            found["diffusion_standard_error"][name] = _finite(error)
            apart = is_told_apart(found["diffusion"][name], error)
            found["diffusion_determined"][name] = apart
    for name, entry in found["coefficients"].items():
        error = errors["coefficients"][name]
        entry["standard_error"] = _finite(error)
        entry["determined"] = is_told_apart(entry["coefficient"], error)
    if found["edge"]:
        found["edge"]["standard_error"] = _finite(errors["edge"])
    names, nothing = (), np.zeros((len(species), 0))
    if polynomial:
        powers = monomials.exponents(len(species), 0, rule.terms[polynomial].order)
        names = monomials.names(powers, species)
    for name, row, row_errors in zip(
        species,
        np.asarray(told.get("equation", nothing), float),
        errors.get("equation", nothing),
        strict=True,
    ):
        found["equation"][name] = [
            {
                "term": term,
                "coefficient": float(coefficient),
                "standard_error": _finite(error),
                "determined": is_told_apart(coefficient, error),
            }
            for term, coefficient, error in zip(names, row, row_errors, strict=True)
            if coefficient or not selected
        ]
        if selected:
            told_of = zip(names, row, strict=True)
            found["left_out"][name] = [term for term, coefficient in told_of if not coefficient]
    return found


def standard_errors(
    sought: Problem,
    parameters: Parameters,
    batches: Sequence[windows.Window],
    times: np.ndarray,
    mesh: Mesh,
    together: bool,
    readings: Callable[[Parameters], Any],
    fitted: np.ndarray | None = None,
) -> Any:
    """The standard errors of what is read off the parameters, from batches of windows of data.

    Like `readings(parameters)`, a pytree of arrays. Windows that were drawn more than once count
    as one observation of that weight, and those over which the rule diverges are left out; see
    `from_triangles`. `fitted` says which of the P parameters were fitted, [P]; None: all.
    """
    factors = triangles(sought, batches, times, mesh, together)(parameters)
    flat, unravel = ravel_pytree(parameters)
    values, restore = ravel_pytree(readings(parameters))
    by_parameters = jax.jacfwd(lambda flat: ravel_pytree(readings(unravel(flat)))[0])(flat)
    if fitted is not None:
        factors = factors * np.append(fitted, True)
    errors = from_triangles(factors, np.asarray(by_parameters))
    return jax.tree.map(np.asarray, restore(errors.astype(values.dtype)))


def of_polynomials(sought: Problem, parameters: Parameters) -> np.ndarray:
    """Which of the P parameters are coefficients of a polynomial reaction, [P]."""
    terms = sought.rule.terms if isinstance(sought.rule, ReactionDiffusionAdvection) else {}
    polynomials = {name for name, term in terms.items() if isinstance(term, PolynomialReaction)}
    marked = {
        name: jax.tree.map(np.ones_like if name in polynomials else np.zeros_like, leaves)
        for name, leaves in parameters.items()
    }
    return np.asarray(ravel_pytree(marked)[0], bool)


def triangles(
    sought: Problem,
    batches: Sequence[windows.Window],
    times: np.ndarray,
    mesh: Mesh,
    together: bool,
) -> Callable[[Parameters], np.ndarray]:
    """A function from parameters to the triangular factors of [J r] of all windows of batches.

    [W, P + 1, P + 1]; windows that were drawn more than once are one with a weight.
    """
    linearise, axes = sought.cut(mesh).linearisation(times), block_axes(mesh)

    def triangle(parameters, window, index):
        key = jax.random.fold_in(jax.random.key(0), index)  # which a PDE makes no use of
        return least_squares.triangle(*linearise(parameters, window, key), axes)

    def of_batch(batch: windows.Window) -> Callable[[Parameters], np.ndarray]:
        flat = batch.values.reshape(len(batch.values), -1)
        _, first, counts = np.unique(flat, axis=0, return_index=True, return_counts=True)
        different = jax.tree.map(lambda array: array[first], batch)
        layout = different.layout(mesh)
        of_each = spread(
            triangle, different, mesh, layout, together=together, running=sought.running
        )
        return lambda parameters: of_each(parameters) * np.sqrt(counts)[:, None, None]

    parts = [of_batch(batch) for batch in batches]
    return lambda parameters: np.concatenate([part(parameters) for part in parts])


def from_triangles(factors: np.ndarray, by_parameters: np.ndarray | None = None) -> np.ndarray:
    """Standard errors of a least squares fit, robust to residuals that belong together.

        cov = (J'J)^-1 (sum_w g_w g_w') (J'J)^-1 W / (W - 1),    g_w = J_w' r_w

    with the residuals r_w and the Jacobian J_w of W windows. Neighbouring cells and times of a
    window err together, so the usual s^2 (J'J)^-1, which takes each number for an observation of
    its own, gives errors that are far too small; here only the windows need to be independent. The
    scatter of W windows is known to a share of about 1 / sqrt(2 W), and on windows that the fit has
    seen it comes out too small unless W is several times P.

    Source: Liang and Zeger, Biometrika 73, 13 (1986); the "sandwich" estimate.

    Args:
      factors: the triangular factor of [J_w r_w] of each window, [W, P + 1, P + 1], from
        `training.least_squares.triangle`.
      by_parameters: derivatives of Q numbers by the parameters, [Q, P]; None: the numbers are the
        parameters themselves.

    Returns:
      [Q], infinite for numbers that the data do not determine.
    """
    factors = np.asarray(factors, np.float64)
    factors = factors[np.isfinite(factors).all((1, 2))]
    jacobians, residuals = factors[:, :, :-1], factors[:, :, -1]
    count = jacobians.shape[-1]
    wanted = np.eye(count) if by_parameters is None else np.asarray(by_parameters, np.float64)
    if len(factors) < 2:
        return np.where(wanted.any(axis=1), np.inf, 0.0)
    whole = np.linalg.qr(jacobians.reshape(-1, count), mode="r")
    norms = np.linalg.norm(whole, axis=0)
    norms[norms == 0] = 1.0
    _, singular, directions = np.linalg.svd(whole / norms)
    seen = singular > SMALLEST_SINGULAR_VALUE * singular[0]
    # In these coordinates of the directions that the data see, J'J is the identity.
    to_seen = (directions / np.where(seen, singular, 1.0)[:, None])[seen] / norms
    gradients = np.einsum("wij,wi->wj", jacobians, residuals) @ to_seen.T
    scatter = gradients @ to_seen @ wanted.T
    errors = np.sqrt(np.sum(scatter**2, axis=0) * len(factors) / (len(factors) - 1))
    scaled = wanted / norms
    share = np.linalg.norm(scaled @ directions[~seen].T, axis=1)
    blind = share > _LARGEST_BLIND_SHARE * np.linalg.norm(scaled, axis=1)
    return np.where(blind, np.inf, errors)


def _finite(error: float) -> float | None:
    return float(error) if np.isfinite(error) else None
