"""What a person meets on the page: hands, keys, sizes, colours, and words where it cannot run."""

import re
from pathlib import Path

import explored
import numpy as np
import pytest
from browser import DESK, PHONE, browser, needs_browser
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from diffpattern import export
from diffpattern.configs import rules
from diffpattern.data.trajectories import Trajectories
from diffpattern.explorer import page
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.run_folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser"), needs_browser]

GROW = Path(__file__).parent.parent / "runs" / "grow"
CELLS, RED_TO_ALPHA = 32, slice(0, 4)


@pytest.fixture(scope="module")
def window():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def rule():
    """A picture that grows out of one cell: `configs/grow.py`, as `explored.keep` has kept it."""
    return explored.kept(GROW)


@pytest.fixture(scope="module")
def grown(rule, tmp_path_factory):
    """Its page."""
    return explored.written(rule, tmp_path_factory.mktemp("grown"))


def state_of(window, rows=CELLS, columns=CELLS, channels=16):
    return explored.read(window, (rows, columns, channels))


def pause(window):
    window.evaluate("if (explorer.playing) explorer.act('play')")


def plain_page(folder, values, boundary="symmetric", species=("A", "B"), channels=3, **fields):
    """The page of a small automaton, whose data are one lattice [rows, columns, C] that rests."""
    config = rules.get_config("plain")
    config.model.nca.channels, config.model.nca.network.hidden = channels, (4,)
    values = np.broadcast_to(values, (1, 2, *values.shape))
    grid = Grid(values.shape[2:4], 1.0, boundary)
    data = Trajectories(values, [0.0, 16.0], species, grid, **fields)
    return explored.written(explored.restored(config, data, 0.1), folder)


def pixel(window, row, column):
    """The colour of a cell's middle on the canvas."""
    return window.evaluate(
        "const {gl, canvas, engine} = explorer, found = new Uint8Array(4);"
        "const at = (place, cells, pixels) => Math.floor((place + 0.5) / cells * pixels);"
        "explorer.draw();"
        "gl.readPixels(at(arguments[1], engine.columns, canvas.width),"
        "  at(engine.rows - 1 - arguments[0], engine.rows, canvas.height), 1, 1, gl.RGBA,"
        "  gl.UNSIGNED_BYTE, found);"
        "return [...found.subarray(0, 3)];",
        row,
        column,
    )


def middle_of_lattice(window):
    """The middle of the canvas, and the width of a cell, in the window's pixels."""
    left, top, width, height = window.evaluate(
        "const box = explorer.canvas.getBoundingClientRect();"
        "return [box.left, box.top, box.width, box.height];"
    )
    return left + width / 2, top + height / 2, width / CELLS


@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "finger"])
def test_a_drag_erases_cells_that_regrow(window, rule, grown, touch):
    picture = rule.truth[0].values[0, -1]
    error = lambda state: np.square(state[..., RED_TO_ALPHA] - picture).mean()
    window.open(grown, PHONE if touch else DESK, touch=touch)
    pause(window)
    window.evaluate("explorer.restart(); explorer.engine.settings.seed = 1; explorer.step(160);")
    whole = state_of(window)
    assert error(whole) < 0.005 < error(np.zeros_like(whole)) / 5
    x, y, cell = middle_of_lattice(window)
    window.drag([(x - 8 * cell, y), (x, y), (x + 8 * cell, y)], touch=touch)
    damaged = state_of(window)
    erased = (damaged == 0).all(-1) & (whole[..., 3] > 0.1)
    assert erased[CELLS // 2, 9:23].all() and not erased[2:6].any()
    assert error(damaged) > 5 * error(whole)
    window.evaluate("explorer.step(250)")
    healed = state_of(window)
    assert error(healed) < 2 * error(whole)
    assert window.errors() == []


def test_paint_and_seed_change_what_is_under_the_brush(window, grown):
    window.open(grown)
    pause(window)
    window.evaluate("explorer.restart(); explorer.engine.load(new Float32Array(32 * 32 * 16));")
    x, y, cell = middle_of_lattice(window)
    window.evaluate("explorer.act('brush', 'seed'); explorer.act('radius', 1);")
    window.drag([(x + cell / 2, y + cell / 2)] * 2)
    seeded = state_of(window)
    assert np.argwhere(seeded[..., 3]).tolist() == [[16, 16]]
    assert (seeded[16, 16, 3:] == 1).all()
    window.evaluate("explorer.act('channel', 2); explorer.act('brush', 'paint');")
    window.evaluate("explorer.act('radius', 3); explorer.act('paint', 0.5);")
    window.drag([(x - 8 * cell, y)] * 2)
    painted = state_of(window)
    changed = (painted != seeded).any(-1)
    middle = window.evaluate("return (explorer.ranges[1][0] + explorer.ranges[1][1]) / 2")
    assert 20 < changed.sum() < 40
    np.testing.assert_allclose(painted[changed][:, 1], middle, rtol=1e-6)
    assert (np.delete(painted, 1, axis=-1) == np.delete(seeded, 1, axis=-1)).all()


def test_keys_do_all_that_hands_do(window, grown):
    window.open(grown)
    pause(window)
    press = lambda key: window.evaluate(
        "(arguments[1] ? explorer.canvas : document.body).dispatchEvent(new KeyboardEvent("
        "'keydown', {key: arguments[0], bubbles: true, cancelable: true}));",
        key,
        key.startswith("Arrow") or key == "Enter",
    )
    steps = lambda: window.evaluate("return explorer.engine.steps")
    window.evaluate("explorer.act('speed', 0)")
    press("r")
    assert steps() == 0
    press(".")
    assert steps() == 1
    press("+")
    assert window.evaluate("return explorer.speed") == 2
    for _ in range(7):
        press("-")
    assert window.evaluate("return explorer.speed") == 1 / 16
    assert window.evaluate("return document.getElementById('speedShown').textContent") == (
        "1 step every 16 frames"
    )
    press("+")
    # At a step every 8 frames, 17 frames make two; none waits for the one before.
    window.evaluate(
        "explorer.restart(); [explorer.due, explorer.playing] = [0, true];"
        "for (let n = 0; n < 17; n++) { explorer.fence = null; explorer.frame(); }"
        "explorer.playing = false;"
    )
    assert steps() == 2
    window.evaluate("explorer.act('speed', 1); explorer.restart();")
    press("p")
    assert window.evaluate("return document.querySelector('[name=brush]:checked').value") == "paint"
    press("d")
    press("]")
    assert window.evaluate("return explorer.brush.radius") == 6
    press("c")
    assert window.evaluate("return document.getElementById('channel').selectedOptions[0].text") == (
        "red"
    )
    for _ in range(3):
        press("ArrowRight")
    window.evaluate("explorer.engine.load(new Float32Array(32 * 32 * 16).fill(1))")
    press("Enter")
    erased = np.argwhere((state_of(window) == 0).all(-1))
    assert erased.mean(0).tolist() == [16, 19]
    press(" ")
    assert window.evaluate("return explorer.playing")


def test_numbers_and_colours_are_the_data_s_where_the_rule_s_are_normalised(window, tmp_path):
    lattice = np.full((8, 8, 3), 0.5)
    lattice[2, 5] = 1.0
    units = {"offset": (0.0, 0.1, 0.0), "scale": (1.0, 0.4, 0.2)}
    path = plain_page(tmp_path, lattice, species=("red", "green", "blue"), channels=4, **units)
    window.open(path)
    pause(window)
    window.evaluate("explorer.restart()")
    assert pixel(window, 6, 1) == pytest.approx([127.5, 76.5, 25.5], abs=1)
    assert pixel(window, 2, 5) == pytest.approx([255, 127.5, 51], abs=1)
    read = "return document.getElementById('under').textContent"
    window.evaluate("explorer.pointed = {row: 2, column: 5};")
    window.evaluate("return new Promise((done) => setTimeout(done, 500))")
    assert window.evaluate(read).endswith("red 1, green 0.5, blue 0.2")
    window.evaluate("explorer.act('channel', 2); explorer.act('fit');")
    assert window.evaluate("return explorer.ranges[1]") == pytest.approx([0.3, 0.5], abs=1e-4)
    ends = [window.evaluate(f"return bytesOf(RULE.maps[0].data)[{n}]") for n in range(3)]
    assert pixel(window, 6, 1) == pytest.approx(ends, abs=1)
    window.evaluate("explorer.act('brush', 'paint'); explorer.act('radius', 1);")
    window.evaluate("explorer.act('paint', 0.5); explorer.paint(6, 1);")
    assert state_of(window, 8, 8, 4)[6, 1, 1] == pytest.approx((0.4 - 0.1) / 0.4, abs=1e-3)
    window.evaluate("explorer.act('channel', 0); explorer.paint(6, 1);")
    assert pixel(window, 6, 1) == pytest.approx([127.5] * 3, abs=1)
    assert window.errors() == []


def test_a_step_that_is_too_long_is_told_and_forgotten(window, tmp_path):
    values = np.random.default_rng(0).uniform(0.2, 0.8, (1, 2, 12, 8, 2))
    data = Trajectories(values, [0.0, 16.0], ("A", "B"), Grid((12, 8), 1.0))
    rule = explored.restored(rules.get_config("polynomial"), data, 0.1)
    window.open(explored.written(rule, tmp_path))
    told = lambda: window.evaluate(
        "return new Promise((done) => setTimeout(() => {"
        "const lost = document.getElementById('lost');"
        "done(lost.hidden ? '' : lost.textContent);}, 1500))"
    )
    first = window.evaluate("return explorer.ranges[0]")
    window.evaluate("explorer.act('restart')")
    assert told() == ""
    window.evaluate("explorer.engine.settings.stepSize = 1e4")
    assert re.match(r"By step \d+ the rule had left the finite numbers", told())
    assert window.evaluate(
        "const [line, lattice] = ['lost', 'lattice'].map((id) =>"
        "document.getElementById(id).getBoundingClientRect());"
        "return line.height > 20 && line.top > lattice.top && line.right < lattice.right;"
    )
    window.evaluate("explorer.act('fit')")
    assert np.isnan(state_of(window, 12, 8, 2)).all()
    assert window.evaluate("return explorer.ranges[0]") == first
    window.evaluate("explorer.ranges[0] = [-1e30, 1e30]")
    window.evaluate("explorer.act('stepSize', 1); explorer.act('restart');")
    assert told() == "" and window.evaluate("return explorer.ranges[0]") == first
    # One cell is enough, and so is its last channel.
    pause(window)
    window.evaluate("explorer.engine.edit(7, 11, 1, 1, (cell) => { cell[1] = Infinity; });")
    window.evaluate("explorer.changed = true")
    assert told()
    assert window.errors() == []


def test_the_brush_stays_inside_of_a_mask(window, tmp_path):
    mask = np.zeros((1, 12, 12))
    mask[0, 2:10, 2:10] = 1
    lattice = np.full((12, 12, 2), 0.98)
    lattice[5, 6] = 0.3
    window.open(plain_page(tmp_path, lattice, mask=mask))
    pause(window)
    window.evaluate("explorer.restart(); explorer.act('radius', 24);")
    before = state_of(window, 12, 12, 3)
    outside = mask[0] == 0
    window.evaluate("explorer.paint(5, 5)")
    damaged = state_of(window, 12, 12, 3)
    np.testing.assert_allclose(damaged[~outside], [[0.98, 0.98, 0.0]] * 64, rtol=1e-4)
    np.testing.assert_array_equal(damaged[outside], before[outside])
    # What is outside is grey, and counts in no range; nor is it read.
    assert pixel(window, 0, 0) == [150] * 3 != pixel(window, 5, 5)
    window.evaluate("explorer.act('fit'); explorer.pointed = {row: 1, column: 2};")
    assert window.evaluate("return explorer.ranges[0]") == pytest.approx([0.48, 1.48], abs=1e-3)
    window.evaluate("return new Promise((done) => setTimeout(done, 500))")
    assert window.evaluate("return document.getElementById('under').textContent") == (
        "row 1, column 2: outside of the mask"
    )
    assert window.evaluate("return !document.getElementById('sizeTold').hidden")
    # A seed is the piece about the cell that differs most from the others inside.
    window.evaluate("explorer.act('brush', 'seed'); explorer.paint(8, 3);")
    seeded = (state_of(window, 12, 12, 3)[..., 0] < 0.5) & ~outside
    assert np.argwhere(seeded).tolist() == [[8, 3]]
    window.evaluate("explorer.act('brush', 'paint'); explorer.paint(5, 5);")
    np.testing.assert_array_equal(state_of(window, 12, 12, 3)[outside], before[outside])
    assert window.errors() == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_what_is_offered_is_offered_once_and_in_full(window, tmp_path, size):
    lattice = np.random.default_rng(0).uniform(0.2, 0.8, (64, 64, 2))
    boundary = ((Boundary("value", 1.0), "symmetric"), "circular")
    window.open(plain_page(tmp_path, lattice, boundary), size)
    names = lambda: window.evaluate(
        "return [...document.querySelectorAll('select')].map("
        "(one) => [one.id, [...one.options].map((option) => option.text)])"
    )
    offered = dict(names())
    assert offered["size"][:3] == ["64 \u00d7 64 (data)", "96 \u00d7 96", "128 \u00d7 128"]
    assert all(len(set(texts)) == len(texts) for texts in offered.values())
    assert offered["walls"][:2] == ["as trained", "torus"] and len(offered["walls"]) == 5
    assert window.evaluate("return document.getElementById('wallsTold').textContent") == (
        "Trained with: top given value, bottom mirror (no flux); left and right torus"
    )
    cut = window.evaluate(
        "return [...document.querySelectorAll('select')].filter((one) => {"
        "const wide = one.cloneNode(true);"
        "Object.assign(wide.style, {width: 'max-content', position: 'absolute'});"
        "one.parentNode.append(wide);"
        "const missing = one.offsetParent && wide.offsetWidth > one.offsetWidth;"
        "wide.remove(); return missing;}).map((one) => one.id)"
    )
    assert cut == []
    window.open(plain_page(tmp_path, lattice[:6, :8], "symmetric"), size)
    assert "mirror (no flux)" not in dict(names())["walls"]
    window.evaluate("explorer.act('size', 1)")
    assert state_of(window, 64, 64, 3).shape == (64, 64, 3)
    assert window.evaluate("return document.getElementById('size').selectedOptions[0].text") == (
        "64 \u00d7 64"
    )
    assert window.errors() == []


def test_lattice_and_brush_go_on_as_each_axis_does(window, tmp_path):
    lattice = np.random.default_rng(0).uniform(0.2, 0.8, (16, 24, 2))
    window.open(plain_page(tmp_path, lattice, boundary=("symmetric", "circular")))
    pause(window)
    window.evaluate("explorer.act('size', 1)")
    expected = np.pad(lattice, ((0, 16), (0, 0), (0, 0)), "symmetric")
    expected = np.tile(expected, (2, 3, 1))[:64, :64]
    np.testing.assert_allclose(state_of(window, 64, 64, 3)[..., :2], expected, atol=1e-4)
    # In x the brush comes in at the other side, in y it ends.
    window.evaluate("explorer.act('size', 0); explorer.act('radius', 2); explorer.act('paint', 1);")
    window.evaluate("explorer.engine.load(new Float32Array(16 * 24 * 3));")
    window.evaluate("explorer.act('brush', 'paint'); explorer.paint(0, 0);")
    places = np.argwhere(state_of(window, 16, 24, 3)[..., 0]).tolist()
    disc = {(0, x) for x in (22, 23, 0, 1, 2)} | {(1, x) for x in (23, 0, 1)} | {(2, 0)}
    assert set(map(tuple, places)) == disc
    # Walls that are chosen count for it, too, and seeds take their piece of the start likewise.
    window.evaluate(
        "explorer.act('walls', 3); explorer.engine.load(new Float32Array(16 * 24 * 3));"
    )
    window.evaluate("explorer.paint(0, 0)")
    assert np.argwhere(state_of(window, 16, 24, 3)[..., 0]).max(0).tolist() == [2, 2]
    window.evaluate(
        "explorer.act('walls', 0); [explorer.seed.row, explorer.seed.column] = [0, 23];"
    )
    window.evaluate("explorer.act('brush', 'seed'); explorer.paint(8, 8);")
    seeded = state_of(window, 16, 24, 3)[..., :2]
    np.testing.assert_allclose(seeded[8, 9:11], lattice[0, :2], atol=1e-4)
    assert (seeded[7, 8] == 0).all()
    assert window.errors() == []


@pytest.mark.parametrize("ended_with", [Keys.ENTER, Keys.TAB], ids=["enter", "tab"])
def test_the_ends_of_the_colours_are_what_is_typed(window, grown, ended_with):
    window.open(grown)
    window.evaluate("explorer.act('channel', 2)")
    ends = lambda: window.evaluate("return explorer.ranges[1]")
    first, last = (window.driver.find_element(By.ID, name) for name in ("lowest", "highest"))
    for field, text in [(first, "0.05"), (last, "0.25"), (first, "-0.5"), (last, "1e-3")]:
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)
        field.send_keys(ended_with)
        assert ends()[field == last] == float(text)
    assert ends() == [-0.5, 0.001]
    assert window.evaluate("return document.getElementById('low').textContent") == "\u22120.5"
    last.send_keys(Keys.CONTROL, "a")
    last.send_keys(Keys.BACKSPACE, ended_with)
    assert ends() == [-0.5, 0.001] and float(last.get_property("value")) == 0.001
    assert window.errors() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_it_fits_its_window_and_runs_without_errors(window, grown, size, dark):
    window.open(grown, size, dark=dark, touch=size == PHONE)
    assert window.overflow() <= 0
    ground = window.evaluate("return getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) > 384
    assert light is not dark
    window.evaluate("explorer.act('speed', 0)")
    started = window.evaluate("return explorer.engine.steps")
    window.evaluate("return new Promise((done) => setTimeout(done, 400))")
    assert window.evaluate("return explorer.engine.steps") > started
    unnamed = window.evaluate(
        "return [...document.querySelectorAll('input, select, button, canvas')].filter((one) =>"
        "!one.labels?.length && !one.textContent.trim() && !one.ariaLabel).map((one) => one.id)"
    )
    assert unnamed == []
    assert window.errors() == []


def test_it_runs_on_a_large_lattice(window, grown):
    window.open(grown)
    pause(window)
    window.evaluate("explorer.act('size', 5); explorer.step(2);")
    state = state_of(window, 256, 256)
    assert np.isfinite(state).all()
    rows, columns = np.nonzero(state[..., 3])
    assert abs(rows.mean() - 128) < 2 and abs(columns.mean() - 128) < 2
    assert window.errors() == []


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ("HTMLCanvasElement.prototype.getContext = () => null;", "no WebGL2"),
        ("WebGL2RenderingContext.prototype.getExtension = () => null;", "EXT_color_buffer_float"),
    ],
    ids=["webgl", "floats"],
)
def test_what_a_browser_lacks_is_said(window, grown, tmp_path, lacking, told):
    less = tmp_path / "less.html"
    less.write_text(grown.read_text().replace('"use strict";', f'"use strict"; {lacking}'))
    window.open(less)
    assert told in window.evaluate("return document.getElementById('trouble').innerText")
    assert window.evaluate("return explorer.querySelector('.stage').hidden")
    assert "Each cell sees" in window.evaluate("return document.body.innerText")
    assert window.errors() == []


def test_it_is_small_without_its_starts(rule, tmp_path):
    exploration = export.explore(rule, RunFolder(tmp_path))
    assert len(page.render(exploration)) < 1_000_000
