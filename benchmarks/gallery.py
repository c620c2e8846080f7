"""The feature gallery at its largest: 16,384 dimensions on 50,000 samples; size of the file and first paint.

    python benchmarks/gallery.py

Made data: each dimension fires for samples around a few classes, images are blurred noise with a fine grain (harder to
compress than photographs), texts are random words. Pages are opened in a headless Chromium, each in a new profile.
"""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import sync_playwright
from record import write_record

from monosemy import explain
from monosemy.metrics.explanations import describe_predictions
from monosemy.report import Gallery, GallerySet, write_gallery

SAMPLES, DIMENSIONS, ACTIVE, CLASSES, SIDE = 50_000, 16_384, 32, 100, 32
OPENED = 5
WORDS = ("card", "my", "to", "bank", "transfer", "what", "is", "balance", "please", "weather", "in", "song", "alarm")
# When the first cards are there and drawn; beside it stands Chromium's own first paint.
WATCH = """
new MutationObserver((_, self) => {
  if (!document.querySelector("#most .card")) return;
  self.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.cardsDrawn = performance.now(); }));
}).observe(document, {childList: true, subtree: true});
"""


def made_codes(rng: np.random.Generator) -> tuple[sp.csr_array, NDArray[np.int64]]:
    """Codes whose dimensions prefer the samples of one class."""
    labels = rng.integers(0, CLASSES, SAMPLES)
    own = labels[:, None] + CLASSES * rng.integers(0, DIMENSIONS // CLASSES, (SAMPLES, ACTIVE))
    any_dimension = rng.integers(0, DIMENSIONS, (SAMPLES, ACTIVE))
    columns = np.where(rng.random((SAMPLES, ACTIVE)) < 0.6, own, any_dimension)
    values = rng.gamma(2.0, 1.0, (SAMPLES, ACTIVE)).astype(np.float32)
    codes = sp.csr_array((values.ravel(), columns.ravel(), np.arange(SAMPLES + 1) * ACTIVE), (SAMPLES, DIMENSIONS))
    codes.sum_duplicates()
    return codes, labels


def made_images(rng: np.random.Generator) -> NDArray[np.uint8]:
    coarse = rng.integers(0, 256, (SAMPLES, 5, 5, 3), dtype=np.uint8)
    images = np.stack([np.asarray(Image.fromarray(c).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for c in coarse])
    grain = rng.normal(0, 6, images.shape).astype(np.float32)
    return np.clip(images + grain, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)


def made_texts(rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(" ".join(rng.choice(WORDS, rng.integers(6, 25))) for _ in range(SAMPLES))


def opened(path: Path) -> dict[str, float]:
    """Median milliseconds until the first paint, the first cards, and the end of loading."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    times: dict[str, list[float]] = {"first paint": [], "first cards drawn": [], "all read": []}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(OPENED + 1):
            page = browser.new_page(viewport={"width": 1280, "height": 900}, offline=True)
            page.add_init_script(WATCH)
            page.goto(path.resolve().as_uri())
            page.wait_for_function("window.cardsDrawn > 0")
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            for name, script in (
                ("first paint", paint),
                ("first cards drawn", "window.cardsDrawn"),
                ("all read", "performance.getEntriesByType('navigation')[0].domComplete"),
            ):
                times[name].append(float(page.evaluate(script)))
            page.close()
        browser.close()
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    rng = np.random.default_rng(0)
    codes, labels = made_codes(rng)
    reference_embeddings = rng.normal(size=(SAMPLES, 64)).astype(np.float32)
    started = time.perf_counter()
    found = explain(codes, labels, CLASSES, reference_embeddings)
    explained = time.perf_counter() - started
    predicted = np.where(rng.random(SAMPLES) < 0.6, labels, rng.integers(0, CLASSES, SAMPLES))
    weight = rng.normal(size=(DIMENSIONS, CLASSES)).astype(np.float32)
    predictions = describe_predictions(predicted, labels, weight, codes, codes, labels)
    item = GallerySet("made", "", found, predictions, "on made data")
    names = tuple(f"class {i}" for i in range(CLASSES))
    lines = [
        "| inputs | samples shown | file, MB | first paint, of 2 s | first cards drawn, of 2 s | all read, of 2 s | "
        "writing / explaining |",
        "|---|---|---|---|---|---|---|",
    ]
    shown = len(np.unique(found.rows[found.rows >= 0]))
    with tempfile.TemporaryDirectory() as folder:
        for kind, inputs in (("images, 32 x 32", made_images(rng)), ("texts", made_texts(rng))):
            path = Path(folder) / "gallery.html"
            started = time.perf_counter()
            write_gallery(Gallery("made", "", SAMPLES, (item,), labels, names, inputs), path)
            written = time.perf_counter() - started
            parts = " | ".join(f"{milliseconds / 2000:.0%}" for milliseconds in opened(path).values())
            size = path.stat().st_size / 1e6
            lines.append(f"| {kind} | {shown:,} | {size:.1f} | {parts} | {written / explained:.1f} |")
    lines += [
        "",
        f"{DIMENSIONS:,} dimensions, {ACTIVE} active a sample, {SAMPLES:,} samples, {CLASSES} classes. Times are "
        f"medians of {OPENED} openings in Chromium, as shares of the 2 seconds that are allowed; the file may "
        f"have 30 MB. {os.getloadavg()[1]:.0f} processes wanted its {os.cpu_count()} cores. Explaining "
        "is one pass over the codes, MonoScore and histograms included.",
    ]
    write_record("gallery", "Feature gallery: size and first paint", "python benchmarks/gallery.py", "\n".join(lines),
                 ("pillow", "playwright"))  # fmt: skip


if __name__ == "__main__":
    main()
