"""What a term of a trainable PDE offers: its value, its variation, and its linear part.

A least squares fit needs the sensitivities S_k = dx/dp_k of a whole rollout, which obey

    dS_k/dt = (df/dx) S_k + df/dp_k .

Any term gets them by forward mode. But pushing the P basis vectors of parameter space through a
network costs P networks. At one cell a pointwise function has only C x C derivatives by the state
and C x P by its parameters; C reverse passes at that cell give both, and all S_k share them.
`Transport` and `reaction.Reaction` use that; docs/performance.md has what it saves.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from diffpattern.errors import InputError
from diffpattern.grid.forcing import UNFORCED, Forcing

Parameters = Any
# A set of P changes of a lattice: for each of its channels an array [P, *space]. Apart, not
# stacked, so that all that changes a channel is one loop over it (5 times faster on a CPU).
Changes = tuple[Array, ...]
# Channels by their place; None: all of them.
Channels = tuple[int, ...] | None


class Term(nn.Module):
    """A part of the right-hand side of dx/dt, over one lattice [C, *space].

    Only `__call__` must be given; the rest has defaults that are right for any term.

    Attributes:
      non_negative: names of the parameters that may not fall below zero.

    Example:
      >>> class Growth(Term):
      ...     def __call__(self, x, forcing=UNFORCED):
      ...         return 2.0 * x
      ...
      >>> float(Growth().apply({}, jnp.ones((1, 4)))[0, 0])
      2.0
    """

    non_negative: ClassVar[tuple[str, ...]] = ()

    def __call__(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """The term's share of dx/dt, [C, *space] like x."""
        raise NotImplementedError

    def variation(
        self, parameters: Parameters, x: Array, s: Changes, forcing: Forcing = UNFORCED
    ) -> tuple[Changes, Changes]:
        """How the term answers changes of the state, and changes of its own parameters.

        Args:
          parameters: of this term.
          x: state [C, *space].
          s: P changes of the state.
          forcing: what acts on the lattice.

        Returns:
          The first-order changes of the term for each s; and its derivatives by its own Q
          parameters, as Q changes in the order of `jax.flatten_util.ravel_pytree`.

        Example:
          >>> class Growth(Term):
          ...     @nn.compact
          ...     def __call__(self, x, forcing=UNFORCED):
          ...         return self.param("rate", nn.initializers.ones, ()) * x
          ...
          >>> x, change = jnp.full((1, 4), 3.0), (jnp.full((1, 4), 0.5),)
          >>> (by_state,), (by_rate,) = Growth().variation({"rate": jnp.array(2.0)}, x, change)
          >>> by_state[0, 0].item(), by_rate[0, 0].item()
          (1.0, 3.0)
        """
        flat, unravel = ravel_pytree(parameters)
        value = lambda flat, x: self.apply({"params": unravel(flat)}, x, forcing)

        def answer(dx: Array) -> Changes:
            return tuple(jax.jvp(lambda x: value(flat, x), (x,), (dx,))[1])

        def derivative(direction: Array) -> Changes:
            return tuple(jax.jvp(lambda flat: value(flat, x), (flat,), (direction,))[1])

        basis = jnp.eye(flat.size, dtype=flat.dtype)
        return jax.vmap(answer)(jnp.stack(s, axis=1)), jax.vmap(derivative)(basis)

    def readings(self, parameters: Parameters, species: Sequence[str]) -> dict[str, Array]:
        """Numbers of the term that mean something by themselves.

        Args:
          parameters: of this term.
          species: names of the channels.

        Returns:
          Scalars, by what they are; none where networks take their place.

        Example:
          >>> class Growth(Term):
          ...     def readings(self, parameters, species):
          ...         return {f"growth of {species[0]}": parameters["rate"]}
          ...
          >>> Growth().readings({"rate": 2.0}, ("u",)), Term().readings({}, ("u",))
          ({'growth of u': 2.0}, {})
        """
        del parameters, species
        return {}

    def spectral_rates(self, parameters: Parameters, eigenvalue: Array, count: int) -> Array | None:
        """Rates by which the term's linear part multiplies each mode of each channel.

        A term that has any, and a stencil, names that by an attribute `laplacian`: its symbol is
        the eigenvalue. Without one the rates are those of "cross".

        Args:
          parameters: of this term.
          eigenvalue: of the Laplacian, [*modes], 0 or less, per length squared: the symbol of the
            term's own stencil, or another one where that is to be replaced.
          count: how many channels the lattice has.

        Returns:
          [count, *modes], per time; None where no part of the term is linear, alike in all places
          and diagonal over the channels. What it leaves is `remainder`.

        Example:
          >>> rates = Term().spectral_rates({}, jnp.array([0.0, -2.0]), 1)
          >>> rates is None  # no part of it is linear
          True
        """
        del parameters, eigenvalue, count
        return None

    def remainder(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """The share of dx/dt that `spectral_rates` leaves, [C, *space].

        Example:
          >>> class Growth(Term):
          ...     def __call__(self, x, forcing=UNFORCED):
          ...         return 2.0 * x
          ...
          >>> Growth().apply({}, jnp.ones((1, 4)), method="remainder").tolist()
          [[2.0, 2.0, 2.0, 2.0]]
        """
        return self(x, forcing)

    def lower_bounds(self, parameters: Parameters) -> Parameters:
        """The smallest value that each of the term's parameters may take, like `parameters`.

        Example:
          >>> Term().lower_bounds({"rate": jnp.ones(2)})["rate"].tolist()
          [-inf, -inf]
        """

        def bound(path, leaf):
            return jnp.full_like(leaf, 0.0 if path[-1].key in self.non_negative else -jnp.inf)

        return jax.tree_util.tree_map_with_path(bound, parameters)


class Transport(Term):
    """A stencil over the state and over quantities that are made of it at each cell.

        T(x, q(x, p)),    q: a velocity, a diffusivity, a potential ...

    The parameters are in q alone, so that the variation of a network costs as little as in a
    reaction: the stencil sees changes of x and of q only.

    Example:
      >>> from diffpattern.grid.stencils import laplacian
      >>> class Fall(Transport):
      ...     def quantities(self, x, forcing=UNFORCED):
      ...         return x**2
      ...     def transport(self, x, quantities, forcing=UNFORCED):
      ...         return laplacian(quantities, Grid(4))
      ...
      >>> Fall().apply({}, jnp.array([[0.0, 1.0, 0.0, 0.0]])).tolist()
      [[1.0, -2.0, 1.0, 0.0]]
    """

    def quantities(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """q [K, ...] of the state x [C, ...]; each cell's own.

        Example:
          >>> from diffpattern.models.diffusion import CrossDiffusion
          >>> matrix = CrossDiffusion(Grid(4), initial=0.5)
          >>> variables = matrix.init(jax.random.key(0), jnp.ones((2, 4)))
          >>> matrix.apply(variables, jnp.ones((2, 4)), method="quantities")[:, 0].round(3).tolist()
          [0.5, 0.0, 0.0, 0.5]
        """
        raise NotImplementedError

    def transport(self, x: Array, quantities: Array, forcing: Forcing = UNFORCED) -> Array:
        """The share of dx/dt [C, *space], of the state and q [K, *space]; has no parameters.

        Example:
          >>> from diffpattern.models.diffusion import CrossDiffusion
          >>> x, matrix = jnp.array([[0.0, 1.0, 0.0, 0.0]]), jnp.full((1, 4), 0.5)
          >>> CrossDiffusion(Grid(4)).transport(x, matrix).tolist()
          [[0.5, -1.0, 0.5, 0.0]]
        """
        raise NotImplementedError

    def __call__(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Term`."""
        return self.transport(x, self.quantities(x, forcing), forcing)

    def variation(
        self, parameters: Parameters, x: Array, s: Changes, forcing: Forcing = UNFORCED
    ) -> tuple[Changes, Changes]:
        """See `Term`."""

        def quantities(parameters, x, forcing):
            return self.apply({"params": parameters}, x, forcing, method="quantities")

        by_state, by_parameters = pointwise_jacobians(quantities, parameters, x, forcing)
        q = quantities(parameters, x, forcing)

        def answer(dx: Array, dq: Array) -> Changes:
            function = lambda x, q: self.transport(x, q, forcing)
            return tuple(jax.jvp(function, (x, q), (dx, dq))[1])

        by_answers = jnp.stack(apply_pointwise(by_state, s), axis=1)
        responses = jax.vmap(answer)(jnp.stack(s, axis=1), by_answers)
        return responses, jax.vmap(answer, (None, 1))(jnp.zeros_like(x), by_parameters)


def pointwise_jacobians(
    function: Callable[[Parameters, Array, Forcing], Any],
    parameters: Parameters,
    x: Array,
    forcing: Forcing = UNFORCED,
) -> tuple[Array, Array]:
    """Derivatives of a function that acts on each cell alone.

    Args:
      function: (parameters, [C], forcing whose environment is [E]) -> [K] at one cell.
      parameters: a pytree with Q numbers in all.
      x: state [C, *space].
      forcing: what acts on the lattice.

    Returns:
      By the state [K, C, *space], and by the parameters [K, Q, *space].

    Example:
      >>> decay = lambda rate, cell, forcing: -rate * cell**2
      >>> by_state, by_rate = pointwise_jacobians(decay, jnp.array(2.0), jnp.full((1, 4), 3.0))
      >>> by_state.shape, by_rate.shape, by_state[0, 0, 0].item(), by_rate[0, 0, 0].item()
      ((1, 1, 4), (1, 1, 4), -12.0, -9.0)
    """
    space = x.shape[1:]
    cells = x.reshape(x.shape[0], -1)
    fields = forcing.environment
    if fields is not None:
        fields = fields.reshape(fields.shape[0], -1)

    def at_cell(parameters, cell, fields):
        return function(parameters, cell, forcing.replace(mask=None, environment=fields))

    over_cells = None if fields is None else 1
    jacobian = jax.vmap(jax.jacrev(at_cell, (0, 1)), (None, 1, over_cells), -1)
    by_leaf, by_state = jacobian(parameters, cells, fields)
    outputs = by_state.shape[0]
    by_parameters = jnp.concatenate(
        [leaf.reshape(outputs, -1, cells.shape[1]) for leaf in jax.tree.leaves(by_leaf)], axis=1
    )
    # Without the barrier XLA computes these again for every sensitivity that reads them.
    by_state, by_parameters = jax.lax.optimization_barrier((by_state, by_parameters))
    return (
        by_state.reshape(by_state.shape[:2] + space),
        by_parameters.reshape(by_parameters.shape[:2] + space),
    )


def no_changes(x: Array, count: int) -> Changes:
    """Changes of a lattice that are all zero: sensitivities of a start, or where none are wanted.

    Made from `x`, so that inside `jax.shard_map` they count as different from device to device, as
    they will be after a step.

    Example:
      >>> [changes.shape for changes in no_changes(jnp.ones((2, 8, 8)), 5)]
      [(5, 8, 8), (5, 8, 8)]
    """
    return tuple(
        jnp.zeros_like(jnp.broadcast_to(channel, (count,) + channel.shape)) for channel in x
    )


def apply_pointwise(jacobian: Array, s: Changes) -> Changes:
    """Applies a Jacobian [K, C, *space] to changes of C channels, at each cell: K channels.

    Written as sums over the few channels: as a batched matrix product of tiny matrices, the same
    is several times slower on a CPU.

    Example:
      >>> jacobian = jnp.full((1, 2, 4), 0.5)  # of one quantity by two channels
      >>> both = (jnp.ones((1, 4)), jnp.full((1, 4), 2.0))
      >>> [change.tolist() for change in apply_pointwise(jacobian, both)]
      [[[1.5, 1.5, 1.5, 1.5]]]
    """
    return tuple(
        sum(factor * change for factor, change in zip(row, s, strict=True)) for row in jacobian
    )


def per_cell(values: Array, x: Array) -> Array:
    """K numbers [K] as fields that are alike at all cells of x [C, ...]: [K, ...].

    Example:
      >>> per_cell(jnp.array([1.0, 2.0]), jnp.zeros((3, 8, 8))).shape
      (2, 8, 8)
    """
    return jnp.broadcast_to(values.reshape((-1,) + (1,) * (x.ndim - 1)), values.shape + x.shape[1:])


def chosen(channels: Channels, count: int) -> tuple[int, ...]:
    """The channels that a term acts on, out of `count`.

    Raises:
      InputError: there is no such channel, or it is named twice.

    Example:
      >>> chosen(None, 3), chosen((0, 2), 3)
      ((0, 1, 2), (0, 2))
      >>> chosen((0, 3), 3)
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: channels are (0, 3), but must be one or more of ...
    """
    if channels is None:
        return tuple(range(count))
    if not set(channels) <= set(range(count)) or len(set(channels)) < len(channels) or not channels:
        raise InputError(
            f"channels are {tuple(channels)!r}, but must be one or more of 0 to {count - 1}, each "
            "once."
        )
    return tuple(channels)


def onto(values: Array, channels: Channels, count: int) -> Array:
    """Puts values [K, ...] onto K of `count` channels; the others get zero.

    Example:
      >>> onto(jnp.ones((1, 2)), (1,), 3).tolist()
      [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    """
    if channels is None:
        return values
    empty = jnp.zeros((count,) + values.shape[1:], values.dtype)
    return empty.at[jnp.asarray(channels)].set(values)


def environment(forcing: Forcing) -> Array:
    """The given fields [E, ...].

    Raises:
      InputError: there are none.

    Example:
      >>> environment(Forcing(environment=jnp.zeros((1, 8, 8)))).shape
      (1, 8, 8)
      >>> environment(UNFORCED)
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: A term depends on position through given fields, ...
    """
    if forcing.environment is None:
        raise InputError(
            "A term depends on position through given fields, but the data have none: give them "
            "an environment or switch the term's `position` off."
        )
    return forcing.environment
