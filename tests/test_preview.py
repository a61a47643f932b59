"""What a config would train on, in words and in a picture."""

import dataclasses
import io

import hdf5_files
import matplotlib
import numpy as np
import pytest
import tifffile
import tiny
from PIL import Image

from diffpattern import dataset, preview
from diffpattern.data.simulation import SPLITS
from diffpattern.data.trajectories import Trajectories
from diffpattern.grid.geometry import Grid

# The ends of viridis; grey.
LOW, HIGH = (matplotlib.colormaps["viridis"](end, bytes=True)[:3] for end in (0.0, 1.0))
LOW, HIGH, NOT_THERE = tuple(map(int, LOW)), tuple(map(int, HIGH)), (200, 204, 209)


def halves(space=(6, 8), count=2, snapshots=4, species=("A", "B"), **given):
    """Trajectories that are 0 on the left half and 1 on the right one; twice that in others."""
    row = np.repeat([0.0, 1.0], space[-1] // 2)
    values = np.broadcast_to(row[:, None], (count, snapshots, *space, len(species)))
    values = values * (1.0 + np.arange(len(species)))
    return Trajectories(values, 2.0 * np.arange(snapshots), species, Grid(space, 0.5), **given)


def lines(data, config=None):
    return preview.describe(config or tiny.config(), dict.fromkeys(SPLITS, data)).splitlines()


def drawn(data):
    picture = Image.open(io.BytesIO(preview.picture(tiny.config(), dict.fromkeys(SPLITS, data))))
    assert picture.format == "PNG"
    return picture.convert("RGB")


def pixels(data):
    """How many pixels of the picture have each colour, and how many there are."""
    picture = drawn(data)
    counts = picture.getcolors(picture.width * picture.height)
    return {colour: count for count, colour in counts}, picture.width * picture.height


def test_sizes_and_numbers_are_told():
    told = lines(halves(), tiny.config(**{"training.window": 3, "training.batch": 5}))
    assert told[0] == (
        "gray_scott: A, B on 6 x 8 cells, 0.5 apart, that is 3 x 4 units of length; walls circular"
    )
    assert told[1] == "A train step sees 5 windows of 4 snapshots, out of 1 in each trajectory."
    pool = tiny.config(**{"training.starts": "pool", "training.pool.slots": 3, "training.batch": 5})
    assert lines(halves(), pool)[1].endswith("begin with as many of the pool's 15 lattices.")
    train = told.index(
        "train: 2 trajectories of 4 snapshots, from t = 0 to 6 units of time, 2 apart"
    )
    header, first, second = told[train + 1 : train + 4]
    assert header.split() == ["lowest", "highest", "mean", "deviation", "missing"]
    assert first.split() == ["A", "0", "1", "0.5", "0.5", "none"]
    assert second.split() == ["B", "0", "2", "1", "1", "none"]
    assert {line.partition(":")[0] for line in told if not line.startswith(" ")} > set(SPLITS)


def test_windows_that_show_nothing_are_not_counted():
    known = np.ones((2, 6, 2))
    known[:, [1, 3, 4]] = 0
    known[1, 2] = 0
    for window, places in ((1, "0"), (2, "0 to 1"), (5, "1")):
        data = halves(snapshots=6, known=known)
        told = lines(data, tiny.config(**{"training.window": window}))[1]
        assert told.endswith(f"out of {places} in each trajectory.")


def test_walls_of_two_kinds_are_told_by_both():
    grid = Grid((6, 8), boundary=[("zero", "symmetric"), "circular"])
    told = lines(dataclasses.replace(halves(), grid=grid))
    assert told[0].endswith("walls zero and symmetric, circular")


def test_one_trajectory_and_uneven_times():
    data = dataclasses.replace(halves(count=1), times=[1.0, 2.0, 4.0, 8.0])
    assert (
        "test: 1 trajectory of 4 snapshots, from t = 1 to 8 units of time, 1 to 4 apart"
        in lines(data)
    )


def test_what_is_missing_or_outside_does_not_count_and_is_told():
    known = np.ones((2, 4, 2))
    known[0, 1:, 1] = 0
    mask = np.zeros((2, 6, 8))
    mask[0, :, 4:] = mask[1, :, :] = 1
    told = lines(halves(known=known, mask=mask))
    assert told[5].split() == ["A", "0", "1", "0.6667", "0.4714", "none"]
    # Of B one snapshot of 2 and four of 0 and 2 are left.
    assert told[6].split()[:3] == ["B", "0", "2"]
    assert float(told[6].split()[3]) == pytest.approx((24 * 2 + 4 * 24 * 2) / (24 + 4 * 48), 1e-3)
    assert told[6].endswith("3 of 8 snapshots")
    assert told[7] == "  Masks leave 50% to 100% of the cells."
    known[..., 1] = 0
    assert lines(halves(known=known))[6].split() == ["B", "never", "seen", "8", "of", "8"] + [
        "snapshots"
    ]


def test_units_environments_and_inputs_are_told():
    told = lines(
        halves(
            offset=(5.0, 0.0),
            scale=(100.0, 1.0),
            environment=np.zeros((2, 6, 8, 3)),
            inputs=[[0.5], [0.25]],
        )
    )
    assert "  In the data's own units: A = 5 + 100 * value." in told
    assert "  Cells see 3 more fields, which do not change." in told
    assert "  Cells are told 1 numbers from 0.25 to 0.5." in told
    table = halves(inputs=np.ones((2, 4, 2)), input_times=np.arange(4.0))
    assert "  Cells are told 2 numbers, which change over time, from 1 to 1." in lines(table)


def test_names_of_units_are_told_where_they_are_known():
    told = lines(halves(length_unit="µm", time_unit="h"))
    assert told[0].endswith("6 x 8 cells, 0.5 µm apart, that is 3 x 4 µm; walls circular")
    assert "train: 2 trajectories of 4 snapshots, from t = 0 to 6 h, 2 apart" in told


@pytest.mark.parametrize("header", ["ome", "imagej"])
def test_units_come_from_the_file(tmp_path, capsys, header):
    film = (np.random.default_rng(0).random((3, 8, 6)) * 255).astype(np.uint8)
    path = tmp_path / "film.tif"
    if header == "ome":
        metadata = {"axes": "TYX", "PhysicalSizeX": 2.0, "PhysicalSizeXUnit": "nm"}
        metadata |= {"TimeIncrement": 3.0, "TimeIncrementUnit": "min"}
        path = path.with_suffix(".ome.tif")
        tifffile.imwrite(path, film, photometric="minisblack", metadata=metadata)
    else:
        metadata = {"axes": "TYX", "unit": "nm", "finterval": 3.0, "tunit": "min"}
        tifffile.imwrite(path, film, imagej=True, resolution=(0.5, 0.5), metadata=metadata)
    config = tiny.config(**{"data.name": "images", "data.images.train": (str(path),)})
    preview.show(config, tmp_path)
    out = capsys.readouterr().out
    assert "8 x 6 cells, 2 nm apart, that is 16 x 12 nm;" in out
    assert "from t = 0 to 6 min, 3 apart" in out


def test_data_in_files_are_told_from_a_sample_and_drawn(tmp_path):
    path = hdf5_files.the_well(tmp_path / "set.hdf5", {"A": hdf5_files.numbered(6, 9)})
    config = tiny.config(
        **{
            "data.name": "the_well",
            "data.the_well.train": path,
            "data.the_well.validation_trajectories": 1,
            "data.the_well.test_trajectories": 1,
            "data.the_well.statistics_windows": 7,
        }
    )
    preview.show(config, tmp_path / "new")
    (data,) = dataset.load(config)
    told = preview.describe(config, data).splitlines()
    assert told[3].startswith("train: 4 trajectories of 9 snapshots, from t = 0 to 80")
    assert told[4] == "  They stay in their files; these numbers are of 7 sample windows."
    assert float(told[6].split()[2]) == pytest.approx(data["train"].sample.values.max(), rel=1e-3)
    assert Image.open(tmp_path / "new" / "data.png").size[1] > 300


def test_what_is_shown_is_printed_and_its_place_too(tmp_path, monkeypatch, capsys):
    data = dict.fromkeys(SPLITS, halves())
    monkeypatch.setattr(dataset, "load", lambda config: (data,))
    preview.show(tiny.config(), tmp_path)
    out = capsys.readouterr().out
    assert preview.describe(tiny.config(), data) in out
    assert out.endswith(f"Picture: {tmp_path / 'data.png'}\n")
    content = (tmp_path / "data.png").read_bytes()
    assert content == preview.picture(tiny.config(), data)


def test_the_picture_has_the_data_in_it():
    colours, everything = pixels(halves())
    assert colours[LOW] > 0.1 * everything
    assert colours[LOW] == pytest.approx(colours[HIGH], rel=0.05)
    assert NOT_THERE not in colours


def test_what_is_not_there_is_grey():
    mask = np.zeros((2, 6, 8))
    mask[:, 3:] = 1
    masked, _ = pixels(halves(mask=mask))
    assert masked[NOT_THERE] == pytest.approx(masked[LOW] + masked[HIGH], rel=0.05)
    known = np.ones((2, 4, 2))
    known[:, 1:] = 0
    unseen, _ = pixels(halves(known=known))
    assert unseen[NOT_THERE] == pytest.approx(3 * (unseen[LOW] + unseen[HIGH]), rel=0.05)


@pytest.mark.parametrize("space", [(8,), (4, 6, 8)])
def test_one_and_three_axes_have_pictures(space):
    colours, _ = pixels(halves(space))
    assert colours[LOW] == pytest.approx(colours[HIGH], rel=0.1)


def test_a_large_set_has_a_picture_of_moderate_size():
    few = drawn(halves(snapshots=6, species=tuple("ABCDEF")))
    many = drawn(halves(count=9, snapshots=40, species=tuple("ABCDEFGHIJ")))
    assert many.size == few.size


def test_data_without_a_contrast_are_drawn():
    colours, _ = pixels(dataclasses.replace(halves(), values=np.full((2, 4, 6, 8, 2), 3.0)))
    assert colours[LOW] > 0
