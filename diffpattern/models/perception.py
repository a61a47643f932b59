"""What a cell of an automaton sees of its neighbourhood.

A perception is a linen module, `perception(x, grid, environment) -> [F, *space]`: features of each
cell, out of the lattice x [C, *space] and of fields that are seen like channels but never change
(`environment` [E, *space], or None). The grid comes with the call and not with the module, so that
a rule knows of one lattice alone and can be moved to another.

`perception.features(channels, environment, axes)` names them in their order: for each the kernel
that it is seen through, and what is seen; out of the names of the channels, of the environment's
fields, and of how many axes space has.

Example:
  >>> seen = Stencils(kernels=("identity", "gradient"))
  >>> seen(jnp.zeros((2, 8, 8)), Grid((8, 8)), None).shape
  (6, 8, 8)
  >>> seen.features(("A",), (), 2)
  (('identity', 'A'), ('gradient y', 'A'), ('gradient x', 'A'))
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from diffpattern.errors import InputError
from diffpattern.grid import stencils
from diffpattern.grid.blocks import block_means, spread
from diffpattern.grid.geometry import Grid, GridNow
from diffpattern.grid.padding import check_lattice, pad
from diffpattern.grid.slices import shifted
from diffpattern.models.monomials import exponents
from diffpattern.models.monomials import names as monomial_names
from diffpattern.parallel.recomputation import remembered
from diffpattern.parts import is_own, load_function

# The kernel that a feature is seen through, and what is seen.
Feature = tuple[str, str]


class Stencils(nn.Module):
    """Sees a lattice through fixed stencils, or the monomials of its channels (higher order).

        features = (K_1 m, K_2 m, ...),    m = the monomials of x and the environment up to `order`

    Stencils are in units of length (`grid.spacing`): the same features on a lattice half as fine.
    With the kernels identity, gradient_norm and laplacian, Bickley's gradient and the isotropic
    Laplacian (`ISOTROPIC`), what is seen does not depend on the lattice's orientation: exactly
    under quarter turns and mirrors, and to leading order of the spacing under any rotation.

    Attributes:
      kernels: names out of `KERNELS`, or "module:function" of one's own, of (x [C, *space], grid).
      kernel_scale: 1, or the standard deviation in cells of a Gaussian that blurs first; the
        identity and kernels of one's own stay sharp.
      order: highest degree of the monomials; 1 takes the channels themselves.
      gradient: scheme of `stencils.gradient`, for both kernels that have one.
      laplacian: stencil of `stencils.laplacian`.

    Raises:
      InputError: when called, for a name that is not known, or products whose walls are not.

    Example:
      >>> x = jnp.zeros((3, 8, 8))
      >>> Stencils()(x, Grid((8, 8))).shape  # 3 channels, their 2 slopes each, their Laplacians
      (12, 8, 8)
      >>> Stencils(kernels=("identity",), order=2)(x, Grid((8, 8))).shape
      (9, 8, 8)
    """

    kernels: tuple[str, ...] = ("identity", "gradient", "laplacian")
    kernel_scale: float = 1.0
    order: int = 1
    gradient: str = "sobel"
    laplacian: str = "oono_puri"

    def __call__(self, x: Array, grid: Grid, environment: Array | None = None) -> Array:
        """Features [K M, *space] of M monomials; a gradient counts as many times as axes."""
        how = (self.kernels, self.kernel_scale, self.gradient, self.laplacian)
        if self.order == 1:
            seen = views_of_all(x, grid, environment, *how)
        else:
            _require_walls_of_products(self.order, grid, environment)
            products = monomials(with_environment(x, grid, environment), self.order)
            seen = views(products, grid, *how)
        return jnp.concatenate([view.reshape((-1,) + grid.shape) for view in seen])

    def features(
        self, channels: Sequence[str], environment: Sequence[str], axes: int
    ) -> tuple[Feature, ...]:
        """See the module's docstring."""
        names = (*channels, *environment)
        seen = monomial_names(exponents(len(names), 1, self.order), names)
        return tuple(_features(self.kernels, seen, axes))


ISOTROPIC = Stencils(
    kernels=("identity", "gradient_norm", "laplacian"), gradient="bickley", laplacian="isotropic"
)


class Steerable(nn.Module):
    """Sees gradients in a frame that each cell turns by an angle of its own.

        along  =  cos(a) dx/dx + sin(a) dx/dy
        across = -sin(a) dx/dx + cos(a) dx/dy

    The angle a, in radians from the axis x towards the axis y, is the last channel of the lattice:
    hidden, changed by the update like any other, and seen by nobody, so that a rule sees the same
    when the lattice and all angles are turned together.

    Source: Randazzo, Mordvintsev and Fouts, "Growing steerable neural cellular automata" (2023).

    Attributes:
      kernels, kernel_scale, gradient, laplacian: as of `Stencils`.

    Raises:
      InputError: when called, for a lattice that has not two axes, or no channel beside the angle.

    Example:
      >>> Steerable()(jnp.zeros((3, 8, 8)), Grid((8, 8))).shape  # the third channel is the angle
      (8, 8, 8)
      >>> Steerable()(jnp.zeros((3, 8)), Grid(8))
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: Steerable perception turns gradients in a plane, ...
    """

    kernels: tuple[str, ...] = ("identity", "gradient", "laplacian")
    kernel_scale: float = 1.0
    gradient: str = "bickley"
    laplacian: str = "isotropic"

    def __call__(self, x: Array, grid: Grid, environment: Array | None = None) -> Array:
        """Features [K (C - 1 + E), *space]; a gradient counts twice."""
        if grid.ndim != 2:
            raise InputError(
                f"Steerable perception turns gradients in a plane, but the lattice has {grid.ndim} "
                "axes; take one of 2 axes, or perception by plain stencils."
            )
        if len(x) < 2:
            raise InputError(
                "Steerable perception takes the last channel as the cells' angle, but the lattice "
                "has only 1 channel; give it a hidden one."
            )
        features: list[Array] = []
        how = (self.kernels, self.kernel_scale, self.gradient, self.laplacian)
        for view in views_of_all(x[:-1], grid, environment, *how):
            if view.ndim > x.ndim:
                # Complete before it is turned, or each neighbour's share of it is turned again.
                view = lax.optimization_barrier(view)
                down, right = (part[:, 0] for part in lax.split(view, (1, 1), axis=1))
                features += turned(right, down, x[-1])
            else:
                features.append(view)
        return jnp.concatenate(features)

    def features(
        self, channels: Sequence[str], environment: Sequence[str], axes: int
    ) -> tuple[Feature, ...]:
        """See the module's docstring."""
        del axes  # always two
        seen = (*channels[:-1], *environment)
        turned = {"gradient": ("gradient along", "gradient across")}
        parts = [part for name in self.kernels for part in turned.get(name, (name,))]
        return tuple((part, name) for part in parts for name in seen)


@jax.custom_jvp
def turned(right: Array, down: Array, angle: Array) -> tuple[Array, Array]:
    """Components, along and across, of vectors in a frame that is turned: [C, H, W] twice.

    Example:
      >>> right, down = jnp.ones((1, 1, 1)), jnp.zeros((1, 1, 1))
      >>> along, across = turned(right, down, jnp.full((1, 1), jnp.pi / 4))
      >>> round(float(along[0, 0, 0]), 3), round(float(across[0, 0, 0]), 3)
      (0.707, -0.707)
    """
    cosine, sine = _direction(angle)
    return cosine * right + sine * down, cosine * down - sine * right


@turned.defjvp
def _turned_jvp(primals, tangents):
    right, down, angle = primals
    cosine, sine = _direction(angle)
    along, across = cosine * right + sine * down, cosine * down - sine * right
    d_right, d_down, d_angle = tangents
    # Given to all channels by a matrix product: pulled back, it is one too, where XLA's CPU backend
    # would take a broadcast's sum over the first axis cell by cell.
    turn = (jnp.ones((len(right), 1), right.dtype) @ d_angle.reshape(1, -1)).reshape(right.shape)
    return (along, across), (
        cosine * d_right + sine * d_down + turn * across,
        cosine * d_down - sine * d_right - turn * along,
    )


def _direction(angle: Array) -> tuple[Array, Array]:
    """Cosine and sine, once for all channels: on a CPU they take long."""
    return lax.optimization_barrier((remembered(jnp.cos(angle)), remembered(jnp.sin(angle))))


class MultiScale(nn.Module):
    """Groups of channels see neighbourhoods of sizes of their own.

    The channels are dealt out, in their order, to as many groups as there are scales. A group of
    scale s is averaged over blocks of s cells an axis, seen through the stencils on that coarser
    lattice, and each block's view is given to all of its cells. What a cell sees of itself (the
    identity) stays its own at every scale: a channel that its own cell sees blurred could not be
    held still. The environment is seen at scale 1.

    Related: Pajouheshgar et al., "DyNCA" (2023), whose cells see all channels at all scales.

    Attributes:
      scales: cells an axis of the blocks, one number for each group.
      kernels, gradient, laplacian: as of `Stencils`.

    Raises:
      InputError: when called, if a scale does not divide the lattice or has no channel.

    Example:
      >>> sees = MultiScale(scales=(1, 4), kernels=("identity", "laplacian"))
      >>> sees(jnp.zeros((6, 8, 8)), Grid((8, 8))).shape
      (12, 8, 8)
      >>> sees(jnp.zeros((6, 10, 8)), Grid((10, 8)))
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: Scale 4 of multi-scale perception does not ...
    """

    scales: tuple[int, ...] = (1, 2, 4)
    kernels: tuple[str, ...] = ("identity", "gradient", "laplacian")
    gradient: str = "sobel"
    laplacian: str = "oono_puri"

    def __call__(self, x: Array, grid: Grid, environment: Array | None = None) -> Array:
        """Features [K (C + E), *space]; a gradient counts as many times as axes."""
        own = [cells - 2 * margin for cells, margin in zip(grid.shape, grid.margins, strict=True)]
        wrong = [s for s in self.scales if s < 1 or any(cells % s for cells in own)]
        if wrong:
            kind = "a block's" if grid.is_cut else "the lattice's"
            raise InputError(
                f"Scale {wrong[0]} of multi-scale perception does not divide {kind} "
                f"{' x '.join(map(str, own))} cells; take scales that divide each axis."
            )
        if not 1 <= len(self.scales) <= len(x):
            raise InputError(
                f"Multi-scale perception has {len(self.scales)} scales for {len(x)} channels, but "
                "needs from one scale to as many as there are channels."
            )
        sharp = [name for name in self.kernels if name == "identity"]
        blurred = [name for name in self.kernels if name != "identity"]
        parts = np.array_split(np.arange(len(x)), len(self.scales))
        groups = [
            (x[part[0] : part[-1] + 1], grid.for_channels(part.tolist()), s)
            for part, s in zip(parts, self.scales, strict=True)
        ]
        if environment is not None:
            check_lattice(environment, grid)
            groups.append((environment, grid.for_coefficients(), 1))
        features = [with_environment(x, grid, environment)] if sharp else []
        for channels, around, scale in groups:
            coarse = coarsened(around, scale)
            for view in views(
                block_means(channels, grid, scale),
                coarse,
                blurred,
                1.0,
                self.gradient,
                self.laplacian,
            ):
                features.append(spread(view.reshape((-1,) + coarse.shape), coarse, scale))
        return jnp.concatenate(features)

    def features(
        self, channels: Sequence[str], environment: Sequence[str], axes: int
    ) -> tuple[Feature, ...]:
        """See the module's docstring."""
        sharp = [name for name in self.kernels if name == "identity"]
        blurred = [name for name in self.kernels if name != "identity"]
        named = list(_features(sharp, (*channels, *environment), axes))
        parts = np.array_split(np.arange(len(channels)), len(self.scales))
        groups = [
            ([channels[place] for place in part], scale)
            for part, scale in zip(parts, self.scales, strict=True)
        ]
        for names, scale in (*groups, (environment, 1)):
            of = f" of {scale}" if scale > 1 else ""
            named += [(kernel + of, name) for kernel, name in _features(blurred, names, axes)]
        return tuple(named)


class Learnt(nn.Module):
    """Sees each channel through stencils of its own, which are learnt.

        features[c, k] = sum over the 3^ndim neighbours s of kernel[c, k, s] * x_c(cell + s)

    The border is the lattice's, as for the fixed stencils. The weights have no units: a rule that
    learnt them on one spacing means another neighbourhood on another.

    Attributes:
      count: stencils for each channel.

    Example:
      >>> sees = Learnt(count=4)
      >>> x = jnp.ones((2, 8, 8))
      >>> variables = sees.init(jax.random.key(0), x, Grid((8, 8)))
      >>> variables["params"]["kernel"].shape, sees.apply(variables, x, Grid((8, 8))).shape
      ((2, 4, 9), (8, 8, 8))
    """

    count: int = 4

    @nn.compact
    def __call__(self, x: Array, grid: Grid, environment: Array | None = None) -> Array:
        """Features [count (C + E), *space]."""
        bordered = pad(x, grid.for_channels(range(len(x))), 1)
        if environment is not None:
            check_lattice(environment, grid)
            fields = pad(environment.astype(x.dtype), grid.for_coefficients(), 1)
            bordered = jnp.concatenate([bordered, fields])
        seen, neighbours = len(bordered), 3**grid.ndim
        kernel = self.param("kernel", _seeing_itself, (seen, self.count, neighbours))
        taps = [bordered]
        for axis in range(-grid.ndim, 0):
            taps = [shifted(tap, axis, offset, 1) for tap in taps for offset in (-1, 0, 1)]
        # A small matrix product for each channel.
        patches = jnp.stack(taps, axis=1).reshape(seen, neighbours, -1)
        return (kernel @ patches).reshape((-1,) + grid.shape)

    def features(
        self, channels: Sequence[str], environment: Sequence[str], axes: int
    ) -> tuple[Feature, ...]:
        """See the module's docstring."""
        del axes
        kernels = [f"stencil {place}" for place in range(1, self.count + 1)]
        return tuple((kernel, name) for name in (*channels, *environment) for kernel in kernels)


def _features(kernels: Sequence[str], seen: Sequence[str], axes: int) -> Iterator[Feature]:
    """The features of `views` through fixed kernels, in their order."""
    components = [f"gradient {axis}" for axis in "zyx"[-axes:]]
    for kernel in kernels:
        for name in seen:
            for part in components if kernel == "gradient" else (kernel,):
                yield part, name


def _seeing_itself(key: Array, shape: tuple[int, int, int], dtype=float) -> Array:
    """First kernels [C, count, neighbours]: random ones, of which the first leans on the cell."""
    kernels = jax.random.normal(key, shape, dtype) / math.sqrt(shape[-1])
    return kernels.at[:, 0, shape[-1] // 2].add(1.0)


def _gradient(x: Array, grid: Grid, scale: float, scheme: str, stencil: str) -> Array:
    return stencils.gradient(x, grid, scheme, kernel_scale=scale)


def _gradient_norm(x: Array, grid: Grid, scale: float, scheme: str, stencil: str) -> Array:
    return stencils.gradient_norm(x, grid, scheme, kernel_scale=scale)


def _laplacian(x: Array, grid: Grid, scale: float, scheme: str, stencil: str) -> Array:
    return stencils.laplacian(x, grid, stencil, kernel_scale=scale)


# (x, grid, kernel_scale, scheme of the gradient, stencil of the Laplacian) -> view
KERNELS: dict[str, Callable[[Array, Grid, float, str, str], Array]] = {
    "identity": lambda x, grid, scale, scheme, stencil: x,
    "gradient": _gradient,
    "gradient_norm": _gradient_norm,
    "laplacian": _laplacian,
    "average": lambda x, grid, scale, *_: stencils.average(x, grid, kernel_scale=scale),
}


def views(
    x: Array,
    grid: Grid,
    kernels: Sequence[str],
    kernel_scale: float = 1.0,
    gradient: str = "sobel",
    laplacian: str = "oono_puri",
) -> list[Array]:
    """A lattice through each of the named stencils.

    Args:
      x: lattice [C, *space].
      grid: where it lives.
      kernels: names out of `KERNELS`.
      kernel_scale, gradient, laplacian: as of `Stencils`.

    Returns:
      For each name [C, *space], or [C, ndim, *space] for a gradient.

    Raises:
      InputError: no kernel has one of the names.

    Example:
      >>> x = jnp.zeros((3, 8, 8))
      >>> [view.shape for view in views(x, Grid((8, 8)), ("identity", "gradient"))]
      [(3, 8, 8), (3, 2, 8, 8)]
    """
    return [_kernel(name)(x, grid, kernel_scale, gradient, laplacian) for name in kernels]


def views_of_all(x: Array, grid: Grid, environment: Array | None, *how: Any) -> list[Array]:
    """The channels and the environment's fields behind them through each of the named stencils.

    What is given at the walls is the channels'; the fields go on beyond them as coefficients do.

    Args:
      x: the first channels of a lattice, [C, *space].
      grid: where it lives.
      environment: [E, *space], or None.
      how: as of `views`.

    Returns:
      As `views` does, of C + E lattices.

    Example:
      >>> held = Grid(4, boundary={"kind": "value", "value": 1.0})
      >>> beside = jnp.full((1, 4), 0.5)
      >>> views_of_all(jnp.ones((1, 4)), held, beside, ("laplacian",))[0].tolist()
      [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    own, around = grid.for_channels(range(len(x))), grid.for_coefficients()
    if environment is None or around.boundary == grid.boundary:
        return views(with_environment(x, grid, environment), own, *how)
    check_lattice(environment, grid)
    both = views(x, own, *how), views(environment.astype(x.dtype), around, *how)
    return [jnp.concatenate(pair) for pair in zip(*both, strict=True)]


def _require_walls_of_products(order: int, grid: Grid, environment: Array | None) -> None:
    """Refuses walls beyond which a product is not what stencils make of a wall's value.

    Zero times zero is zero; but a value is that of a channel and not of its square, a mirror that
    is raised does not raise a product evenly, and a field is not held where a channel is.
    """
    kinds = {wall.kind for walls in grid.boundary for wall in (walls.lower, walls.upper)}
    known = {"circular", "symmetric", "replicate"} | ({"zero"} if environment is None else set())
    if kinds - known:
        of = "channels" if environment is None else "channels and of given fields"
        raise InputError(
            f"model.nca.stencils.order is {order}, but products of {of} are not known beyond a "
            f"wall of the kind {min(kinds - known)!r}; take order 1, or walls of the kinds "
            f"{', '.join(sorted(known))}."
        )


def _kernel(name: str) -> Callable[[Array, Grid, float, str, str], Array]:
    """A kernel out of `KERNELS`, or the user's own, "module:function" of (x, grid)."""
    if not is_own(name):
        if name not in KERNELS:
            raise InputError(f"model.nca.kernels names {name!r}; there are {', '.join(KERNELS)}.")
        return KERNELS[name]
    function = load_function(name, "kernels")

    def kernel(x: Array, grid: Grid, *_: Any) -> Array:
        view = function(x, grid)
        if jnp.shape(view) != x.shape:
            raise InputError(
                f"The kernel {name} makes {jnp.shape(view)} of a lattice {x.shape}; it must give "
                "as many channels and cells as it is given."
            )
        return view

    return kernel


def with_environment(x: Array, grid: Grid, environment: Array | None) -> Array:
    """All that can be seen, [C + E, *space]: the channels, then the environment's fields.

    Example:
      >>> with_environment(jnp.zeros((3, 8, 8)), Grid((8, 8)), jnp.zeros((1, 8, 8))).shape
      (4, 8, 8)
    """
    if environment is None:
        return x
    check_lattice(environment, grid)
    return jnp.concatenate([x, environment.astype(x.dtype)])


def monomials(x: Array, order: int) -> Array:
    """All products of 1 to `order` channels of x [C, *space], in the order of `exponents`.

    Those of one degree are each channel times the products of it and later channels of the degree
    below, which stand together at that list's end: one multiplication of blocks for each channel,
    where monomials one by one would be as many operations as there are of them.

    Example:
      >>> monomials(jnp.array([[2.0], [3.0]]), 2)[:, 0].tolist()  # a, b, a^2, a b, b^2
      [2.0, 3.0, 4.0, 6.0, 9.0]
    """
    blocks = [x]
    for degree in range(2, order + 1):
        below = blocks[-1]
        # So many products of the degree below have no channel before the i-th.
        counts = [math.comb(len(x) - i + degree - 2, degree - 1) for i in range(len(x))]
        products = [x[i] * below[len(below) - count :] for i, count in enumerate(counts)]
        blocks.append(jnp.concatenate(products))
    return x if order == 1 else jnp.concatenate(blocks)


def coarsened(grid: Grid, scale: int) -> Grid:
    """The grid of blocks of `scale` cells an axis; a block is as far inside a mask as its mean.

    Raises:
      InputError: the block has a margin, of which a scale would take a part.

    Example:
      >>> coarsened(Grid((8, 8), spacing=0.5), 4)
      Grid(shape=(2, 2), spacing=(2.0, 2.0), ...)
    """
    if scale == 1:
        return grid
    if any(grid.margins):
        raise InputError(
            "mesh.exchange_every lets devices make several steps by themselves, but pooled scales "
            "see blocks of cells as one; set it to 1, or leave the scales above 1 out."
        )
    coarse = dataclasses.replace(
        grid,
        shape=tuple(size // scale for size in grid.shape),
        spacing=tuple(scale * spacing for spacing in grid.spacing),
    )
    if not isinstance(coarse, GridNow) or grid.mask is None:
        return coarse
    return dataclasses.replace(coarse, mask=block_means(grid.mask, grid, scale))
