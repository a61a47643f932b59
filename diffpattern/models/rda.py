"""Reaction-diffusion-advection PDEs (RDA) as a sum of trainable terms.

dx/dt = D(x) - div(V(x) x) + R(x)
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.models.term import Changes, Parameters, Term


class ReactionDiffusionAdvection(nn.Module):
    """The right-hand side of an RDA; any subset of its terms.

    Attributes:
      reaction: R, or None.
      diffusion: D, or None.
      advection: -div(V x), or None.
    """

    reaction: Term | None = None
    diffusion: Term | None = None
    advection: Term | None = None

    def terms(self) -> dict[str, Term]:
        """The terms that there are, in the order of their parameters in a flattened tree."""
        named = {
            "advection": self.advection,
            "diffusion": self.diffusion,
            "reaction": self.reaction,
        }
        return {name: term for name, term in named.items() if term is not None}

    def __call__(self, x: Array) -> Array:
        """dx/dt [C, *space] of the state x [C, *space]."""
        return sum(term(x) for term in self.terms().values())

    def with_sensitivities(
        self, parameters: Parameters, state: tuple[Array, Changes]
    ) -> tuple[Array, Changes]:
        """The right-hand side of the state and of its sensitivities to all parameters.

            dx/dt = f(x, p),    dS_k/dt = (df/dx) S_k + df/dp_k

        A Runge-Kutta step of this pair gives exactly the derivatives of the same step of x.

        Args:
          parameters: all of them, P numbers in all.
          state: x [C, *space], and S as P changes of it, in the order of
            `jax.flatten_util.ravel_pytree(parameters)`.

        Returns:
          The derivatives of both by time.
        """
        x, s = state
        variations = [term.variation(parameters[name], x, s) for name, term in self.terms().items()]
        slopes = []
        for channel in range(len(s)):
            response = sum(responses[channel] for responses, _ in variations)
            forcing = jnp.concatenate([own[channel] for _, own in variations])
            slopes.append(response + forcing)
        return self.apply({"params": parameters}, x), tuple(slopes)

    def lower_bounds(self, parameters: Parameters) -> Parameters:
        """The smallest value that each parameter may take, like `parameters`."""
        terms = self.terms()

        def bound(path, leaf):
            term, name = terms[path[0].key], path[-1].key
            return jnp.full_like(leaf, 0.0 if name in term.non_negative else -jnp.inf)

        return jax.tree_util.tree_map_with_path(bound, parameters)
