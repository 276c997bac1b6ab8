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


def built(folder, *lessons):
    """The book with some lessons, and without the pages of lines but one, as test_explain.py has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book, "MODELS", ("vae",))
        assert book.main([str(folder), "--lessons", *lessons]) == 0
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}, folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return built(tmp_path_factory.mktemp("book"), "01")


@pytest.fixture(scope="module")
def more_pages(tmp_path_factory):
    """With all lessons that take some seconds only."""
    return built(tmp_path_factory.mktemp("more"), "01", "02", "05", "08b")


@pytest.mark.parametrize("typed, is_set", [
    ("p(z_t | z_{t+1})", "<i>p</i>(<i>z</i><sub><i>t</i></sub> | <i>z</i><sub><i>t</i>+1</sub>)"),
    ("σ_q² and mu_p", "<i>σ</i><sub><i>q</i></sub>² and mu<sub><i>p</i></sub>"),
    ("E_eps[a_1], 1/n_in", "<i>E</i><sub>eps</sub>[<i>a</i><sub>1</sub>], 1/<i>n</i><sub>in</sub>"),
    ("C'_t; √ᾱ_{t-1}", "<i>C</i>'<sub><i>t</i></sub>; √<i>ᾱ</i><sub><i>t</i>-1</sub>"),
    ("Σ_{t<T} w̃_k²", "Σ<sub><i>t</i>&lt;<i>T</i></sub> <i>w̃</i><sub><i>k</i></sub>²"),
    ("e^(-x) and e^min(x, 0)", "<i>e</i><sup>-<i>x</i></sup> and <i>e</i><sup>min(<i>x</i>, 0)</sup>"),
    ("log_prob of n_samples in tests/test_math.py", "log_prob of n_samples in tests/test_math.py"),
    ("A draw, a draw\nor a q's mean, e.g. 20 s", "A draw, a draw\nor a <i>q</i>'s mean, e.g. 20 s"),
])
def test_the_formulas_of_a_sentence_are_set(typed, is_set):
    assert book.prose(typed) == is_set


def test_code_and_addresses_of_links_stay_and_a_formula_goes_over_the_end_of_a_line(tmp_path):
    html = book.Book(tmp_path).md.render("# z_t\n\n`z_t`, [x_1](https://a.b/x_1) (log q(z_1 |\nx) _z_{t+1}, e^(-\nx)")
    assert "<h1><i>z</i><sub><i>t</i></sub></h1>" in html and "<code>z_t</code>" in html and 'b/x_1">' in html
    assert "<em>" not in html and "<i>e</i><sup>-\n<i>x</i></sup>" in html


def test_words_in_a_formula_are_set_as_words():
    found = book.formulas("of one draw:   R\ny = 0 where it is not there:   b\nN( a,  b ),   p(x, z)/p(z | x)")
    assert "<mtext>of one draw:</mtext>" in found and "<mtext>&#160;where it is not there:</mtext>" in found
    assert found.count("<span>") == 6 and found.count("</mrow></mfrac>") == 1
    assert not re.search(r"<mi>(one|draw|where|not)</mi>", found)


@pytest.mark.slow
def test_every_internal_link_resolves_with_more_lessons(more_pages):
    test_every_internal_link_resolves(more_pages)
    for name, text in more_pages[0].items():           # no index is left as it is typed
        said = re.sub(r"<(pre|code|math|script|style)\b.*?</\1>|<[^>]*>", "", text, flags=re.DOTALL)
        assert name.startswith("lines-") or not re.search(r"_\{|\b[a-zA-Z]_\w\b", said), name


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
def test_nothing_is_wider_than_a_phone(more_pages):
    probe = """<script>document.querySelectorAll('details').forEach(d=>d.open=true);
    document.title='wide: '+[...document.querySelectorAll('main *')].filter(e=>
    !e.parentElement.closest('.wide,.eq,pre')&&e.getBoundingClientRect().right>391).length</script></body>"""
    for name, text in more_pages[0].items():
        if not name.startswith("lines-"):
            text = text.replace("</head>", "<style>html{width:390px}</style></head>").replace("</body>", probe)
            path = more_pages[1] / "probe.htm"              # beside the pictures
            path.write_text(text, encoding="utf-8")
            found = subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=390,900",
                                    "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
            assert "<title>wide: 0</title>" in found.stdout, (name, re.search("<title>.*</title>", found.stdout)[0])
