import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.data.simulation import SPLITS, Simulation, require_stable, simulate
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.solvers import explicit
from diffpattern.systems import SYSTEMS, AllenCahn, CahnHilliard, GrayScott, NavierStokes, starts

SMALL = Simulation(shape=(16, 24), interval=4, end_time=12, dt=0.5, train=3, validation=1, test=2)


def values(settings, split="train"):
    return simulate(settings)[split].values


def test_splits_have_the_counts_times_and_starts_of_their_own():
    data = simulate(SMALL)
    assert tuple(data) == SPLITS
    assert [len(data[split].values) for split in SPLITS] == [3, 1, 2]
    np.testing.assert_array_equal(data["test"].times, [0, 4, 8, 12])
    assert data["test"].species == ("A", "B") and data["test"].grid == Grid((16, 24))
    everything = np.concatenate([data[split].values[:, 0, ..., 1] for split in SPLITS])
    correlation = np.corrcoef(everything.reshape(6, -1))
    assert np.abs(correlation - np.eye(6)).max() < 0.9


def test_more_trajectories_of_one_split_leave_the_others_alone():
    more = simulate(dataclasses.replace(SMALL, train=4))
    fewer = simulate(SMALL)
    for split in SPLITS:
        count = len(fewer[split].values)
        np.testing.assert_allclose(more[split].values[:count], fewer[split].values, atol=1e-6)


def test_another_seed_gives_other_starts():
    assert np.abs(values(SMALL) - values(dataclasses.replace(SMALL, seed=1))).max() > 0.1


def test_snapshots_are_those_of_the_solver():
    system, grid = GrayScott(), Grid((16, 24))
    states = values(SMALL)[1]
    x = np.moveaxis(states[1], -1, 0)
    for _ in range(8):
        x = explicit.step("heun", lambda x, _: system.right_hand_side(x, grid, "cross"), x, 0.5)
    np.testing.assert_allclose(np.moveaxis(states[2], -1, 0), x, atol=1e-6)


@pytest.mark.parametrize("shape", [(48,), (24, 24), (12, 12, 12)])
def test_a_finer_lattice_gives_the_same_data_for_a_short_time(shape):
    settings = dataclasses.replace(
        SMALL, shape=shape, spacing=1.0, boundary="circular", laplacian="fourth_order", train=2
    )
    coarse = values(settings)
    fine = values(dataclasses.replace(settings, refinement=2))
    assert fine.shape == coarse.shape
    difference = np.sqrt(np.mean((fine - coarse)[:, -1, ..., 1] ** 2))
    assert 0 < difference < 0.02 * fine[:, -1, ..., 1].std()


def test_refinement_lowers_the_error_of_the_stencil():
    """Against refinement 4, the lattice of refinement 2 is the nearer one."""
    settings = dataclasses.replace(SMALL, shape=(16, 16), train=1)
    reference = values(dataclasses.replace(settings, refinement=4))[:, -1]
    errors = [
        np.abs(values(dataclasses.replace(settings, refinement=n))[:, -1] - reference).max()
        for n in (1, 2)
    ]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("dt", {"dt": -1}),
        ("dt", {"dt": float("nan")}),
        ("dt", {"dt": "small"}),
        ("interval", {"interval": 4.25}),
        ("interval", {"interval": 0.25}),
        ("end_time", {"end_time": 10}),
        ("end_time", {"end_time": 0}),
        ("end_time", {"end_time": 1e30}),
        ("interval", {"interval": 1e30, "end_time": 1e30}),
        ("shape", {"shape": (4, 4, 4, 4)}),
        ("shape", {"shape": (0, 4)}),
        ("spacing", {"spacing": -1.0}),
        ("boundary", {"boundary": "open"}),
        ("boundary", {"boundary": ("circular",)}),
        ("laplacian", {"laplacian": "seven_point"}),
        ("solver", {"solver": "rk4"}),
        ("train", {"train": 0}),
        ("validation", {"validation": -1}),
        ("test", {"test": 1.5}),
        ("seed", {"seed": -1}),
        ("refinement", {"refinement": 0}),
        ("boundary", {"system": NavierStokes(), "boundary": "symmetric"}),
    ],
)
def test_a_setting_that_cannot_work_is_named(field, change):
    with pytest.raises(InputError, match=rf"^data\.{field} "):
        dataclasses.replace(SMALL, **change)


def test_unequal_spacing_needs_a_stencil_that_can():
    with pytest.raises(InputError, match=r"^data\.laplacian .*data\.spacing"):
        simulate(dataclasses.replace(SMALL, spacing=(1.0, 2.0), laplacian="isotropic"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing": 3.0}, r"^data\.spacing is \(3\.0, 3\.0\), but must be at most 2"),
        ({"shape": (2, 2)}, r"^data\.shape is \(2, 2\), a box too small"),
        (
            {"shape": (64, 64), "system": GrayScott(), "spacing": 1e9},
            "data.spacing is .* than can be counted",
        ),
    ],
)
def test_a_lattice_without_a_start_is_refused_beforehand(change, message):
    with pytest.raises(InputError, match=message):
        require_stable(dataclasses.replace(SMALL, **{"system": AllenCahn()} | change))


@pytest.mark.parametrize("stencil", ["cross", "oono_puri", "isotropic", "fourth_order"])
def test_the_stated_limit_of_stability_is_where_noise_begins_to_grow(stencil):
    settings = dataclasses.replace(
        SMALL, shape=(12, 12), system=GrayScott(0.1, 0.1, 0.0, 0.0), laplacian=stencil
    )
    beyond = dataclasses.replace(settings, dt=50, interval=50, end_time=50)
    with pytest.raises(
        InputError, match=r"^data\.dt is 50, but heun is stable .* up to"
    ) as refusal:
        require_stable(beyond)
    limit = float(str(refusal.value).rstrip(".").split()[-1])

    def noise_after(dt):
        def advance(_, x):
            return explicit.step(
                "heun",
                lambda x, _: settings.system.right_hand_side(x, settings.grid, stencil),
                x,
                dt,
            )

        # Without B, and with nothing fed, A only diffuses.
        noise = jax.random.normal(jax.random.key(0), settings.shape)
        start = jnp.stack([noise, jnp.zeros_like(noise)])
        return float(jnp.abs(jax.lax.fori_loop(0, 300, advance, start)).max())

    assert noise_after(0.98 * limit) < 1 < 1e3 < noise_after(1.02 * limit)


def test_a_simulation_that_overflows_is_refused():
    explosive = dataclasses.replace(
        SMALL,
        dt=24,
        interval=24,
        end_time=2400,
        system=GrayScott(0.0, 0.0, 0.0, 0.01),
    )
    with pytest.raises(InputError, match=r"^data\.dt is 24, at which the simulation overflows"):
        simulate(explosive)


def test_the_name_tells_every_parameter_apart():
    changes = {
        "shape": (24, 16),
        "spacing": 0.5,
        "boundary": "symmetric",
        "laplacian": "oono_puri",
        "solver": "euler",
        "dt": 0.25,
        "interval": 2.0,
        "end_time": 16.0,
        "train": 4,
        "validation": 2,
        "test": 3,
        "seed": 1,
        "refinement": 2,
        "mask": "ellipse",
        "system": GrayScott(alpha=0.05),
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Simulation)}
    names = {dataclasses.replace(SMALL, **{field: new}).name for field, new in changes.items()}
    assert len(names | {SMALL.name}) == len(changes) + 1
    # Systems of equal parameters differ by their names.
    phases = [dataclasses.replace(SMALL, system=system()) for system in (AllenCahn, CahnHilliard)]
    assert phases[0].name != phases[1].name
    assert dataclasses.replace(SMALL, dt=0.25).name.startswith("16x24-t12-dt0.25-heun-")


def test_equal_settings_have_one_name_however_they_are_written():
    written_otherwise = dataclasses.replace(
        SMALL,
        spacing=(1, 1),
        boundary=[Boundary("circular"), "circular"],
        interval=4.0,
        shape=[16, 24],
        system=GrayScott(diffusion_a=np.float64(0.1)),
    )
    assert written_otherwise == SMALL and written_otherwise.name == SMALL.name
    assert hash(written_otherwise) == hash(SMALL)


@pytest.mark.parametrize("name", SYSTEMS)
def test_recommended_settings_are_stable_and_hold_on_other_lattices(name):
    settings = Simulation.recommended(SYSTEMS[name](), shape=(32, 48))
    assert settings.shape == (32, 48) and settings.system == SYSTEMS[name]()
    require_stable(settings)


def test_an_exponential_solver_gives_the_same_trajectories_with_longer_steps():
    fields = {"shape": (12, 12), "interval": 8.0, "end_time": 16.0, "train": 1, "test": 1}
    fields |= {"validation": 1, "boundary": ("symmetric", "circular")}
    fine = simulate(Simulation(**fields, solver="tsit5", dt=0.25))["test"]
    exponential = simulate(Simulation(**fields, solver="etdrk4", dt=2.0))["test"]
    np.testing.assert_allclose(exponential.values, fine.values, atol=2e-4)
    assert np.abs(fine.values[:, 2] - fine.values[:, 0]).max() > 0.1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"boundary": "zero"}, "data.solver is 'etdrk4', but data.boundary: .*'zero'"),
        ({"mask": "ellipse"}, "data.solver is 'etdrk4', which knows no masks"),
    ],
)
def test_what_an_exponential_solver_cannot_do_is_refused(fields, told):
    with pytest.raises(InputError, match=told):
        Simulation(solver="etdrk4", **fields)


@pytest.mark.parametrize(("shape", "refinement"), [((24, 20), 1), ((16, 16), 2), ((14, 12, 13), 1)])
def test_every_trajectory_has_an_ellipse_of_its_own_which_holds_it(shape, refinement):
    settings = Simulation(
        shape=shape,
        refinement=refinement,
        mask="ellipse",
        interval=4.0,
        end_time=8.0,
        train=3,
        validation=1,
        test=1,
    )
    data = simulate(settings)["train"]
    assert data.mask.shape == (3, *shape)
    sizes = data.mask.reshape(3, -1).mean(1)
    assert ((sizes > 0.1) & (sizes < 0.8)).all() and len(set(sizes.tolist())) == 3
    outside = np.broadcast_to(data.mask[:, None, ..., None] == 0, data.values.shape)
    assert (data.values[outside] == 0).all()
    # A, fed everywhere inside, is nowhere drained through the edge.
    inside = np.broadcast_to(data.mask[:, None] == 1, data.values.shape[:-1])
    assert data.values[..., 0][inside].min() > 0.1


def test_micropatterns_are_discs_squares_and_triangles_in_the_middle():
    grid = Grid((40, 50))
    masks = jax.vmap(lambda key: starts.random_micropattern(key, grid))(
        jax.random.split(jax.random.key(0), 24)
    )
    shares = np.asarray(masks).mean((1, 2)) * 50 / 40
    # Of a square of the shorter side: pi 0.45^2, 0.9^2, and sqrt(3) / 4 of 0.9^2.
    expected = np.array([np.pi * 0.45**2, 0.9**2, np.sqrt(3) / 4 * 0.9**2])
    nearest = np.abs(shares[:, None] - expected).argmin(1)
    assert set(nearest.tolist()) == {0, 1, 2}
    np.testing.assert_allclose(shares, expected[nearest], atol=0.03)
    columns = np.asarray(masks).any(1)
    np.testing.assert_array_equal(columns, columns[:, ::-1])
    with pytest.raises(InputError, match="two axes or three"):
        starts.random_micropattern(jax.random.key(0), Grid((9,)))
