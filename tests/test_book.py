"""The book (demos/book.py): every link leads somewhere, every formula is set, nothing is wider than a phone."""

import importlib
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("markdown_it", reason="the book needs markdown-it-py: pip install -e '.[book]'")
DEMOS = Path(__file__).parents[1] / "demos"
MATH = (DEMOS.parent / "scratchvae" / "MATH.md").read_text(encoding="utf-8")
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(DEMOS))
    book = importlib.import_module("book")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "chromium-browser",
                                               "google-chrome"))), None)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The book with lesson 1 alone, and without the pages of lines, which test_explain.py has."""
    folder = tmp_path_factory.mktemp("book")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book, "MODELS", ("vae",))
        assert book.main([str(folder), "--lessons", "01"]) == 0
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}, folder


def test_every_internal_link_resolves(pages):
    texts, folder = pages
    ids = {name: set(re.findall(r'\bid="?([^"\s>]+)', text)) for name, text in texts.items()}
    links = [(name, href) for name, text in texts.items()
             for href in re.findall(r'<(?:a|img) [^>]*(?:href|src)="?([^"\s>]+)', text)
             if not href.startswith(("http", "data:"))]
    assert len(links) > 600
    for name, href in links:
        file, _, place = href.partition("#")
        assert (folder / (file or name)).exists(), (name, href)
        assert not place or place in ids[file or name], (name, href)


def test_every_equation_has_its_place_and_every_formula_is_set(pages):
    texts, _ = pages
    math = {name: text for name, text in texts.items() if re.fullmatch(r"math-\d+\.html", name)}
    numbers = re.findall(r"^### \((\d+\.\d+)\)", MATH, re.MULTILINE)
    found = [number for text in math.values() for number in re.findall(r"<h3 id=\"eq-([\d.]+)\"", text)]
    assert sorted(found) == sorted(numbers)
    blocks = [line for line in MATH.split("\n") if line.startswith("    ")]
    assert sum(text.count('<div class="line">') for text in math.values()) == len(blocks) > 250
    assert not any(re.search(r"<pre>[^<]*=", text) for text in math.values())
    assert all(any(sign in text for text in math.values())
               for sign in ("<mo>∏</mo>", "<mo>∫</mo>", "<mo>≤</mo>", "<mfrac><mrow><mi>∂log</mi>"))
    labels = "".join(unescape(label) for text in math.values() for label in re.findall('aria-label="(.*?)"', text))
    for line in blocks:                                # nothing is lost on the way
        assert all(word in labels for word in re.findall(r"\w{4,}", line)), line


def test_a_lesson_has_its_text_its_code_its_output_and_its_figure(pages):
    text = pages[0]["lesson-01.html"]
    assert "<h1>1. Backprop by hand</h1>" in text and "W1, b1 = np.array" in text and "  loss = 0.75" in text
    assert '<img src="01_backprop_by_hand.png"' in text and (pages[1] / "01_backprop_by_hand.png").exists()
    assert '<a href="math-1.html#eq-1.2">(1.2)</a>' in text


def test_solutions_stand_apart(pages):
    assert "raise NotImplementedError" in pages[0]["exercises.html"]
    assert "np.dot(x.T, dy, out=self.dW)" in pages[0]["solutions.html"]
    assert "np.dot(x.T, dy" not in pages[0]["exercises.html"]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_nothing_is_wider_than_a_phone(pages, tmp_path):
    probe = """<script>document.querySelectorAll('details').forEach(d=>d.open=true);
    document.title='wide: '+[...document.querySelectorAll('main *')].filter(e=>
    !e.parentElement.closest('.wide,.eq,pre')&&e.getBoundingClientRect().right>391).length</script></body>"""
    for name, text in pages[0].items():
        if not name.startswith("lines-"):
            text = text.replace("</head>", "<style>html{width:390px}</style></head>").replace("</body>", probe)
            path = pages[1] / "probe.htm"              # beside the pictures
            path.write_text(text, encoding="utf-8")
            found = subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=390,900",
                                    "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
            assert "<title>wide: 0</title>" in found.stdout, (name, re.search("<title>.*</title>", found.stdout)[0])
