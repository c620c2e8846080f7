import base64
import re
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from made_study import HEADLINE, HOSTILE, make_result

from monosemy.report.html import chart_data, write_report
from monosemy.report.tables import scenarios
from monosemy.results.result import Verdict
from monosemy.study.folder import costs_table

VOID = {"meta", "img", "link", "br", "input", "source"}


class Page(HTMLParser):
    """Elements and text of a page; an element that is closed out of turn is an error."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_says_everything(tmp_path: Path) -> None:
    path = write_report(make_result(), tmp_path)
    assert path == tmp_path / "report.html"
    page = read(path)
    for said in (
        "Under 60% label noise, sae beats dense.", "The warning of the study.", "Dropped 3 rows.",
        "monosemy study --plan plan.yaml --out NEW", "source: toy.parquet", "sparse autoencoder",
        "Label noise", "Given labels", "Few labels", "Input noise", "Shift: sketch", "17.3 % wrong", "97.0 %",
    ):  # fmt: skip
        assert said in page.text, said


def test_two_sentences_and_one_picture_come_before_all_else(tmp_path: Path) -> None:
    source = write_report(make_result(), tmp_path).read_text(encoding="utf-8")
    body = source[source.index("<body>") :]
    assert body.index(HEADLINE[0]) < body.index(HEADLINE[1]) < body.index("<img") < body.index("<table")
    assert body.index("<table") < body.index("sae beats dense.")


def test_the_numbers_are_those_of_the_summary(tmp_path: Path) -> None:
    result = make_result(scenarios=("label-noise",))
    page = read(write_report(result, tmp_path))
    for row in result.summary.itertuples():
        half = 50 * (row.accuracy_high - row.accuracy_low)  # type: ignore[operator]
        interval = "" if half != half else f" ±{half:.1f}"  # measured once: no interval
        assert f"{100 * row.accuracy:.1f}{interval}" in page.text  # type: ignore[operator]


def test_only_significant_gains_are_bold(tmp_path: Path) -> None:
    result = make_result(scenarios=("label-noise",))
    rows = result.summary["variant"] != "dense"
    result.summary.loc[rows, "outcome"] = "undecided"
    assert 'class="significant"' not in write_report(result, tmp_path).read_text(encoding="utf-8")
    result.summary.loc[result.summary.index[-1], "outcome"] = "worse"
    assert write_report(result, tmp_path).read_text(encoding="utf-8").count('class="significant"') == 1


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    path = write_report(make_result(), tmp_path)
    page = read(path)
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    source = path.read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digests = " ".join(f"'sha256-{base64.b64encode(sha256(s.encode()).digest()).decode()}'" for s in scripts)
    assert len(scripts) == 2
    assert policies == [
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    ]
    assert not page.all("link")
    assert not any("src" in attributes for attributes in page.all("script"))
    own = re.sub(r"<script>.*?</script>", "", source, flags=re.DOTALL)
    assert not re.search(r"https?://|url\(|@import", own)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_every_picture_is_an_svg_with_its_words(tmp_path: Path) -> None:
    page = read(write_report(make_result(), tmp_path))
    images = page.all("img")
    assert len(images) == 11  # two a scenario, and gain against monosemanticity
    assert len(page.all("source")) == 1  # the first of them, for narrow windows
    assert len({image["src"] for image in images}) == len(images)
    for image in images:
        start, content = (image["src"] or "").split(",")
        assert start == "data:image/svg+xml;base64"
        ElementTree.fromstring(base64.b64decode(content))
        assert len(image["alt"] or "") > 40


def test_hostile_names_are_text(tmp_path: Path) -> None:
    hostile = Verdict((f"Verdict {HOSTILE}",), (f"Warning {HOSTILE}",), (f"First {HOSTILE}", "Second."))
    result = make_result(extra=(HOSTILE, '" onload="alert(2)'), dataset=HOSTILE, source=HOSTILE, verdict=hostile)
    result.summary["scenario"] = result.summary["scenario"].replace({"shift:sketch": f"shift:{HOSTILE}"})
    page = read(write_report(result, tmp_path))
    assert len(page.all("script")) == 3
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert f"Verdict {HOSTILE}" in page.text
    assert f"Warning {HOSTILE}" in page.text
    assert f"Shift: {HOSTILE}" in page.text
    assert f"source: {HOSTILE}" in page.text
    assert any(head.get("title") == HOSTILE for head in page.all("th"))


@pytest.mark.parametrize("scenarios", [None, (), ("shift:sketch",)])
def test_one_seed_and_few_scenarios(tmp_path: Path, scenarios: tuple[str, ...] | None) -> None:
    page = read(write_report(make_result(seeds=1, scenarios=scenarios), tmp_path))
    setting = page.text[page.text.index("missing_labels:") : page.text.index("shifts:")]  # names a label "nan"
    assert "nan" not in page.text.replace(setting, "").lower()
    assert "1 seed." in page.text


def test_the_baseline_alone(tmp_path: Path) -> None:
    result = make_result(scenarios=("label-noise",))
    alone = replace(result, summary=result.summary[result.summary["variant"] == "dense"])
    page = read(write_report(alone, tmp_path))
    assert "Gain over dense, points" not in page.text


def test_arrays_in_memory_are_not_promised_to_the_command_line(tmp_path: Path) -> None:
    page = read(write_report(make_result(source="arrays:0123"), tmp_path))
    assert "Study.run" in page.text
    assert "--plan" not in page.text


def test_the_same_result_gives_the_same_page(tmp_path: Path) -> None:
    first = write_report(make_result(scenarios=("label-noise",)), tmp_path / "a").read_bytes()
    assert write_report(make_result(scenarios=("label-noise",)), tmp_path / "b").read_bytes() == first


def test_live_charts_run_the_way_that_pictures_do() -> None:
    result = make_result(scenarios=("label-noise", "few-labels"))
    renamed = {"scenario": {"label-noise": "imbalance", "few-labels": "labels-per-class"}}
    levels = {"level": {0.1: 1.0, 0.5: 4.0, 0.3: 10.0, 0.6: 50.0}}
    summary = pd.concat([result.summary, result.summary.replace(renamed | levels)])
    charts = dict(zip(scenarios(summary), chart_data(result.results, summary)["scenarios"], strict=True))
    found = {name: (chart["log"], chart["falling"]) for name, chart in charts.items()}
    assert found == {
        "label-noise": (False, False), "few-labels": (True, True), "imbalance": (True, False),
        "labels-per-class": (True, True),
    }  # fmt: skip
    assert all(chart["levelled"] for chart in charts.values())
    assert charts["labels-per-class"]["ticks"] == [[4.0, "4"], [1.0, "1"]]
    assert charts["imbalance"]["ticks"] == [[1.0, "1"], [10.0, "10"], [50.0, "50"]]


def test_costs_are_means_over_what_was_measured(tmp_path: Path) -> None:
    page = read(write_report(make_result(scenarios=()), tmp_path))
    costs = page.text[page.text.index("Time and memory") :]
    assert "Training an encoder" not in costs, "nothing was measured of it"
    assert re.search(r"dense\s*1024\s*16.0\s*2.0 s\s*30 s\s*40 s\s*512 MiB", costs)
    assert re.search(r"sparse autoencoder\s*1024\s*16.0\s*4.0 s\s*30 s\s*40 s\s*512 MiB", costs)


def test_a_study_without_costs_says_nothing_of_them(tmp_path: Path) -> None:
    result = replace(make_result(scenarios=()), costs=costs_table([]))
    assert "Costs" not in read(write_report(result, tmp_path)).text
