"""Reaction-diffusion-advection PDEs (RDA) as a sum of trainable terms.

dx/dt = D(x) - div(V(x) x) + R(x) + ...
"""

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.models.term import Changes, Parameters, Term


class ReactionDiffusionAdvection(nn.Module):
    """The right-hand side of an RDA: a sum of any terms, each under a name of its own.

    Under a mask no term acts outside; what a term does at its edge is the term's own business.

    Attributes:
      terms: by name; a name is also where the term's parameters are.

    Raises:
      InputError: there is no term.

    Example:
      >>> from diffpattern.models.diffusion import LinearDiffusion
      >>> from diffpattern.models.reaction import CubicDamping
      >>> diffusion, damping = LinearDiffusion(Grid((8, 8)), initial=0.1), CubicDamping(initial=1.0)
      >>> rule = ReactionDiffusionAdvection({"diffusion": diffusion, "damping": damping})
      >>> slope, variables = rule.init_with_output(jax.random.key(0), jnp.full((1, 8, 8), 2.0))
      >>> slope.shape, float(slope[0, 0, 0])
      ((1, 8, 8), -8.0)
      >>> sorted(variables["params"])
      ['damping', 'diffusion']
    """

    # linen would put "terms_" before the names.
    preserve_adopted_names: ClassVar[bool] = True

    terms: Mapping[str, Term]

    def __post_init__(self):
        if not self.terms:
            raise InputError("A reaction-diffusion-advection PDE needs one or more terms.")
        # In the order of their parameters in a flattened tree.
        named = {
            name: term if term.name == name else term.clone(name=name)
            for name, term in sorted(self.terms.items())
        }
        object.__setattr__(self, "terms", FrozenDict(named))
        super().__post_init__()

    def __call__(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """dx/dt [C, *space] of the state x [C, *space]."""
        return _inside(_sum(term(x, forcing) for term in self.terms.values()), forcing)

    def with_sensitivities(
        self,
        parameters: Parameters,
        state: tuple[Array, Changes],
        forcing: Forcing = UNFORCED,
    ) -> tuple[Array, Changes]:
        """The right-hand side of the state and of its sensitivities to all parameters.

            dx/dt = f(x, p),    dS_k/dt = (df/dx) S_k + df/dp_k

        A Runge-Kutta step of this pair gives exactly the derivatives of the same step of x.

        Args:
          parameters: all of them, P numbers in all; those of a mask under "mask", if the forcing
            has derivatives by them (`Forcing.mask_changes`).
          state: x [C, *space], and S as P changes of it, in the order of
            `jax.flatten_util.ravel_pytree(parameters)`.
          forcing: what acts on the lattice.

        Returns:
          The derivatives of both by time.

        Example:
          >>> from diffpattern.models.reaction import CubicDamping
          >>> rule = ReactionDiffusionAdvection({"damping": CubicDamping(initial=1.0)})
          >>> x, none = jnp.full((1, 4), 2.0), (jnp.zeros((1, 4)),)
          >>> parameters = rule.init(jax.random.key(0), x)["params"]
          >>> slope, (by_parameter,) = rule.with_sensitivities(parameters, (x, none))
          >>> slope[0, 0].item(), by_parameter[0, 0].item()  # -s x^3, and its derivative by s
          (-8.0, -8.0)
        """
        x, s = state
        variations = {
            name: term.variation(parameters[name], x, s, forcing)
            for name, term in self.terms.items()
        }
        by_mask = self._by_mask(parameters, x, forcing)
        slopes = []
        for channel in range(len(s)):
            response = _sum(responses[channel] for responses, _ in variations.values())
            own = {
                name: _inside(derivatives[channel], forcing)
                for name, (_, derivatives) in variations.items()
            }
            if by_mask is not None:
                own["mask"] = by_mask[:, channel]
            columns = jnp.concatenate([own[name] for name in sorted(own)])
            slopes.append(_inside(response, forcing) + columns)
        value: Any = self.apply({"params": parameters}, x, forcing)
        return value, tuple(slopes)

    def _by_mask(self, parameters: Parameters, x: Array, forcing: Forcing) -> Array | None:
        """Derivatives of the right-hand side by the parameters of a mask, [Q, C, *space]."""
        if forcing.mask_changes is None:
            return None
        under = lambda mask: self.apply({"params": parameters}, x, forcing.replace(mask=mask))
        along = lambda change: jax.jvp(under, (forcing.mask,), (change,))[1]
        return jax.vmap(along)(forcing.mask_changes)

    def rates(self, parameters: Parameters, eigenvalue: Array, count: int) -> Array:
        """Rates by which the linear terms multiply each mode of each channel.

        Args:
          parameters: all of them.
          eigenvalue: of the Laplacian, [*modes], 0 or less, per length squared.
          count: how many channels the lattice has.

        Returns:
          [count, *modes] per time.

        Example:
          >>> from diffpattern.models.diffusion import LinearDiffusion
          >>> diffusion = LinearDiffusion(Grid(4), initial=0.5)
          >>> rule = ReactionDiffusionAdvection({"diffusion": diffusion})
          >>> parameters = rule.init(jax.random.key(0), jnp.ones((1, 4)))["params"]
          >>> rule.rates(parameters, jnp.array([0.0, -2.0]), 1).tolist()
          [[0.0, -1.0]]
        """
        total = jnp.zeros((count,) + eigenvalue.shape, eigenvalue.dtype)
        for name, term in self.terms.items():
            rates = term.spectral_rates(parameters[name], eigenvalue, count)
            total = total if rates is None else total + rates
        return total

    def laplacian(self) -> str:
        """The stencil of the Laplacian that multiplies the modes of the linear terms.

        Each term that has `spectral_rates` says it by an attribute of its own, `laplacian`.

        Raises:
          InputError: they have several.

        Example:
          >>> from diffpattern.models.diffusion import LinearDiffusion
          >>> diffusion = LinearDiffusion(Grid((8, 8)), laplacian="isotropic")
          >>> ReactionDiffusionAdvection({"diffusion": diffusion}).laplacian()
          'isotropic'
        """
        linear = [
            term
            for term in self.terms.values()
            if type(term).spectral_rates is not Term.spectral_rates
        ]
        stencils = {term.laplacian for term in linear if hasattr(term, "laplacian")}
        if len(stencils) > 1:
            raise InputError(
                f"The terms have the Laplacians {', '.join(sorted(stencils))}, but an exponential "
                "solver multiplies modes by one; give all the same, or set solver.exact."
            )
        return stencils.pop() if stencils else "cross"

    def remainder(self, parameters: Parameters, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """What `rates` leave of dx/dt, [C, *space].

        Example:
          >>> from diffpattern.models.diffusion import LinearDiffusion
          >>> from diffpattern.models.reaction import CubicDamping
          >>> terms = {"diffusion": LinearDiffusion(Grid(4)), "damping": CubicDamping(initial=1.0)}
          >>> rule, x = ReactionDiffusionAdvection(terms), jnp.full((1, 4), 2.0)
          >>> parameters = rule.init(jax.random.key(0), x)["params"]
          >>> rule.remainder(parameters, x).tolist()
          [[-8.0, -8.0, -8.0, -8.0]]
        """
        shares: list[Any] = [
            term.apply({"params": parameters[name]}, x, forcing, method="remainder")
            for name, term in self.terms.items()
        ]
        return _inside(_sum(shares), forcing)

    def lower_bounds(self, parameters: Parameters) -> Parameters:
        """The smallest value that each parameter may take, like `parameters`.

        Example:
          >>> from diffpattern.models.diffusion import LinearDiffusion
          >>> rule = ReactionDiffusionAdvection({"diffusion": LinearDiffusion(Grid(4))})
          >>> parameters = rule.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
          >>> rule.lower_bounds(parameters)["diffusion"]["coefficient"].tolist()
          [0.0, 0.0]
        """
        return {name: term.lower_bounds(parameters[name]) for name, term in self.terms.items()}


def _sum(parts: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, parts)


def _inside(slope: Array, forcing: Forcing) -> Array:
    return slope if forcing.mask is None else slope * forcing.mask
