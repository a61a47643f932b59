"""The page of a run in a browser: nothing fails, all loads, nothing overflows, and it prints."""

import base64
import dataclasses

import pytest
from browser import DESK, PHONE, browser, needs_browser
from tiny_reports import make_report

from diffpattern.report import page

pytestmark = [pytest.mark.slow, needs_browser, pytest.mark.xdist_group("test_page_in_browser")]

REPORTS = {
    "two_species": {"hidden": 4},
    "tiny_errors": {"hidden": 0},
    "colours": {"species": ("red", "green", "blue", "alpha"), "hidden": 12},
    "one_axis": {"shape": (40,), "hidden": 3},
    "long_names": {"species": ("phosphorylated_extracellular_kinase", "B")},
}
LOADED = """
const media = [...document.images, ...document.querySelectorAll("video")];
const loaded = (it) => it.naturalWidth > 0 || it.videoWidth > 0;
return Promise.all(media.map((it) => {
    if (it.tagName === "IMG") return it.decode();
    it.load();
    return new Promise((then) => { it.onloadeddata = then; it.onerror = then; });
})).then(() => media.map(loaded));
"""


@pytest.fixture(scope="module")
def window():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Each report as a file, by its name."""
    folder = tmp_path_factory.mktemp("pages")
    paths = {}
    for name, settings in REPORTS.items():
        report = make_report(moving=True, **settings)
        if name == "tiny_errors":
            nearly = [(truth, truth.values + 1.234e-7) for truth, _ in report.lattices]
            report = dataclasses.replace(report, lattices=nearly)
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(page.render(report))
    return paths


def are_dark(window):
    """Whether the charts that are seen are drawn in light ink."""
    seen = window.evaluate(
        "return [...document.images].filter((it) => getComputedStyle(it).display !== 'none')"
        ".map((it) => it.src)"
    )
    charts = [uri for uri in seen if uri.startswith("data:image/svg+xml")]
    return {b"#e7eaee" in base64.b64decode(uri.partition(",")[2]) for uri in charts}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("name", REPORTS)
def test_all_loads_and_nothing_fails_or_overflows(window, pages, name, size, dark):
    window.open(pages[name], size, dark=dark, touch=size == PHONE)
    loaded = window.evaluate(LOADED)
    assert len(loaded) > 30 and all(loaded)
    assert window.errors() == []
    assert window.evaluate("return document.scrollingElement.scrollWidth") <= size[0]
    ground = window.evaluate("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
    assert are_dark(window) == {dark}


def test_labels_do_not_run_into_pictures_on_a_phone(window, pages):
    window.open(pages["tiny_errors"], PHONE, touch=True)
    wider = window.evaluate(
        "return [...document.querySelectorAll('.tiles > div')]"
        ".filter((it) => it.scrollWidth > it.clientWidth + 1).map((it) => it.textContent)"
    )
    assert wider == []


def test_videos_play(window, pages):
    window.open(pages["two_species"])
    ends = window.evaluate(
        """
        const video = document.querySelector("video");
        video.playbackRate = 8;
        return video.play().then(() => new Promise((then) => {
            video.onended = () => then([video.currentTime, video.videoWidth, video.videoHeight]);
        }));
        """
    )
    assert ends[0] == pytest.approx(4.0, abs=0.2)
    assert ends[1] > 300 and ends[2] > 300


def test_it_prints_on_pages_in_light_colours(window, pages):
    window.open(pages["two_species"], dark=True)
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    on_paper = {"media": "print", "features": [scheme]}
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", on_paper)
    assert are_dark(window) == {False}
    moving = window.evaluate("return getComputedStyle(document.querySelector('.moving')).display")
    assert moving == "none"
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    printed = window.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") >= 3
