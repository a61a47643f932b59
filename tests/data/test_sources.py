"""Data that are read: trajectories by split, out of files and the config's fields."""

import dataclasses

import numpy as np
import pytest
import tifffile
import tiny
from PIL import Image

from diffpattern import configuration
from diffpattern.data.sources import SOURCES
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid

RANDOM = np.random.default_rng(0)
FILM = RANDOM.random((3, 8, 9, 2)).astype(np.float32)


def read(name, **fields):
    """What a source makes of its section, by a config that has been checked."""
    config = tiny.config(**{"data.name": name} | {f"data.{name}.{f}": v for f, v in fields.items()})
    configuration.check(config)
    (data,) = SOURCES[name](config.data[name])
    return data


def save(path, array):
    np.save(path, array)
    return str(path)


def test_a_film_is_a_trajectory_for_every_split(tmp_path):
    path = save(tmp_path / "a.npy", FILM)
    data = read("images", train=(path,))
    assert list(data) == ["train", "validation", "test"]
    assert data["train"] is data["validation"] is data["test"]
    train = data["train"]
    np.testing.assert_array_equal(train.values, FILM[None])
    np.testing.assert_array_equal(train.times, [0.0, 1.0, 2.0])
    assert train.species == ("channel1", "channel2")
    assert train.grid == Grid((8, 9), 1.0, "symmetric")
    assert train.mask is None and train.known is None
    assert (train.offset, train.scale) == ((0.0, 0.0), (1.0, 1.0))


def test_times_sizes_and_names_are_those_of_the_file_or_the_config(tmp_path):
    path = tmp_path / "a.ome.tif"
    film = np.moveaxis((FILM * 255).astype(np.uint8), -1, 1)
    metadata = {"axes": "TCYX", "PhysicalSizeX": 0.5, "TimeIncrement": 3.0}
    metadata["Channel"] = {"Name": ["DAPI", "SOX2"]}
    tifffile.imwrite(path, film, photometric="minisblack", metadata=metadata)
    train = read("images", train=(str(path),), downsample=2)["train"]
    np.testing.assert_array_equal(train.times, [0.0, 3.0, 6.0])
    assert train.grid == Grid((4, 4), 1.0, "symmetric")
    assert train.species == ("DAPI", "SOX2")
    assert (train.length_unit, train.time_unit) == ("µm", "s")
    others = {"species": ("A", "B"), "select": ("B",), "spacing": 0.25, "boundary": ("zero",)}
    train = read("images", train=(str(path),), interval=7.0, **others)["train"]
    np.testing.assert_array_equal(train.times, [0.0, 7.0, 14.0])
    assert train.grid == Grid((8, 9), 0.25, "zero") and train.species == ("B",)
    assert (train.length_unit, train.time_unit) == ("", "")  # of the config's numbers
    np.testing.assert_allclose(train.values[0, ..., 0], film[:, 1] / 255, rtol=1e-6)
    train = read("images", train=(str(path),), times=(1, 2.5, 10))["train"]
    np.testing.assert_array_equal(train.times, [1.0, 2.5, 10.0])
    assert (train.length_unit, train.time_unit) == ("µm", "")


def test_several_films_are_several_trajectories(tmp_path):
    for number in range(3):
        Image.fromarray((FILM[number, ..., 0] * 255).astype(np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    files = [str(tmp_path / f"{number}.png") for number in range(3)]
    data = read("images", train=(str(tmp_path), (files[2], files[0], files[1])), test=(files,))
    gray = np.floor(FILM[..., :1] * 255) / 255
    expected = np.stack([gray, gray[[2, 0, 1]]])
    np.testing.assert_allclose(data["train"].values, expected, rtol=1e-6)
    np.testing.assert_allclose(data["test"].values, gray[None], rtol=1e-6)
    assert data["validation"] is data["train"]


@pytest.mark.parametrize("kind", ["range", "standard"])
def test_normalisation_is_that_of_the_training_data(tmp_path, kind):
    train, test = 3 + 2 * FILM, 10 * FILM[::-1] - 5
    paths = {"train": (save(tmp_path / "a.npy", train),), "test": (save(tmp_path / "b.npy", test),)}
    data = read("images", **paths, normalisation=kind)
    offset, scale = np.array(data["train"].offset), np.array(data["train"].scale)
    if kind == "range":
        np.testing.assert_allclose(offset, train.min((0, 1, 2)))
        np.testing.assert_allclose(data["train"].values.min((0, 1, 2, 3)), 0.0, atol=1e-6)
        np.testing.assert_allclose(data["train"].values.max((0, 1, 2, 3)), 1.0, rtol=1e-6)
    else:
        np.testing.assert_allclose(data["train"].values.mean((0, 1, 2, 3)), 0.0, atol=1e-5)
        np.testing.assert_allclose(data["train"].values.std((0, 1, 2, 3)), 1.0, rtol=1e-5)
    assert (data["test"].offset, data["test"].scale) == (tuple(offset), tuple(scale))
    for split, raw in (("train", train), ("test", test)):
        np.testing.assert_allclose(offset + scale * data[split].values[0], raw, atol=1e-5)


def colony_film(folder):
    """A disc that brightens, off the middle of a dim background; paths of it and of its mask."""
    y, x = np.indices((32, 40)) - np.reshape((14, 15), (2, 1, 1))
    disc = y**2 + x**2 <= 64
    frames = np.stack([np.where(disc, level, 0.01) for level in (0.5, 1.0)])
    frames[:, 14, 15] = 0.25
    return save(folder / "a.npy", frames[..., None]), save(folder / "a_mask.npy", disc)


def test_what_is_outside_a_mask_does_not_count(tmp_path):
    film, mask = colony_film(tmp_path)
    fields = {"mask": mask.replace("a_mask", "{name}_mask"), "normalisation": "range"}
    train = read("images", train=(film,), **fields)["train"]
    np.testing.assert_allclose((train.offset, train.scale), [[0.25], [0.75]])
    np.testing.assert_array_equal(train.mask[0], np.load(mask))
    assert train.values.min() == 0 and train.values.max() == 1


def test_what_is_outside_a_mask_is_closed_cleared_or_kept(tmp_path):
    film, _ = colony_film(tmp_path)
    fields = {"mask": "ellipse", "centre": "mask", "crop": 24, "padding": 2, "foreground.blur": 0.0}
    closed, cleared, kept = (
        read("images", train=(film,), exterior=exterior, **fields)["train"]
        for exterior in ("closed", "cleared", "kept")
    )
    assert closed.mask.shape == (1, 28, 28)
    assert closed.mask.sum() == pytest.approx(np.pi * 64, rel=0.08)
    assert np.abs(np.argwhere(closed.mask[0]).mean(0) - 13.5).max() <= 0.51
    assert cleared.mask is None and kept.mask is None
    inside = kept.values * closed.mask[:, None, ..., None]
    np.testing.assert_array_equal(closed.values, inside)
    np.testing.assert_array_equal(cleared.values, inside)
    assert kept.values[0, 0, 2, 2, 0] == np.float32(0.01)
    assert not kept.values[:, :, :2].any() and not kept.values[:, :, :, -2:].any()


def test_cells_beyond_the_picture_are_zero_in_normalised_units(tmp_path):
    path = save(tmp_path / "a.npy", 5 + FILM)
    train = read("images", train=(path,), normalisation="standard", padding=1, crop=10)["train"]
    inner = train.values[:, :, 2:-2, 1:-1]
    assert train.values.shape == (1, 3, 12, 12, 2)
    np.testing.assert_allclose(inner.mean((0, 1, 2)).sum(0), 0.0, atol=1e-4)
    assert train.values.sum() == pytest.approx(inner.sum(), abs=1e-3)
    np.testing.assert_allclose(train.offset, 5 + FILM.mean((0, 1, 2)), rtol=1e-5)


def test_the_built_in_logo_is_cut_out_of_its_background():
    fields = {"mask": "ellipse", "exterior": "cleared", "downsample": 12, "padding": 4}
    train = read("images", train=("skimage:logo",), **fields)["train"]
    assert train.values.shape == (1, 1, 49, 49, 4)
    assert train.species == ("red", "green", "blue", "alpha")
    alpha = train.values[0, 0, ..., 3]
    assert (
        alpha[24, 24] == 1 and not alpha[8, 8] and 0.01 < ((alpha > 0) & (alpha < 1)).mean() < 0.1
    )
    assert (train.values <= alpha[..., None] + 1e-6).all()


def test_colonies_of_two_panels_are_one_trajectory_with_gaps(tmp_path):
    def picture(name, *levels, centre=(16, 20), shape=(32, 40)):
        y, x = np.indices(shape) - np.reshape(centre, (2, 1, 1))
        frame = np.where((y**2 + x**2 <= 64)[..., None], np.array(levels), 0.0)
        Image.fromarray(frame.astype(np.uint8)).save(tmp_path / name)

    picture("a.png", 100, 50, 0, centre=(13, 15))
    picture("b.png", 200, 150, 0, centre=(17, 24))
    picture("c.png", 100, 0, 20)
    picture("d.png", 100, 0, 40, centre=(25, 9), shape=(36, 23))
    picture("e.png", 60, 0, 80)
    table = tmp_path / "table.csv"
    table.write_text(
        "file,time,panel,colony,split\na.png,0,A,1,\nb.png,0,A,2,\nc.png,0,B,1,\nd.png,5,B,1,\n"
        "e.png,9,B,1,test\n"
    )
    data = read(
        "panels",
        table=str(table),
        species="A: DAPI,SOX2,-; B: DAPI,-,BRA",
        mask="hull",
        centre="mask",
        crop=24,
        spacing=2.0,
        **{"foreground.marker": "DAPI", "foreground.blur": 0.0},
    )
    train = data["train"]
    assert train.species == ("DAPI", "SOX2", "BRA") and train.values.shape == (1, 2, 24, 24, 3)
    assert train.grid == Grid((24, 24), 2.0, "symmetric")
    np.testing.assert_array_equal(train.times, [0.0, 5.0])
    np.testing.assert_array_equal(train.known, [[[1, 1, 1], [1, 0, 1]]])
    expected = [[400 / 3, 100, 20], [100, 0, 40]]
    np.testing.assert_allclose(train.values[0, :, 12, 12] * 255, expected, rtol=1e-5)
    assert train.mask.sum() == pytest.approx(np.pi * 64, rel=0.1)
    assert data["validation"] is train
    np.testing.assert_array_equal(data["test"].times, [9.0])
    np.testing.assert_array_equal(data["test"].known, [[[1, 0, 1]]])
    np.testing.assert_allclose(data["test"].values[0, 0, 12, 12] * 255, [60, 0, 80], rtol=1e-5)


def test_predictions_begin_where_both_panels_were_seen(tmp_path):
    for name in "ab":
        Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / f"{name}.png")
    seen = zip("babab", (0, 5, 5, 10, 10), strict=True)
    lines = [f"{name}.png,{time},{name},{time}" for name, time in seen]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["file,time,panel,colony", *lines]))
    data = read("panels", table=str(table), species="a: A; b: B")
    np.testing.assert_array_equal(data["train"].times, [0, 5, 10])
    assert sorted(data["train"].known[0, 0]) == [0, 1]
    np.testing.assert_array_equal(data["test"].times, [5, 10])


def test_colonies_have_the_lengths_of_their_files_and_the_times_of_the_table(tmp_path):
    metadata = {"axes": "TYX", "PhysicalSizeX": 2.0, "TimeIncrement": 3.0}
    frame = (FILM[:1, ..., 0] * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", frame, photometric="minisblack", metadata=metadata)
    table = tmp_path / "table.csv"
    table.write_text("file,time,panel,colony\na.ome.tif,0,A,1\na.ome.tif,5,A,1\n")
    train = read("panels", table=str(table))["train"]
    assert (train.length_unit, train.time_unit) == ("µm", "")
    assert read("panels", table=str(table), spacing=1.0)["train"].length_unit == ""


def long_colonies(folder, degrees):
    """A table of pictures of one colony, four times as long as wide, turned by some angles."""
    y, x = np.indices((48, 48)) - np.reshape((23.5, 23.5), (2, 1, 1))
    lines = ["file,time,panel,colony"]
    for number, angle in enumerate(np.radians(degrees)):
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        picture = np.exp(-((along / 12) ** 2) - (across / 3) ** 2)
        save(folder / f"{number}.npy", picture[None, ..., None])
        lines.append(f"{number}.npy,0,A,{number}")
    path = folder / f"{len(degrees)}.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_turned_colonies_average_to_one_as_sharp_as_each(tmp_path):
    fields = {"mask": "hull", "exterior": "kept", "centre": "mask", "crop": 32}

    def average(degrees, **further):
        table = long_colonies(tmp_path, degrees)
        return read("panels", table=table, **fields, **further)["train"].values[0, 0, ..., 0]

    alone, degrees = average([0.0]), [0.0, 35.0, 80.0, 130.0]
    np.testing.assert_allclose(average(degrees, turn=True), alone, atol=0.05)
    assert np.abs(average(degrees) - alone).max() > 0.4


def test_colonies_of_other_sizes_leave_each_edge_as_bright_as_it_is(tmp_path):
    """A disc of radius 9 and one of 6, both of level 1 on nothing; kept, they fade outwards."""
    for number, radius in enumerate((9, 6)):
        y, x = np.indices((32, 32)) - np.reshape((15, 15), (2, 1, 1))
        disc = (y**2 + x**2 <= radius**2).astype(np.float32)
        save(tmp_path / f"{number}.npy", disc[None, ..., None])
    table = tmp_path / "table.csv"
    table.write_text("file,time,panel,colony\n0.npy,0,A,0\n1.npy,0,A,1\n")
    fields = {"table": str(table), "mask": "hull", "overlap": "union", "foreground.blur": 0.0}
    closed = read("panels", **fields)["train"]
    np.testing.assert_array_equal(np.unique(closed.values[:, 0][closed.mask > 0]), [1.0])
    kept = read("panels", **fields, exterior="kept")["train"]
    np.testing.assert_array_equal(np.unique(kept.values), [0.0, 0.5, 1.0])


def test_channels_that_were_not_seen_do_not_count_in_a_normalisation(tmp_path):
    for name, level in (("a", 4.0), ("b", 8.0), ("c", 6.0)):
        save(tmp_path / f"{name}.npy", level + np.arange(20.0).reshape(4, 5))
    table = tmp_path / "table.csv"
    table.write_text("file,time,panel,colony\na.npy,0,A,1\nb.npy,1,A,1\nc.npy,2,B,1\n")
    fields = {"table": str(table), "species": "A: x; B: y", "normalisation": "range"}
    train = read("panels", **fields)["train"]
    assert (train.offset, train.scale) == ((4.0, 6.0), (23.0, 19.0))
    assert not train.values[0, 2, ..., 0].any() and not train.values[0, :2, ..., 1].any()
    np.testing.assert_array_equal(train.known, [[[1, 0], [1, 0], [0, 1]]])


def test_what_was_not_seen_goes_through_a_file(tmp_path):
    save(tmp_path / "a.npy", FILM[:1])
    table = tmp_path / "table.csv"
    table.write_text("file,time,panel,colony\na.npy,0,A,1\n")
    train = read("panels", table=str(table), normalisation="standard")["train"]
    train.save_npz(tmp_path / "saved.npz")
    again = Trajectories.load_npz(tmp_path / "saved.npz")
    assert again.digest() == train.digest() != dataclasses.replace(train, known=None).digest()
    assert again.scale == train.scale != (1.0, 1.0)


@pytest.fixture
def files(tmp_path):
    """Films that do not fit one another, by name."""
    ome = tmp_path / "slow.ome.tif"
    metadata = {"axes": "TYX", "TimeIncrement": 9.0, "PhysicalSizeX": 2.0}
    film = (FILM[..., 0] * 255).astype(np.uint8)
    tifffile.imwrite(ome, film, photometric="minisblack", metadata=metadata)
    nan = FILM.copy()
    nan[1, 2, 3, 0] = np.nan
    arrays = {"film": FILM, "small": FILM[:, :4], "gray": FILM[..., 0], "nan": nan, "one": FILM[:1]}
    return {name: save(tmp_path / f"{name}.npy", array) for name, array in arrays.items()} | {
        "slow": str(ome)
    }


@pytest.mark.parametrize(
    ("names", "fields", "told"),
    [
        ((), {}, "data.images.train names no images"),
        (("film", "one"), {}, "one.npy has 1 frames, but .*film.npy 3 frames"),
        (("film", "gray"), {}, "gray.npy has the channels intensity, but .*film.npy"),
        (("gray", "slow"), {"interval": 1.0}, "slow.ome.tif has a pixel size of .*2.0, 2.0.* µm"),
        (("gray", "slow"), {"spacing": 1.0}, "slow.ome.tif has a time step of 9.0 s, but"),
        (("film", "nan"), {}, "nan.npy has 1 pixels that are NaN"),
        (("film",), {"select": (2,)}, "select asks for 2, but .*film.npy has 2 channels"),
        (("film",), {"species": ("A", "B", "C")}, "film.npy has 2 channels, .* names 3: A, B, C"),
        (("film",), {"times": (0.0, 1.0)}, "times has 2 entries, but .*film.npy 3 frames"),
        (("film",), {"times": (0.0, 5.0, 3.0)}, "from 5.0 to 3.0, while frames of .*film.npy"),
        (("film",), {"interval": -1.0}, "data.images.interval is -1.0"),
        (("film",), {"spacing": -1.0}, "data.images.spacing is -1.0"),
        (("film",), {"boundary": ("wall",)}, "data.images.boundary kind is 'wall'"),
        (("film",), {"axes": "TYX"}, "film.npy holds an array .* not the axes 'TYX'"),
        (("film",), {"crop": -2}, "data.images.crop is -2"),
        (("film",), {"mask": "none.png"}, "data.images.mask takes none, .*none.png is no file"),
    ],
    ids=str,
)
def test_data_that_cannot_work_are_told_in_one_sentence(files, names, fields, told):
    with pytest.raises(InputError, match=told) as error:
        read("images", train=tuple(files[name] for name in names), **fields)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_films_that_differ_in_what_the_config_overrules_fit(files):
    both = (files["gray"], files["slow"])
    train = read("images", train=both, interval=2.0, spacing=3.0, species=("A",))["train"]
    assert train.values.shape == (2, 3, 8, 9, 1) and train.grid.spacing == (3.0, 3.0)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (None, "data.panels.table names no table"),
        ("film.npy,0,A,1", "film.npy has 3 frames"),
        ("one.npy,0,A,1\nflat.npy,0,A,2", "flat.npy has frames of 4 x 9 pixels, but .*one.npy"),
        ("one.npy,0,A,1\nnone.npy,0,A,2", "table.csv, line 3, names none.npy"),
        ("one.npy,0,A,1\nbad.npy,0,A,2", "bad.npy cannot be read"),
        ("one.npy,0,A,1\nflat.npy,0,B,1", "flat.npy has frames of 4 x 9"),
    ],
    ids=str,
)
def test_tables_that_cannot_work_are_told_in_one_sentence(files, tmp_path, lines, told):
    save(tmp_path / "flat.npy", FILM[:1, :4])
    (tmp_path / "bad.npy").write_bytes(b"no array")
    table = tmp_path / "table.csv"
    table.write_text(f"file,time,panel,colony\n{lines}\n")
    with pytest.raises(InputError, match=told) as error:
        read("panels", table=str(table) if lines else "")
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


IMAGES, PANELS = {"data.name": "images"}, {"data.name": "panels"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data.name": "pictures"}, "data.name is 'pictures'; take one of .*gray_scott.*images"),
        ({"data.images.crop": 3}, "data.images.crop is set to 3, .* data.name is 'gray_scott'"),
        (PANELS | {"data.images.crop": 3}, "data.images.crop is set to 3"),
        (IMAGES | {"data.shape": (8, 8)}, "data.shape is set to .* read and not simulated"),
        (IMAGES | {"data.directory": "a"}, "data.directory is set to .* read and not simulated"),
        (IMAGES | {"data.gray_scott.alpha": 0.1}, "data.gray_scott.alpha is set to"),
        (IMAGES | {"data.images.centre": "left"}, "data.images.centre is 'left'; .*picture, mask"),
        (IMAGES | {"data.images.normalisation": "log"}, "normalisation is 'log'; .*none, range"),
        (IMAGES | {"data.images.exterior": "open"}, "exterior is 'open'; .*kept, cleared, closed"),
        (PANELS | {"data.panels.overlap": "any"}, "overlap is 'any'; take one of mean, union"),
        (IMAGES | {"data.images.foreground.background": "red"}, "background is 'red'"),
        (IMAGES | {"data.images.foreground.blur": 2.0}, "blur is set to 2.0, .*mask is 'none'"),
        (
            IMAGES | {"data.images.mask": "a.png", "data.images.foreground.blur": 2.0},
            "blur is set to 2.0, .*mask is 'a.png'",
        ),
        (IMAGES | {"data.images.exterior": "kept"}, "exterior is set to 'kept'"),
        (PANELS | {"data.panels.overlap": "union"}, "overlap is set to 'union'"),
        (
            IMAGES | {"data.images.times": (0, 1), "data.images.interval": 2.0},
            "interval is set to 2.0, .*times gives every frame its time",
        ),
        (
            IMAGES | {"optimiser.name": "nadam", "regulariser.outside": 1.0},
            "regulariser.outside .*data.images.mask is 'none'",
        ),
        (
            IMAGES
            | {"optimiser.name": "nadam", "regulariser.outside": 1.0}
            | {"data.images.mask": "hull", "data.images.exterior": "kept"},
            "regulariser.outside .*data.images.exterior is 'kept'",
        ),
    ],
    ids=str,
)
def test_fields_that_nothing_would_use_are_refused(changes, told):
    with pytest.raises(InputError, match=told) as error:
        configuration.check(tiny.config(**changes))
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_a_choice_is_refused_without_a_config_being_checked(files):
    config = tiny.config(**IMAGES | {"data.images.train": (files["film"],)})
    for field, value in (("normalisation", "log"), ("centre", "left")):
        changed = config.copy_and_resolve_references()
        changed.data.images[field] = value
        with pytest.raises(InputError, match=f"data.images.{field} is '{value}'"):
            SOURCES["images"](changed.data.images)


def test_files_of_a_config_come_back_out_of_json():
    files = (("a.png", "b.png"), "c")
    config = tiny.config(**IMAGES | {"data.images.train": files})
    again = configuration.from_json(configuration.to_json(config), "config.json")
    configuration.agree(again, config, "runs/a")
    configuration.agree(config, again, "runs/a")
    other = tiny.config(**IMAGES | {"data.images.train": ("a.png", "b.png", "c")})
    with pytest.raises(InputError, match=r"data.images.train is .* but the run in runs/a"):
        configuration.agree(other, config, "runs/a")


def test_a_first_frame_is_a_seed_or_flat(tmp_path):
    film = np.stack([np.full((2, 5, 7), 0.25), np.full((2, 5, 7), 0.5)], -1)
    fields = {"train": (save(tmp_path / "frames.npy", film),), "species": ("A", "B")}
    train = read("images", **fields, first_frame="B", interval=8.0)["train"]
    np.testing.assert_array_equal(train.times, [0.0, 8.0, 16.0])
    assert train.values[0, 0].sum() == 1.0 and train.values[0, 0, 2, 3, 1] == 1.0
    np.testing.assert_array_equal(train.values[0, 1:], film)
    flat = read("images", **fields, first_frame="mean")["train"]
    np.testing.assert_array_equal(flat.values[0, 0], film[0])
    with pytest.raises(InputError, match=r"'mean' or one of the channels of .*frames\.npy: A, B"):
        read("images", **fields, first_frame="alpha")
