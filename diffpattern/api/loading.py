"""A run's folder made into a rule that runs on: `diffpattern.load`."""

import dataclasses
import operator
import os
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from diffpattern import given_numbers, parts, precision, restored, rules
from diffpattern.data import environment as fields_of_cells
from diffpattern.data.statistics import Statistics
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.parallel.mesh import widest_mesh
from diffpattern.precision import real
from diffpattern.prediction import make_predictor
from diffpattern.report.equations import Equation, of_diffusion
from diffpattern.restored import RestoredRule
from diffpattern.run_folder import RunFolder, given_folder
from diffpattern.training.step import prefers_together

PathLike = str | os.PathLike


@dataclass(frozen=True, eq=False)
class Run:
    """A trained rule, and what its run's folder knows of it.

    Attributes:
      folder: of the run.
      restored: the rule as it was trained.

    Example:
      >>> run = diffpattern.load("runs/mine")
      >>> run.step, run.species, run.statistics.grid.shape
      (2, ('A', 'B'), (8, 8))
    """

    folder: RunFolder
    restored: RestoredRule

    def __repr__(self) -> str:
        cells = " x ".join(map(str, self.statistics.grid.shape))
        return (
            f"<Run {self.folder.path}, step {self.step}: {_in_words(self.config.model)}, of "
            f"{', '.join(self.species)} on {cells} cells>"
        )

    @property
    def config(self) -> ConfigDict:
        """The config of the run.

        Example:
          >>> run.config.model.name, run.config.training.steps
          ('rda', 2)
        """
        return self.restored.config

    @property
    def rule(self) -> nn.Module:
        """The linen module, on lattices species first.

        A PDE's `rule.apply({"params": run.params}, x)` is dx/dt [C, *space] of x [C, *space]; an
        automaton's `rule.apply({"params": run.params}, x, key)` the lattice one step later. JAX
        computes them in the precision that it is set to: what is to have the numbers of a run in
        float64 stands in `with jax.enable_x64(True):`.

        Example:
          >>> x = run.test[0].values[0, 0]
          >>> slope = run.rule.apply({"params": run.params}, jnp.moveaxis(x, -1, 0))
          >>> x.shape, slope.shape
          ((8, 8, 2), (2, 8, 8))
        """
        return self.restored.problem.rule

    @property
    def params(self) -> Any:
        """The parameters of the checkpoint, a pytree.

        Example:
          >>> jax.tree.map(jnp.shape, run.params)
          {'diffusion': {'coefficient': (2,)}, 'polynomial': {'coefficients': (2, 3)}}
        """
        return self.restored.checkpoint.parameters

    @property
    def step(self) -> int:
        """The training step that the parameters are of.

        Example:
          >>> diffpattern.load("runs/mine", step=2).step
          2
        """
        return self.restored.checkpoint.step

    @property
    def species(self) -> tuple[str, ...]:
        """Names of the channels that are data.

        Example:
          >>> run.species
          ('A', 'B')
        """
        return self.statistics.species

    @property
    def statistics(self) -> Statistics:
        """What the rule knows of its training data.

        Example:
          >>> run.statistics.grid.shape, len(run.statistics.mean)
          ((8, 8), 2)
        """
        return self.restored.statistics

    @property
    def test(self) -> tuple[Trajectories, ...]:
        """The trajectories that training never saw, for one size of lattices after the other.

        Example:
          >>> (held_out,) = run.test
          >>> held_out.values.shape, held_out.times.tolist()
          ((2, 5, 8, 8, 2), [0.0, 16.0, 32.0, 48.0, 64.0])
        """
        return self.restored.truth

    @property
    def scores(self) -> dict[str, Any]:
        """What is in `eval/scores.json`.

        Raises:
          InputError: the run has not been scored yet.

        Example:
          >>> sorted(run.scores["nrmse"]), len(run.scores["nrmse"]["B"]) == len(run.scores["times"])
          (['A', 'B'], True)
        """
        scores = self.folder.read_scores()
        if scores is None:
            raise InputError(
                f"{self.folder.path} has no scores yet; --mode=eval --workdir={self.folder.path} "
                "makes them."
            )
        return scores

    def equation(self) -> Equation:
        """The rule as an equation: printed it is text, `.latex` is LaTeX.

        Raises:
          InputError: no formula writes out the rule, or the run has not been scored yet.

        Example:
          >>> print(run.equation())
          dA/dt = ... lap A ...
          dB/dt = ... lap B ...
          >>> run.equation().species
          ('A', 'B')
        """
        scores = self.scores
        if not scores["diffusion"] and not scores["equation"]:
            raise InputError(
                f"The rule of {self.folder.path} is a network throughout, which no formula writes "
                "out; run.rule is the module and run.params are its numbers."
            )
        others = rules.unwritten(self.config.model, self.species)
        return Equation(self.species, of_diffusion(scores), scores["equation"], others)

    def rollout(
        self,
        x0: ArrayLike,
        times: ArrayLike,
        *,
        key: jax.Array | None = None,
        mask: ArrayLike | None = None,
        environment: ArrayLike | None = None,
        inputs: ArrayLike | None = None,
    ) -> np.ndarray:
        """What the rule makes of a lattice, or of several, of any size.

        Args:
          x0: a lattice of the species [*space, C], or B of them [B, *space, C], in the data's
            units.
          times: of the snapshots, [T], increasing; the first is that of x0.
          key: of what is random in the rule, `jax.random.key(...)`; None: the key with which the
            run was scored. The n-th lattice draws from the n-th key folded from it.
          mask: where there is anything, 1 inside and 0 outside, [*space] or [B, *space]; None:
            everywhere.
          environment: fields that the rule sees and does not change, [*space, E] or
            [B, *space, E], for a rule whose data came with some; those that the config names, such
            as coordinates, may be left out.
          inputs: numbers that all cells are told, [I] or [B, I], for a rule that was told some.

        Returns:
          [T, *space, C], or [B, T, *space, C], in the data's units; the first snapshot is x0.

        Raises:
          InputError: an argument has not the shape or the values that the rule needs, or a step of
            the rule does not divide the time between two snapshots.

        Example:
          >>> run.rollout(run.test[0].values[0, -1], [64, 80, 96]).shape
          (3, 8, 8, 2)
          >>> lattices = np.full((3, 16, 12, 2), 0.5)  # of another size
          >>> run.rollout(lattices, [0, 16]).shape
          (3, 2, 16, 12, 2)
        """
        with precision.of_config(self.config):
            return self._roll_out(x0, times, key, mask, environment, inputs)

    def _roll_out(
        self,
        x0: ArrayLike,
        times: ArrayLike,
        key: jax.Array | None,
        mask: ArrayLike | None,
        environment: ArrayLike | None,
        inputs: ArrayLike | None,
    ) -> np.ndarray:
        axes, channels, config = self.statistics.grid.ndim, len(self.species), self.config
        given = given_numbers.array(x0, "x0", real())
        fits = given.ndim in (axes + 1, axes + 2) and given.shape[-1] == channels
        if not fits or not given.size:
            raise InputError(
                f"x0 has the shape {given.shape}, but must have {axes} axes of space and one of "
                f"the {channels} species {', '.join(self.species)} behind them, and for several "
                "lattices one before, none of them empty."
            )
        single = given.ndim == axes + 1
        moments = given_numbers.array(times, "times", np.float64)
        if moments.ndim != 1 or len(moments) < 2 or not (np.diff(moments) > 0).all():
            raise InputError(
                "times must be two or more, each later than the one before; the first is that of "
                "x0."
            )
        lattices = given[None] if single else given
        starts = self._starts(lattices, moments[0], mask, environment, inputs)
        sought = self.restored.problem
        predict = make_predictor(
            sought,
            starts,
            widest_mesh(config.mesh.rows, config.mesh.columns, sought.running),
            key=jax.random.key(config.seed) if key is None else _single(key),
            together=prefers_together(config.training.windows),
            times=moments,
        )
        predicted = starts.in_units(predict(self.params))
        return predicted[0] if single else predicted

    def _starts(
        self,
        lattices: np.ndarray,
        time: float,
        mask: ArrayLike | None,
        environment: ArrayLike | None,
        inputs: ArrayLike | None,
    ) -> Trajectories:
        """Trajectories of one snapshot each, with all that acts on them."""
        statistics, count = self.statistics, len(lattices)
        grid, named = statistics.on(lattices.shape[1:-1]).grid, self.config.data.environment
        fields = statistics.environment
        if environment is not None:
            environment = given_numbers.array(environment, "environment", real())
        if partial := environment is None or np.shape(environment)[-1:] != (fields,):
            fields -= fields_of_cells.count(grid, named)

        def of_each(name: str, array: ArrayLike | None, *shape: int) -> np.ndarray | None:
            if array is None and shape[-1]:
                raise InputError(f"The rule is told {name}; give them in the shape {shape}.")
            if array is None:
                return None
            if not shape[-1]:
                raise InputError(f"{name} are given, but the rule is told none.")
            array = given_numbers.array(array, name, real())
            if array.shape not in (shape, (count, *shape)):
                raise InputError(
                    f"{name} of the shape {array.shape} are given, but {shape} is needed, or "
                    f"{(count, *shape)} where lattices differ in them."
                )
            return np.broadcast_to(array, (count, *shape))

        starts = Trajectories(
            lattices[:, None],
            np.array([time]),
            statistics.species,
            grid,
            mask=None if mask is None else of_each("cells of the mask", mask, *grid.shape),
            environment=of_each("fields of the environment", environment, *grid.shape, fields),
            inputs=of_each("inputs", inputs, statistics.inputs),
            offset=statistics.offset,
            scale=statistics.scale,
            length_unit=statistics.length_unit,
            time_unit=statistics.time_unit,
        )
        starts = dataclasses.replace(starts, values=starts.from_units(starts.values))
        return fields_of_cells.added(starts, named) if partial else starts


def load(run: PathLike, step: int | None = None) -> Run:
    """A trained rule out of the folder of its run, whatever machine it was trained on.

    Args:
      run: the folder.
      step: of the checkpoint, a whole number; None: the best by its validation score.

    Raises:
      InputError: the folder is not one of a run, or the checkpoint is missing or damaged.

    Example:
      >>> run = diffpattern.load("runs/mine")
      >>> run.rollout(run.test[0].values[0, 0], range(0, 65, 16)).shape
      (5, 8, 8, 2)
      >>> diffpattern.load("runs")
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: runs is not the folder of a run: it has no ...
    """
    folder = given_folder(run, "run")
    if step is not None:
        try:
            step = operator.index(step)
        except TypeError as error:
            raise InputError(f"step is {step!r}, but must be a whole number.") from error
    with precision.of_config(folder.config()):
        return Run(folder, restored.restore(folder, step))


def _single(key: jax.Array) -> jax.Array:
    """A random key, if it is one and not several."""
    try:
        jax.eval_shape(jax.random.fold_in, key, 0)
    except (TypeError, ValueError) as error:
        shape = getattr(key, "shape", None)
        found = f"of the type {type(key).__name__}" if shape is None else f"of the shape {shape}"
        raise InputError(
            f"key is {found}, but must be a single random key, such as jax.random.key(5)."
        ) from error
    return key


def _in_words(model: ConfigDict) -> str:
    """The kind of rule that a config asks for."""
    if parts.is_own(model.name):
        return model.name
    if model.name == "nca":
        return f"a neural cellular automaton with {model.nca.channels} channels"
    terms = model.rda.terms if model.name == "rda" else (model.name,)
    return f"a PDE with {' + '.join(terms).replace('_', ' ')}"
