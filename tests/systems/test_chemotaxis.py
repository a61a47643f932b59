import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.solvers import explicit
from diffpattern.systems import HillenPainter, KellerSegel


@pytest.mark.parametrize("system", [KellerSegel(sensitivity=1.0), HillenPainter(sensitivity=4.0)])
@pytest.mark.parametrize("boundary", ["circular", "symmetric"])
def test_cells_are_conserved_where_none_grow(system, boundary):
    system, grid = dataclasses.replace(system, growth=0.0), Grid((24, 24), 0.5, boundary)

    def step(_, x):
        return explicit.step("heun", lambda x, _: system.right_hand_side(x, grid), x, 0.04)

    start = system.start(jax.random.key(0), grid)
    end = jax.jit(lambda x: jax.lax.fori_loop(0, 1000, step, x))(start)
    before, after = (np.asarray(x[0], np.float64).sum() for x in (start, end))
    assert after == pytest.approx(before, rel=1e-5)
    assert np.abs(end - start).max() > 0.05


@pytest.mark.parametrize("name", ["keller_segel", "hillen_painter"])
def test_cells_climb_the_gradient_of_the_signal(name, quick_compilation):
    system = {"keller_segel": KellerSegel, "hillen_painter": HillenPainter}[name]()
    grid = Grid((1, 32), boundary="symmetric")
    signal = jnp.exp(-(((jnp.arange(32.0) - 15.5) / 6) ** 2))[None]
    x = jnp.stack([jnp.ones_like(signal), signal])
    gained, _ = jax.jit(lambda x: system.right_hand_side(x, grid))(x)
    assert gained[0, 15] > 0.05 and gained[0, 5] < -0.01
    assert float(gained.sum()) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("system", [KellerSegel(), HillenPainter()])
def test_cells_and_signal_have_walls_of_their_own(system, quick_compilation):
    slope = jax.jit(system.right_hand_side, static_argnums=1)
    flat = jnp.stack([jnp.full((6, 5), level) for level in (0.7, 0.3)])
    held = slope(flat, Grid((6, 5), boundary=Boundary("value", (0.7, 0.3))))
    np.testing.assert_allclose(held, slope(flat, Grid((6, 5))), atol=1e-6)
    # More signal beyond the walls draws the cells there, and only the cells' own diffusion stays.
    drawn = slope(flat, Grid((6, 5), boundary=Boundary("value", (0.7, 0.5)))) - held
    assert drawn[0, 0, 2] < -0.01 and drawn[1, 0, 2] > 0.1
    np.testing.assert_allclose(drawn[:, 2, 2], 0.0, atol=1e-6)


def test_crowded_cells_do_not_move(quick_compilation):
    system, grid = HillenPainter(crowding=3.0, growth=0.0), Grid((16,))
    signal = jnp.sin(2 * jnp.pi * jnp.arange(16) / 16)
    x = jnp.stack([jnp.full((16,), 3.0), signal])
    gained, _ = jax.jit(lambda x: system.right_hand_side(x, grid))(x)
    np.testing.assert_allclose(gained, 0.0, atol=1e-6)
