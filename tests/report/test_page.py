"""The page as a browser would take it apart."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from tiny_reports import make_report

from diffpattern.report import images, page
from diffpattern.report.chapters import (
    damage,
    errors,
    hidden,
    kymographs,
    pictures,
    results,
    rule,
    spectra,
)

VOID = {"meta", "img", "source", "br", "link"}
EQUATION = {
    "A": [
        {"term": "A B^2", "coefficient": -1.0, "standard_error": 1e-4, "determined": True},
        {"term": "B^3", "coefficient": 0.3, "standard_error": 0.9, "determined": False},
    ],
    "B": [{"term": "A B^2", "coefficient": 1.0, "standard_error": None, "determined": True}],
}
DIFFUSION = {
    "diffusion": {"A": 0.1, "B": 0.05},
    "diffusion_standard_error": {"A": 1e-4, "B": 1e-4},
}


class Page(HTMLParser):
    """Collects elements and text, and notices tags that are closed out of order."""

    def __init__(self, content):
        super().__init__()
        self.open, self.attributes, self.words = [], [], []
        self.feed(content)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.words))
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def values(self, *names):
        return [value for _, name, value in self.attributes if name in names]


def decoded(uri):
    kind, content = re.fullmatch(r"data:\w+/([a-z0-9+]+);base64,([A-Za-z0-9+/=]+)", uri).groups()
    content = base64.b64decode(content, validate=True)
    if kind == "svg+xml":
        return kind, ElementTree.fromstring(content)
    if kind == "mp4":
        return kind, content
    image = Image.open(io.BytesIO(content))
    image.load()
    assert image.format.lower() == kind
    return kind, image


def test_every_picture_is_inside_the_file_and_can_be_decoded():
    rendered = Page(page.render(make_report(moving=True)))
    kinds = [decoded(uri)[0] for uri in rendered.values("src", "srcset")]
    assert kinds.count("gif") == 1
    # Errors, spectra and wavelengths of two species, and the loss, in light and in dark.
    assert kinds.count("svg+xml") == 14
    tiles = [value for value in rendered.values("alt") if "difference, t =" in value]
    assert len(tiles) == 2 * len(images.chosen_times(make_report().lattices[0][0].times))


def test_nothing_is_fetched():
    content = page.render(make_report())
    rendered = Page(content)
    assert not {tag for tag, _, _ in rendered.attributes} & {"script", "link", "iframe"}
    assert all(value.startswith("#") for value in rendered.values("href"))
    assert not re.search(r"url\(|@import|https?://", content)


def test_units_are_told_where_there_is_something_to_tell():
    report = make_report()
    report.scores.update(DIFFUSION, equation=EQUATION)
    before = Page(page.render(report)).text
    report.scores["units"] = {"length": "<µm>", "time": "", "offset": {"A": 0.25}} | {
        "scale": {"A": 2.0}
    }
    text = Page(page.render(report)).text
    for told in ("The unit of length is <µm>.", "A = 0.25 + 2 * value.", "as normalised (see"):
        assert told in text and told not in before
    assert "The unit of time" not in text


def test_the_drift_of_a_sum_is_shown_where_the_truth_keeps_it():
    report = make_report()
    report.scores["drift"] = {
        "A": {"rule": 0.0123, "truth": 3e-7}, "B": {"rule": 0.0456, "truth": 0.4},
    }  # fmt: skip
    text = Page(errors.chapter(report)).text
    caption = "Relative drift of the sum over the lattice, at most"
    # B, which the truth does not keep, has no row: there the chapter ends.
    assert f"{caption} species rule truth A 0.012 3.0\N{MULTIPLICATION SIGN}10" in text
    assert re.search(rf"{caption} .* 3\.0\S10 .7$", text)
    assert caption not in Page(errors.chapter(make_report())).text


def test_contents_lead_to_sections():
    rendered = Page(page.render(make_report(moving=True)))
    targets = set(rendered.values("id"))
    assert {value.removeprefix("#") for value in rendered.values("href")} == targets
    assert {"results", "truth-and-prediction", "animation", "the-rule"} <= targets


def test_text_of_the_user_is_escaped_and_shown():
    report = make_report(facts={"note": "<script>"})
    rendered = Page(page.render(report))
    for text in ("A run <of> two species", "<script>", "training.window.span", "16.0", "empty"):
        assert text in rendered.text
    assert "--config=configs/pde.py" in rendered.text


def test_headline_numbers_come_from_the_scores():
    report = make_report()
    assert report.scores["valid_time"] == {"A": None, "B": None}
    text = Page(page.render(report)).text
    assert "3 trajectories" in text
    assert "stays below it up to the last time" in text
    assert "beyond 144" in text

    lost = make_report(prediction=report.lattices[0][0].values * [0.5, 1.0])
    text = Page(page.render(lost)).text
    assert re.search(r"first exceeds it for\s+A\s+at\s+t\s+=\s+0", text)
    assert re.search(r"NRMSE of A at t = 144 0\.50", text)


def test_undetermined_terms_are_marked_and_explained():
    report = make_report()
    plain = dataclasses.replace(report, scores={**report.scores, **DIFFUSION, "equation": EQUATION})
    content = rule.chapter(plain)
    marked = re.findall(r'<span class="undetermined">(.*?)</span>', content)
    assert len(marked) == 1
    assert "<i>B</i><sup>3</sup>" in marked[0]
    text = Page(content).text
    assert "not told apart from zero : the value of each is within two standard errors" in text

    certain = {"A": EQUATION["A"][:1], "B": EQUATION["B"]}
    content = rule.chapter(
        dataclasses.replace(report, scores={**report.scores, "equation": certain})
    )
    assert "not told apart from zero" not in Page(content).text


def test_a_rule_without_equation_is_described():
    report = make_report(rule="A network of 16 tanh units.")
    report = dataclasses.replace(report, scores={**report.scores, **DIFFUSION})
    content = rule.chapter(report)
    text = Page(content).text
    assert "A network of 16 tanh units." in text
    assert "∇ 2 A 0.1000" in text
    assert 'class="equation"' not in content


def test_the_median_trajectory_is_the_one_shown():
    truth = make_report().lattices[0][0].values
    prediction = truth * np.array([1.5, 1.1, 1.2])[:, None, None, None, None]
    assert "Trajectory 3 of 3" in Page(pictures.chapter(make_report(prediction=prediction))).text


@pytest.mark.parametrize("shape", [(40,), (6, 8), (5, 6, 8)])
@pytest.mark.parametrize("snapshots", [1, 2, 9])
def test_every_number_of_axes_and_snapshots(shape, snapshots):
    rendered = Page(
        page.render(make_report(shape, snapshots, ("u",), moving=True, curves=(), facts={}))
    )
    for uri in rendered.values("src", "srcset"):
        decoded(uri)
    assert ("animation" in rendered.values("id")) == (len(shape) > 1)
    assert "training" not in rendered.values("id")


@pytest.mark.parametrize("shape", [(40,), (6, 8), (5, 6, 8)])
def test_a_prediction_that_is_not_finite_is_drawn_grey(shape):
    report = make_report(shape)
    prediction = report.lattices[0][0].values.copy()
    prediction[:, 4:, ..., 1] = np.nan
    prediction[:, -1] = np.inf
    text = Page(page.render(make_report(shape, prediction=prediction))).text
    assert "Grey: where the prediction is not a finite number." in text
    assert "not finite" in text


def test_outside_of_a_mask_pictures_are_grey_and_spectra_see_nothing():
    mask = np.zeros((3, 16, 20))
    mask[:, 4:12, 5:15] = 1
    report = make_report(mask=mask, hidden=1)
    grey = images.Scale(0, 1).palette()[images.NOT_FINITE]
    for chapter in (pictures.chapter, damage.chapter):
        content = chapter(report)
        found = [picture for _, picture in map(decoded, Page(content).values("src"))]
        of_lattices = [
            np.asarray(one.convert("RGB"))
            for one in found
            if isinstance(one, Image.Image) and one.size == (20, 16)
        ]
        assert len(of_lattices) >= 2 * 3 * 6
        for picture in of_lattices:
            np.testing.assert_array_equal((picture == grey).all(-1), mask[0] == 0)
    assert "Grey: outside of the mask." in Page(pictures.chapter(report)).text
    assert "outside of the mask all is as on average inside" in spectra.chapter(report)
    # What stands outside of the mask changes no page.
    truth, prediction = report.lattices[0]
    loud = [np.where(mask[:, None, ..., None] > 0, x, 50.0) for x in (truth.values, prediction)]
    other = dataclasses.replace(
        report, lattices=[(dataclasses.replace(truth, values=loud[0]), loud[1])]
    )
    for chapter in (pictures.chapter, kymographs.chapter, spectra.chapter):
        assert chapter(other) == chapter(report)


def test_of_one_trajectory_no_range_is_told():
    several, one = make_report(), make_report(count=1)
    for chapter in (results.chapter, errors.chapter):
        for told in ("edians over the trajectories", r"\d to (\d|beyond)"):
            assert re.search(told, chapter(several))
            assert not re.search(told, chapter(one))
    assert "The only trajectory." in pictures.chapter(one)


def test_times_and_lengths_have_their_units():
    units = {"units": {"length": "\N{MICRO SIGN}m", "time": "h", "offset": {}, "scale": {}}}
    report = make_report((16, 20), snapshots=30, hidden=0)
    report = dataclasses.replace(report, scores=report.scores | units)
    text = Page(page.render(report)).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "t = 16 h" in text.replace(" t  =", "t =").replace("t  = ", "t = ")
    assert "Each picture is 20 \N{MICRO SIGN}m wide and 16 high. Times are spaced" in text
    assert "Times are spaced" not in pictures.chapter(make_report(snapshots=6))


def test_of_a_prediction_without_an_end_no_damage_is_shown():
    report = make_report(hidden=1)
    lost = dataclasses.replace(report.damage, undamaged=report.damage.undamaged * np.nan)
    content = damage.chapter(dataclasses.replace(report, damage=lost))
    assert "nothing was left to damage" in content and "<img" not in content


@pytest.mark.slow
def test_the_page_is_small():
    text = page.render(
        make_report((64, 64), 65, moving=True)
    )  # noise, the worst case for compression
    assert text.startswith("<!DOCTYPE html>")
    assert len(text.encode()) < 4_000_000


def alternatives(content):
    return Page(content).values("alt")


def test_hidden_channels_have_a_row_each_with_a_scale_of_its_own():
    report = make_report(hidden=3)
    content = hidden.chapter(report)
    assert len(alternatives(content)) == 3 * 6
    limits = [float(text) for text in re.findall(r"±([\d.]+)</small>", content)]
    values = report.states.values[images.chosen_times(report.states.times, 6), ..., 2:]
    expected = np.percentile(np.abs(values), 99, axis=(0, 1, 2))
    np.testing.assert_allclose(limits, expected, rtol=0.05)
    assert hidden.chapter(make_report(hidden=0)) == hidden.chapter(make_report()) == ""


def test_of_many_hidden_channels_the_first_are_shown():
    report = make_report((6, 7), snapshots=3, hidden=40)
    content = hidden.chapter(report)
    assert "the first 32 of 40" in content
    assert len(alternatives(content)) == 32 * 3


def test_kymographs_are_the_middle_row_over_even_times():
    report = make_report((5, 12))
    content = kymographs.chapter(report)
    uris = Page(content).values("src")
    truth = decoded(uris[0])[1]
    assert truth.size == (images.KYMOGRAPH_ROWS, 12)
    row = report.shown[0].actual[-1, 2, :, 0]
    scale = images.scale_of_states(report.shown[0].actual[..., 0], report.shown[0].truth.times)
    np.testing.assert_array_equal(
        np.asarray(truth.convert("RGB"))[::-1, -1], images.painted(row[None], scale)[0]
    )
    assert "along 12 units of length" in content
    assert kymographs.chapter(make_report((40,))) == ""
    assert kymographs.chapter(make_report(snapshots=3)) == ""


def test_what_was_erased_is_told_and_shown():
    report = make_report(hidden=2)
    content = damage.chapter(report)
    assert "6% of the cells" in content and "set to zero, hidden channels too" in content
    assert len([alt for alt in alternatives(content) if "damaged, t = " in alt]) == 2 * 6
    filled = dataclasses.replace(report.damage, filling=np.array([0.25, 0.5]))
    content = damage.chapter(dataclasses.replace(report, damage=filled))
    assert "mean of the training data (<i>A</i> = 0.25, <i>B</i> = 0.50)" in content
    assert damage.chapter(make_report()) == ""


def test_colours_come_before_the_channels_that_make_them():
    report = make_report(species=("red", "green", "blue"), hidden=1)
    for chapter in (pictures.chapter, damage.chapter):
        content = chapter(report)
        uris = [uri for uri in Page(content).values("src") if uri.startswith("data:image/png")]
        assert decoded(uris[0])[1].mode == "RGB"
        assert "In colours" in content
    shown = report.shown[0]
    first = decoded(Page(pictures.chapter(report)).values("src")[0])[1]
    np.testing.assert_array_equal(
        np.asarray(first), images.coloured(shown.actual[0], shown.truth.species)
    )


def test_spectra_are_left_out_where_there_is_no_pattern():
    report = make_report()
    assert Page(spectra.chapter(report)).text.count("how its variance") == 2
    flat = dataclasses.replace(report.lattices[0][0], values=0 * report.lattices[0][0].values)
    scores = {**report.scores, "wavelength": {}}
    assert spectra.chapter(make_report(lattices=[(flat, flat.values)], scores=scores)) == ""


@pytest.mark.parametrize("shape", [(40,), (5, 6, 8)])
def test_states_and_damage_on_other_lattices(shape):
    report = make_report(shape, 9, ("u",), hidden=2)
    for chapter in (hidden.chapter, damage.chapter):
        rendered = Page(chapter(report))
        for uri in rendered.values("src", "srcset"):
            decoded(uri)
