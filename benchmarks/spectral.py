"""Exponential time differencing against Heun: the largest stable step, and the error at equal cost.

python -m benchmarks.spectral [--rounds=N]

Prints the tables of docs/solvers.md. Unlike the pairs of `python -m benchmarks`, the sides here do
not compute the same numbers: each problem is solved with many steps in float64, and what is
compared is how far from that solution a solver is in float32, after the same seconds, or after as
many evaluations of the right-hand side, which is what counts once a learnt reaction is in it.
"""

import argparse
import dataclasses
import functools
import math
import sys
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import laplacian
from diffpattern.solvers import explicit, spectral
from diffpattern.systems import GrayScott

EVALUATIONS = {"heun": 2, "etdrk2": 2, "etdrk4": 4}
SOLVERS = tuple(EVALUATIONS)


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A PDE with its linear part split off, dx/dt = L x + N(x), and one start.

    Attributes:
      name: of the PDE and its lattice.
      grid: the lattice.
      start: x(0), [C, *space] float64.
      duration: until when it is solved, in units of time.
      rates: L, from the Laplacian's eigenvalues [*freq] to the modes' rates [C, *freq].
      right_hand_side: L x + N(x) on the lattice.
      remainder: N(x).
      fine_steps: of the reference, ETDRK4 in float64.
    """

    name: str
    grid: Grid
    start: np.ndarray
    duration: float
    rates: Callable[[np.ndarray], np.ndarray]
    right_hand_side: Callable[[Array], Array]
    remainder: Callable[[Array], Array]
    fine_steps: int

    def solve(self, solver: str, steps: int, dtype: type = np.float32) -> Array:
        """x(duration) after this many steps."""
        dt, coefficients = self.duration / steps, None
        if solver in spectral.NAMES:
            eigenvalues = spectral.Transform(self.grid).eigenvalues("cross")
            coefficients = _coefficients(solver, self.rates(eigenvalues).astype(dtype), dt)
        return _run(self, solver, coefficients, jnp.asarray(self.start, dtype), dt, steps)


_coefficients = jax.jit(spectral.coefficients, static_argnums=0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(problem: Problem, solver: str, coefficients, x: Array, dt: float, steps: int) -> Array:
    transform = spectral.Transform(problem.grid)

    def one(_, x):
        if solver in spectral.NAMES:
            remainder = lambda x, _: problem.remainder(x)
            return spectral.step(coefficients, transform, remainder, x)
        return explicit.step(solver, lambda x, _: problem.right_hand_side(x), x, dt.astype(x.dtype))

    return jax.lax.fori_loop(0, steps, one, x)


def gray_scott(spacing: float) -> Problem:
    """Gray-Scott in a box of 32 x 32 units, while blobs grow into a pattern."""
    system = GrayScott()
    cells = round(32 / spacing)
    grid = Grid((cells, cells), spacing)

    def rates(eigenvalues):
        a = system.diffusion_a * eigenvalues - system.alpha
        b = system.diffusion_b * eigenvalues - (system.alpha + system.gamma)
        return np.stack([a, b])

    def remainder(x):
        conversion = x[0] * x[1] * x[1]
        return jnp.stack([system.alpha - conversion, conversion])

    return Problem(
        f"Gray-Scott, dx = {spacing:g}",
        grid,
        np.asarray(system.start(jax.random.key(1), grid), np.float64),
        256.0,
        rates,
        lambda x: system.right_hand_side(x, grid, "cross"),
        remainder,
        fine_steps=1024,
    )


def kuramoto_sivashinsky(cells: int) -> Problem:
    """du/dt = -lap u - lap lap u - (u^2)_x / 2 on a circle of 32 pi units, by central differences.

    The start is that of Kassam and Trefethen (2005); at the end the pattern is fully grown.
    """
    grid = Grid(cells, 32 * math.pi / cells)
    x = grid.spacing[0] * np.arange(1, cells + 1)

    def remainder(u):
        squared = u * u
        return (jnp.roll(squared, 1, -1) - jnp.roll(squared, -1, -1)) / (4 * grid.spacing[0])

    def right_hand_side(u):
        curvature = laplacian(u, grid)
        return -curvature - laplacian(curvature, grid) + remainder(u)

    return Problem(
        f"Kuramoto-Sivashinsky, {cells} cells",
        grid,
        (np.cos(x / 16) * (1 + np.sin(x / 16)))[None],
        40.0,
        lambda eigenvalues: (-eigenvalues - eigenvalues**2)[None],
        right_hand_side,
        remainder,
        fine_steps=4000,
    )


def relative_error(result: Array, truth: np.ndarray) -> float:
    """Root mean square difference over the truth's deviation from its channels' means."""
    deviation = truth - truth.mean(tuple(range(1, truth.ndim)), keepdims=True)
    difference = np.asarray(result, np.float64) - truth
    return float(np.sqrt(np.mean(difference**2) / np.mean(deviation**2)))


def fewest_steps(stable: Callable[[int], bool]) -> int:
    """The fewest steps that are stable, to 2%: halved while they are, then by bisection."""
    above = 1024
    while not stable(above):
        above *= 2
    while above > 1 and stable(above // 2):
        above //= 2
    below = above // 2
    while above - below > max(1, 0.02 * above):
        middle = (above + below) // 2
        above, below = (middle, below) if stable(middle) else (above, middle)
    return above


def seconds_of_a_step(problem: Problem, steps: int, rounds: int) -> dict[str, float]:
    """By solver: the fastest of the rounds, in which all take turns."""
    seconds = {solver: [] for solver in SOLVERS}
    for _ in range(rounds):
        for solver, measured in seconds.items():
            began = time.perf_counter()
            jax.block_until_ready(problem.solve(solver, steps))
            measured.append((time.perf_counter() - began) / steps)
    return {solver: min(measured) for solver, measured in seconds.items()}


def measure(problem: Problem, rounds: int) -> list[str]:
    """A table's rows, one for each solver; costs are those of Heun at half its largest step."""
    with jax.enable_x64(True):
        truth = np.asarray(problem.solve("etdrk4", problem.fine_steps, np.float64))
        coarser = problem.solve("etdrk4", problem.fine_steps // 2, np.float64)
    change = relative_error(coarser, truth)
    print(f"{problem.name}: half the reference's steps change it by {change:.0e}", flush=True)

    bound = 1.5 * np.abs(truth).max()
    stable = lambda solver, steps: bool(jnp.all(jnp.abs(problem.solve(solver, steps)) < bound))
    fewest = {solver: fewest_steps(functools.partial(stable, solver)) for solver in SOLVERS}
    seconds = seconds_of_a_step(problem, min(fewest["heun"], 1024), rounds)
    rows = []
    least = 2 * fewest["heun"]
    for solver in SOLVERS:
        counts = (
            fewest[solver],
            max(fewest[solver], round(least * seconds["heun"] / seconds[solver])),
            max(fewest[solver], round(least * EVALUATIONS["heun"] / EVALUATIONS[solver])),
        )
        errors = [relative_error(problem.solve(solver, steps), truth) for steps in counts]
        columns = (
            problem.name,
            solver,
            f"{problem.duration / fewest[solver]:.2g}",
            f"{errors[0]:.1e}",
            f"{1e6 * seconds[solver]:.0f}",
            *(
                f"{error:.1e} (dt {problem.duration / steps:.2g})"
                for error, steps in zip(errors[1:], counts[1:], strict=True)
            ),
        )
        rows.append(f"| {' | '.join(columns)} |")
    return rows


def main(arguments: Sequence[str]) -> None:
    """Runs all problems and prints their tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spectral", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each solver is timed")
    rounds = parser.parse_args(arguments).rounds
    problems = [gray_scott(spacing) for spacing in (1.0, 0.5, 0.25)]
    problems += [kuramoto_sivashinsky(cells) for cells in (128, 256)]
    rows = [row for problem in problems for row in measure(problem, rounds)]
    print("| problem | solver | largest stable dt | error there | us a step |", end="")
    print(" at equal seconds | at equal evaluations |", "|---" * 7 + "|", *rows, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
