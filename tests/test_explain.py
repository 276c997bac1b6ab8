"""The page of a pass: it is written for every model, and every gradient on it is right."""

import re
from html.parser import HTMLParser

import pytest

from scratchvae import cli

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Balanced(HTMLParser):
    """Notes whether every element that begins also ends, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append((tag, self.getpos()))


@pytest.mark.parametrize("model", [["vae"], ["hvae", "--latents", "3,2"], ["topdown", "--latents", "3,2"]],
                         ids=lambda words: words[0])
def test_a_page_is_whole_and_its_gradients_are_right(model, tmp_path, capsys):
    path = tmp_path / "page.html"
    assert cli.main(["explain", "--model", *model, "--out", str(path)]) == 0
    assert float(re.search(r"relative error is (\S+)", capsys.readouterr().out)[1]) < 1e-12
    parser = Balanced()
    parser.feed(path.read_text(encoding="utf-8"))
    assert not parser.open and not parser.wrong
    assert path.stat().st_size < 1.5e6 and "http://" not in re.sub(r'xmlns="[^"]*"', "", path.read_text("utf-8"))
