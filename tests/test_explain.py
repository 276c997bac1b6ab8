"""The page of a pass: every line has its equation, every number is that of the pass, every gradient its check."""

import ast
import dataclasses
import hashlib
import re
import shutil
import subprocess
import sys
import unicodedata
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from beside import DEMOS, load

from scratchvae import HVAE, VAE, Autoencoder, Bernoulli, Diffusion, Gaussian, TopDown, cli, gaussian
from scratchvae.data import datasets
from scratchvae.mixed import Categorical, Poisson
from scratchvae.explain import equations, explain, mathml, pictures, trace_pass
from scratchvae.mixed import LogNormal, Mixed


gallery = load(DEMOS, "gallery.bugs")
RNG = np.random.default_rng(0)
DIGITS = datasets.digits().x_train[:2]
REAL = RNG.standard_normal((2, 6))
TABLE = np.array([[1.0, 3, 0.2, 0, 1, 0, 2], [0, np.nan, -1, 1, 0, 0, np.nan]])
OF_TABLE = [Bernoulli(1), Poisson(1), Gaussian(1), Categorical(3), LogNormal(1)]
CASES = {                                              # together they run every line of the math's passes
    "autoencoder": lambda: (Autoencoder(64, 2, (5,)), DIGITS, {}),
    "vae": lambda: (VAE(64, 2, (8,)), DIGITS, {}),
    "vae, weights": lambda: (VAE(64, 2, (8,)), DIGITS, {"n_samples": 3}),
    "vae, gaussian": lambda: (VAE(6, 2, (5,), likelihood="gaussian", activation="relu"), REAL, {}),
    "vae, fixed variance": lambda: (VAE(6, 2, (), likelihood=Gaussian(6, logvar=-1)), REAL, {}),
    "vae, counts": lambda: (VAE(6, 2, (5,), likelihood=Poisson(6), activation="leaky_relu"),
                            np.floor(9 * REAL ** 2), {}),
    "vae, categories": lambda: (VAE(6, 2, (5,), likelihood=Categorical(6), activation="softplus"),
                                np.eye(6)[[1, 4]], {}),
    "vae, mixed": lambda: (VAE(7, 2, (5,), likelihood=Mixed(OF_TABLE, missing=True), activation="sigmoid"),
                           TABLE, {}),
    "hvae": lambda: (HVAE(64, (4, 3, 2), (8,)), DIGITS, {}),
    "hvae, printed": lambda: (HVAE(64, (4, 3, 2), (8,), consistency="printed"), DIGITS, {}),
    "hvae, weights": lambda: (HVAE(64, (3, 2), (8,)), DIGITS, {"n_samples": 2, "alpha": 0.5, "beta": [0.5, 2]}),
    "topdown": lambda: (TopDown(64, (4, 3, 2), (8,)), DIGITS, {"beta": [1, 0.5, 2]}),
    "topdown, weights": lambda: (TopDown(64, (3, 2), (8,)), DIGITS, {"n_samples": 2}),
    "diffusion": lambda: (Diffusion(64, 20, (8,)), DIGITS, {}),
    "diffusion, one level": lambda: (Diffusion(64, 1, (8,)), DIGITS, {}),
    "hvae, one level": lambda: (HVAE(64, (3,), (8,)), DIGITS, {}),
    "hvae, two levels": lambda: (HVAE(6, (3, 2), (5,), likelihood="gaussian"), REAL, {"beta": 0.5}),
    "topdown, mixed": lambda: (TopDown(7, (3, 2), (5,), likelihood=Mixed(OF_TABLE, missing=True)), TABLE, {}),
    "topdown, weights, counts": lambda: (TopDown(6, (3, 2), (5,), likelihood=Poisson(6)), np.floor(9 * REAL ** 2),
                                         {"n_samples": 3, "alpha": 2}),
    "diffusion, real": lambda: (Diffusion(6, 5, (8,), likelihood="gaussian"), REAL, {"beta": [2, 0.5]}),
    "autoencoder, table": lambda: (Autoencoder(7, 2, (5,), likelihood=Mixed(OF_TABLE, missing=True)), TABLE, {}),
    "diffusion, many levels": lambda: (Diffusion(6, np.inf, (8,), likelihood="gaussian", variance="forward"), REAL, {}),
}
each_case = pytest.mark.parametrize("name", CASES)
VOID = {"meta", "img", "br", "hr", "link", "input"}


def moved(model):
    """Return a model whose numbers are none of a fresh one's: no 0, no two alike."""
    model.theta += 0.1 * np.random.default_rng(3).standard_normal(model.theta.size).astype(model.dtype)
    return model


@pytest.fixture(scope="module")
def pages():
    """The page of each case, made once."""
    found = {}

    def page(name):
        if name not in found:
            model, x, options = CASES[name]()
            found[name] = explain(moved(model), x, **options)
        return found[name]
    return page


class Reader(HTMLParser):
    """Notes whether what begins also ends, the ids, the places that links lead to, and texts for pictures."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.ids, self.links, self.headings = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        if len(said) != len(attrs):
            self.wrong.append(("an attribute twice", tag, self.getpos()))
        if tag not in VOID:
            self.open.append(tag)
        if "id" in said:
            self.ids.append(said["id"])
        if tag == "a":
            self.links.append(said["href"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img" and not said.get("alt") or tag == "svg" and not said.get("aria-label"):
            self.wrong.append(("no words for a picture", self.getpos()))
        if tag in ("script", "link", "iframe") and ("src" in said or "href" in said):
            self.wrong.append(("not in the file itself", tag, self.getpos()))

    def handle_startendtag(self, tag, attrs):              # <rect .../>, of a picture
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(("ends, and did not begin", tag, self.getpos()))


@each_case
def test_a_page_is_one_whole_file(name, pages):
    page = pages(name)
    found = Reader(page)
    assert not found.open and not found.wrong
    assert len(found.ids) == len(set(found.ids)) and {link[1:] for link in found.links} <= set(found.ids)
    assert found.headings[0] == 1 and found.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(found.headings, found.headings[1:])), "a level is left out"
    assert not re.search(r"https?://|@import|url\(", page), "it needs the network"
    assert len(page.encode()) < 1.5e6


@each_case
def test_links_to_an_array_lead_to_its_first_place(name, pages):
    seen = set()
    for link, number in re.findall(r'<span class="name" tabindex="-1"( id="a\d+"|) data-a="(\d+)">', pages(name)):
        assert link == ("" if number in seen else f' id="a{number}"')
        seen.add(number)
    assert len(seen) > 20


@each_case
def test_every_gradient_on_a_page_is_right(name, pages):
    page = pages(name)
    errors = [float(error) for error in re.findall(r'data-error="([^"]*)"', page)]
    assert page.ok and len(errors) > 20 and max(errors) < 1e-12
    assert f"{len(errors)} gradients are shown" in page.verdict and "✗" not in page


@each_case
def test_what_is_not_compared_is_a_part_of_a_sum_or_handed_on_to_nobody(name, pages):
    """The whole list: a gradient that is not compared and is not on it has lost its check."""
    parts = {"diffusion.Diffusion.backward: da", "diffusion.Diffusion.backward: dz_z",          # a part of a sum
             "diffusion.Diffusion.read_backward: dz", "topdown.TopDown.backward: dz", "vae.VAE.backward: dz",
             "gaussian.merge_backward: ds", "mixed.Seen.backward: dx", "mixed.Seen.backward: dx[:, columns]",
             "mixed.Mixed.log_prob_backward: dx[:, at_x]", "mixed.Mixed.log_prob_backward: dh[:, at_h]",
             "mixed.Mixed.log_prob_backward: dcells", "mixed.LogNormal.log_prob_backward: dx",
             "importance.log_mean_exp_backward: dlog_w",
             "vae.VAE.backward: dq", "hvae.HVAE.backward: dq", "topdown.TopDown.backward: dm",  # of K rows that
             "topdown.TopDown.up_backward: dmean", "topdown.TopDown.up_backward: dm",           # are one for a network
             "importance.SharedInput.backward: dx",
             "diffusion.Diffusion.backward: dh", "diffusion.Diffusion.backward: dz",    # to the model's own read
             "diffusion.BinarySignal.guess_backward: dh",
             "gaussian.kl_standard_backward: dlogvar",     # of the fixed q, whose logvar is no variable
             "gaussian.log_prob_backward: dmu", "gaussian.log_prob_backward: dlogvar",      # of p(z_T), whose two are 0
             "gaussian.log_ratio_backward: dmu_p", "gaussian.log_ratio_backward: dlogvar_p", "hvae.HVAE.backward: _",
             "likelihood.Gaussian.log_prob_backward: dlogvar"}
    found = set()
    for step in re.findall(r'data-line="(.*?)(?=data-line=|</main>)', pages(name), re.DOTALL):
        for made in step.split('<div class="made')[1:]:
            if "not compared by itself" in made:
                label = re.search(r'class="name"[^>]*>([^<]*)<', made)[1]
                found.add(f"{step.partition(':')[0]}: {label}")
    assert {one.partition("[")[0] for one in found} <= {one.partition("[")[0] for one in parts}


# every line has its equation, and the equation is true ------------------------------------------------


@pytest.fixture(scope="module")
def passes():
    """The record of the pass of each case, made once."""
    return {name: trace_pass(moved(model), x, **options) for name, make in CASES.items()
            for model, x, options in [make()]}


@pytest.fixture(scope="module")
def functions(passes):
    """Every function that ran in the pass of a case, by its name, with its statements."""
    return {call.function.name: call.function for found in passes.values() for call in found.trace.calls}


HANDS_ON = {                                           # what computes or calls and has no equation: why it has none
    "an array of zeros, or room for the numbers": [
        "layers.Dense.backward: return np.empty((len(x), 0), dy.dtype)", "compare.ExactDraw.backward: dmu_q",
        "mixed.Mixed.log_prob_backward: dx, dh", "hvae.HVAE.bound: z, q, kl, cache", "hvae.HVAE.bound: p",
        "topdown.TopDown.bound: m, kl, cache, mean", "topdown.TopDown.bound: q, p"],
    "it reads a shape, or picks, copies or checks": [
        "gaussian.halves: d", "mlp.MLP.forward: caches.append(cache)", "mlp.MLP.backward: first, *rest",
        "compare.ExactDraw.forward: _, logvar_q", "likelihood.Gaussian._mu_logvar: return (h, np.full",
        "likelihood.Gaussian.log_prob: mu, logvar", "mixed.Mixed.log_prob: x", "mixed.Mixed.log_prob: cells",
        "mixed.Mixed.log_prob: there", "mixed.Mixed.log_prob: caches.append((there, cache))",
        "mixed.Mixed.log_prob_backward: n", "mixed.Seen.forward: gone", "mixed.Seen.forward: caches.append(cache)",
        "schedule.Schedule.pick: first, last", "diffusion.Diffusion.column: return",
        "diffusion.Diffusion.read: own, gain",
        "diffusion.Diffusion.bound: n, time, eps_1, eps", "diffusion.Diffusion.bound: gamma_1",
        "objective.ELBO.loss_backward: rows",
        "importance.Importance.check_beta: checked", "importance.Importance.backward: elbo, cache, beta"],
    "it hands the parts on, each shown where it was made": [
        "objective.ELBO.loss_backward: return", "autoencoder.Autoencoder.bound: elbo",
        "importance.Importance.bound: elbo, cache", "importance.StandardLogRatio.forward: return"],
    "it is of another objective or estimator, which the page does not show": [
        "importance.Importance.value: return (log_w.mean", "importance.Importance.backward: to_z",
        "importance.Importance.backward: self.subtract"],
}
EXPECTATIONS = {"importance.Importance.backward: self.twin.backward(elbo.weighted_backward(to_z, beta, alpha), cache)"}


def named(statement):
    """Return what a statement is called in these lists: what it assigns to, or ``return``."""
    targets = ", ".join(map(ast.unparse, statement.targets))
    return "return" if isinstance(statement.node, ast.Return) else targets or ast.unparse(statement.node)


def computes(node):
    """Whether a statement computes or calls anything; names alone, or the head of ``if`` or ``for``, do not."""
    return not isinstance(node, (ast.If, ast.For, ast.Raise)) and any(
        isinstance(part, (ast.Call, ast.BinOp, ast.UnaryOp)) for part in ast.walk(getattr(node, "value", node)))


def test_every_line_that_computes_has_an_equation_or_a_reason_to_have_none(functions):
    without = {f"{name}: {named(s)}" + (f" {ast.unparse(s.node.value)}" if named(s) == "return" else "")
               for name, function in functions.items() for s in function.statements
               if computes(s.node) and function.reference(s) is None}
    listed = [entry for entries in HANDS_ON.values() for entry in entries]
    assert not [one for one in without if not any(one.startswith(entry) for entry in listed)]
    assert not [entry for entry in listed if not any(one.startswith(entry) for one in without)]
    with_number = [s for function in functions.values() for s in function.statements if function.reference(s)]
    assert len(functions) >= 70 and len(with_number) >= 210


def test_every_line_of_bound_and_backward_stands_on_the_page(functions, pages):
    shown = set(re.findall(r'data-line="([^"]*)"', "".join(pages(name) for name in CASES)))
    ran = {f"{name}:{statement.first}" for name, function in functions.items() for statement in function.statements}
    assert {"vae.VAE.bound", "vae.VAE.backward", "hvae.HVAE.backward", "topdown.TopDown.backward",
            "diffusion.Diffusion.backward", "importance.Importance.backward", "layers.Dense.backward"} <= set(functions)
    assert shown <= ran and len(shown) > 0.9 * len(ran)


@each_case
def test_every_equation_beside_a_line_is_what_the_line_computed(name, passes, pages):
    """Evaluated in its definitional form from the arrays of the pass, it gives the array that the line made."""
    found, wrong, shown = passes[name], [], 0
    for call in found.trace.calls:
        for visit in call.visits:
            equations_ = list(found.equations(visit))
            at = f"{call.function.name}: {named(visit.statement)}"
            if call.function.reference(visit.statement) and not equations_ and any(
                    made.value.size for made in visit.made) and at not in EXPECTATIONS:
                wrong.append((at, "has a number, but no equation"))
            for equation, error in equations_:
                shown += 1
                if error is None or not error < 1e-12:
                    wrong.append((at, equation.text, error))
    assert not wrong and shown > 40
    errors = [float(error) for error in re.findall(r'data-equation="([^"]*)"', pages(name))]
    assert len(errors) > 40 and max(errors) < 1e-12


def flipped(node):
    """Return an expression with one sign changed: of its last sum, or of all of it."""
    node = ast.parse(ast.unparse(node), mode="eval").body
    sums = [part for part in ast.walk(node) if isinstance(part, ast.BinOp) and isinstance(part.op, (ast.Add, ast.Sub))]
    indices = {id(inner) for part in ast.walk(node) if isinstance(part, ast.Subscript)
               for inner in ast.walk(part.slice)}
    sums = [part for part in sums if id(part) not in indices]
    if not sums:
        return ast.UnaryOp(ast.USub(), node)
    sums[-1].op = ast.Sub() if isinstance(sums[-1].op, ast.Add) else ast.Add()
    return node


def test_a_changed_sign_in_an_equation_is_noticed(passes):
    """Of every entry of the table, wherever it is used; 0 has no sign."""
    caught, missed = set(), set()
    for found in passes.values():
        for visit in (visit for call in found.trace.calls for visit in call.visits):
            for equation, _ in found.equations(visit):
                if isinstance(equation.left, ast.Tuple) or isinstance(equation.right, (ast.List, ast.Constant)):
                    continue                           # calls with several results, arrays side by side, 0 and 1
                turned = dataclasses.replace(equation, right=flipped(equation.right))
                error = found.evaluator(visit).error(turned)
                made = [value for _, value in visit.values if isinstance(value, np.ndarray)]
                noticed = error is None or not error <= 1e-6 or not any(value.any() for value in made)
                (caught if noticed else missed).add(equation.text)
    assert len(caught) > 150 and not missed - caught


@pytest.mark.parametrize("at, old, new", [
    ("layers:Dense.forward", "+ self.b", "- self.b"), ("layers:Dense.backward", "dy @ self.W.T", "-dy @ self.W.T"),
    ("gaussian:sample", "mu + offset", "mu - offset"), ("gaussian:kl_standard", "excess - logvar", "excess + logvar"),
    ("gaussian:kl_standard_backward", "dkl[:, None] * mu", "-dkl[:, None] * mu"),
    ("likelihood:Bernoulli.log_prob", "- np.log1p(e)", "+ np.log1p(e)"),
    ("vae:VAE.backward", "+ dq_k", "- dq_k"), ("vae:VAE.backward", "+ dz_k", "- dz_k - 1"),
    ("vae:VAE.bound", "self.p.forward(z)", "self.p.forward(-z)"),
    ("objective:ELBO.weighted", "- (np", "+ (np"), ("objective:ELBO.loss_backward", "-check", "check"),
])
def test_a_changed_sign_in_a_line_is_noticed(at, old, new):
    model, x, _ = CASES["vae"]()
    with gallery.broken(gallery.Bug("a sign", "", [(at, old, new)])):
        found = trace_pass(moved(model), x)
        errors = [(error, call.function.name) for call in found.trace.calls for visit in call.visits
                  for _, error in found.equations(visit)]
    wrong = {name for error, name in errors if error is None or not error < 1e-12}
    assert at.replace(":", ".") in wrong


@pytest.mark.parametrize("name", ["vae", "vae, weights", "hvae, two levels", "topdown, mixed"])
def test_one_entry_of_each_product_and_sum_is_worked_out(name, passes, pages):
    """Its numbers stand on the page, and the terms that are written add up to it."""
    found, page, seen = passes[name], pages(name), set()
    for visit in (visit for call in found.trace.calls for visit in call.visits):
        for equation, _ in found.equations(visit):
            worked = found.evaluator(visit).worked(equation)
            if equation.number == "1.2":
                assert worked is not None
            said, _, value = (worked or "").partition(" = ")[2].rpartition(" = ")
            if said and not re.search("[^-+.()0-9e ·−]", said):                # all of its terms, and no function
                size = eval(said.translate({8722: "+", 183: "*"}))             # without a minus
                assert eval(said.translate({8722: "-", 183: "*"})) == pytest.approx(float(value), abs=2e-3 * size)
                assert escape(worked) in page
                seen.add(equation.text)
    assert {"dW[i,j] = Σₙ x[n,i] dy[n,j]", "db[j] = Σₙ dy[n,j]"} <= seen


def test_every_equation_has_a_sentence():
    for equation in equations.table():
        assert 10 < len(equation.words) < 100 and equation.words[-1] == "."
        assert equation.words[0].isupper() or re.match(r"([b-z](_t)?|m's|p's) ", equation.words), equation.words


README = DEMOS.parent / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the README is not installed with the package")
def test_the_picture_in_the_readme_shows_the_page_as_it_is(passes):
    """The README holds a digest of the code, equations and sentences that its picture shows: lines 1 to 4, 10 to 14."""
    found, shown = passes["vae"], []
    for number, visit in enumerate((*found.bound.visits, *found.backward.visits), start=1):
        if number in (1, 2, 3, 4, 10, 11, 12, 13, 14):
            first, last = visit.statement.first, visit.statement.last
            shown += [number, *map(str.strip, visit.call.function.lines[first - 1:last])]
            shown += [(equation.number, equation.text, equation.words) for equation, _ in found.equations(visit)]
    digest = hashlib.sha256(repr(shown).encode()).hexdigest()[:12]
    stated = re.search(r"demos/explain\.png\)\n<!--.*?\b([0-9a-f]{12})\b.*?-->",
                       README.read_text(encoding="utf-8"), re.DOTALL)
    assert stated and stated[1] == digest, (
        "demos/explain.png no longer shows the page as it is: make it anew with the command in the comment below it in "
        f"README.md, see that it shows lines 1 to 4 and 10 to 14 whole, and put the digest {digest} into the comment")


@each_case
def test_the_symbols_of_a_page_are_in_its_legend(name, pages):
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', pages(name))
    said = " ".join(head for head, _ in rows)
    for symbol in ("x", "h", "n", "noise", "dv", *(["K"] if "weights" in name else [])):
        assert re.search(rf"\b{symbol}\b", said), symbol
    assert all(meaning for _, meaning in rows)


# the equations are those of MATH.md -------------------------------------------------------------------


def formulas(text):
    """Yield the formulas of a text, each as its parts between the = signs: what is indented, parted by two blanks."""
    for line in re.findall(r"^    (.*)", re.sub(r"\n +(?=[=] )", " ", text), re.MULTILINE):
        line = re.sub(r"\s+(=|≈)\s+", r" \1 ", line)
        for formula in re.split(r",\s{2,}|\s{2,}|:\s{2,}", line.strip()):
            yield [plain(part) for part in re.split(r" [=≈] ", formula.rstrip(","))]


def plain(text):
    """Return a formula without what may differ: blanks, and the kind of a bracket."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text)).replace("[", "(").replace("]", ")")


def stands(equation, text):
    left, right = map(plain, equation.text.split(" = ", 1))
    return any(left in parts[:-1] and right in parts[parts.index(left) + 1:] for parts in formulas(text))


def test_every_equation_stands_in_math_under_its_number():
    missing = [(e.number, e.text) for e in equations.table() if not stands(e, equations.sections()[e.number][1])]
    assert not missing and len(equations.table()) > 190


def test_every_equation_is_used_by_a_line(passes):
    used = {(e.number, e.case, e.text) for found in passes.values() for call in found.trace.calls
            for visit in call.visits for e, _ in found.equations(visit)}
    unused = [(e.number, e.text) for e in equations.table() if (e.number, e.case, e.text) not in used]
    assert not unused


def test_a_number_is_read_from_the_end_of_a_comment():
    assert equations.reference(" (n, d): z ~ q(z | x)   (3.2)") == ("3.2", "")
    assert equations.reference(" (5.3)") == ("5.3", "") and equations.reference(" (n, 2)") is None
    assert equations.reference(" the top   (3.5, N(0, I))") == ("3.5", "N(0, I)")
    assert equations.reference(" as in (3.5) and (3.2)") is None
    assert [e.text for e in equations.select("1.2", "", ("self.dW",))] == ["dW[i,j] = Σₙ x[n,i] dy[n,j]"]
    assert not equations.select("1.2", "", ("unheard_of",))


@pytest.mark.parametrize("text, parts", [
    ("dW = xᵀ dy", ["<msup><mi>x</mi><mrow><mi>T</mi></mrow></msup>", "<mi>dW</mi>"]),
    ("(a + b)/2", ["<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></mfrac>"]),
    ("z_{t+1}", ["<msub><mi>z</mi><mrow><mi>t</mi><mo>+</mo><mn>1</mn></mrow></msub>"]),
    ("√(v + 1)", ["<msqrt><mrow><mi>v</mi><mo>+</mo><mn>1</mn></mrow></msqrt>"]),
    ("exp w[k]/Σⱼ exp w[j]", ['<mfrac><mrow><mi>exp</mi><mspace width="0.2em"/><mrow><mi>w</mi>', "<mi>j</mi><mo",
                              "</mfrac></mrow></math>"]),
    ("a < b", ["<mo>&lt;</mo>", 'aria-label="a &lt; b"']),
])
def test_a_formula_is_set_as_mathematics(text, parts):
    found = mathml.mathml(text)
    assert all(part in found for part in parts), found


def test_every_equation_is_set_and_whole():
    for equation in equations.table():
        for set_ in (mathml.mathml(equation.text), mathml.broken(equation.text)):
            assert not Reader(set_).wrong and not Reader(set_).open, equation.text


# the numbers are those of the pass --------------------------------------------------------------------


def numbers(page, line, label):
    """Read the numbers of an array back from the page: those of its first picture after this line."""
    at = re.search(rf'data-line="{re.escape(line)}:\d+"(?:(?!data-line).)*?class="name"[^>]*>{re.escape(label)}<', page,
                   re.DOTALL)
    here = page[at.end():].partition('<div class="made')[0]
    text = re.search(r'<summary>numbers of [^<]*</summary><pre tabindex="0">(.*?)</pre>', here, re.DOTALL)
    if text is None:                                   # so few that they stand in the line
        return np.array([float(number) for number in re.search(r"<span>([^<]*)</span>", here)[1].split(", ")])
    return np.array([[float(number) for number in row.partition(":")[2].split()] for row in text[1].splitlines()[1:]])


def test_values_are_those_of_the_pass():
    model, x, _ = CASES["vae"]()
    model = moved(model).astype(np.float64)
    noise = model.draw_noise(2, np.random.default_rng(5))
    page = explain(model, x, noise)
    elbo, cache = model.forward(x, noise)
    model.backward(elbo.loss_backward(), cache)
    mu, logvar = model.encode(x)
    close = {"rtol": 6e-4, "atol": 1e-12}              # four digits are written
    np.testing.assert_allclose(numbers(page, "vae.VAE.bound", "z"), (mu + np.exp(logvar / 2) * noise).ravel(), **close)
    np.testing.assert_allclose(numbers(page, "vae.VAE.bound", "q"), np.hstack([mu, logvar]).ravel(), **close)
    np.testing.assert_allclose(numbers(page, "vae.VAE.bound", "reconstruction"), elbo.reconstruction, **close)
    np.testing.assert_allclose(numbers(page, "vae.VAE.bound", "prior_matching"), elbo.prior_matching, **close)
    found = re.findall(r'data-line="layers.Dense.backward:\d+"(?:(?!data-line).)*?>self\.dW<(?:(?!data-line).)*?min '
                       r"([^,]*), mean ([^,]*), max ([^<]*)<", page, re.DOTALL)
    dW = [model.gradients[f"{net}.{layer}.W"] for net in ("p1", "q1") for layer in ("dense2", "dense1")]
    expected = sorted((float(f"{g.min():.3g}"), float(f"{g.mean():.3g}"), float(f"{g.max():.3g}")) for g in dW)
    assert sorted(tuple(map(float, one)) for one in found) == expected
    for value in (elbo.reconstruction[0], -elbo.prior_matching[1], elbo.total[0]):
        assert f">{value:.3f}</text>" in page


def test_the_three_uses_of_a_latent_have_one_mark(pages):
    """z_1 of a hierarchy is met by q, by p, and as the point of a density: all three carry its number."""
    page = pages("hvae")
    number = re.search(r'class="name"[^>]*data-a="(\d+)">z\[1\]<', page)[1]
    uses = re.findall(rf'<a href="#a{number}" data-a="{number}">([^<]*)</a>', page)
    assert {"z[t - 1]", "z[t]"} <= set(uses) and uses.count("z[t]") >= 2


@pytest.mark.parametrize("name", ["vae", "vae, counts", "hvae", "hvae, printed"])
def test_a_backward_stands_beside_the_forward_that_it_answers(name, pages):
    folds = re.findall("<summary>unfold ([^<]*)</summary>", pages(name))
    alone = {fold for fold in folds if "backward" in fold and " and " not in fold}
    assert alone <= {"gaussian.halves_backward"} and len(folds) > 10       # one line of forward, two of backward


def test_a_changed_library_is_a_changed_page():
    bug = gallery.Bug("a constant", "", [("gaussian:sample", "np.exp(logvar / 2)", "np.exp(logvar / 2) * 1.0")])
    model, x, _ = CASES["vae"]()
    with gallery.broken(bug):
        page = explain(model, x)
    assert "np.exp(logvar / 2) * 1.0" in re.sub("<[^>]*>", "", page) and page.ok


def test_the_model_is_left_as_it_is_and_the_page_is_the_same_again():
    model, x, _ = CASES["hvae"]()
    theta, gradient = model.theta.copy(), model.gradient.copy()
    first = explain(model, x)
    np.testing.assert_array_equal(model.theta, theta)
    np.testing.assert_array_equal(model.gradient, gradient)
    assert explain(model, x) == first and sys.gettrace() is None


# a bug lights up at its line --------------------------------------------------------------------------


BUGS = {                                               # of the gallery, those that a gradient check sees: the statement
    "bias gradient averaged": "dy.mean(axis=0, out=self.db)",
    "gradient not set to zero": "self.dW += x.T @ dy",
    "reshape for transpose": "return dy @ self.W.reshape(self.W.T.shape)",
    "tanh' of the wrong variable": "return dy * (1 - np.tanh(y) ** 2)",
    "ReLU masks by the gradient": "return dy * (dy > 0)",
    "a leak in the forward alone": "return dy * np.maximum(x > 0, 0, dtype=dy.dtype)",
    "noise drawn twice": "dlogvar = dz * offset / 2",
    "sign of dKL/dmu": "dmu = -dkl[:, None] * mu",
    "gradient by the probability": "dlogits = dlog_prob[:, None] * (x - s) * s * (1 - s)",
    "reconstruction spares logvar": "dq = gaussian.halves_backward(dz, 0 * dz) + dq_k",
    "gradient overwritten": "dz = (dz_p[t] if t == 1 else dz_q[t] + dz_p[t]) + dz_k[t]",
    "z_t detached as the point": "dz = dz_q[t] + dz_p[t]",
    "z_{t+1} detached as the condition": "dz = dz_q[t] + dz_p[t] + dz_k[t]",       # a part of it, and none by itself
}
WITH = {"ReLU masks by the gradient": lambda: VAE(4, 2, (3,), activation="relu"),
        "a leak in the forward alone": lambda: VAE(4, 2, (3,), activation="leaky_relu")}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_lights_up_at_its_line_first(name):
    bug = next(bug for bug in gallery.BUGS if bug.name == name)
    model = WITH.get(name, lambda: HVAE(4, (3, 2), (3,)) if bug.module == "hvae" else VAE(4, 3, (3,)))()
    with gallery.broken(bug):
        page = explain(moved(model), np.random.default_rng(0).random((3, 4)))
    assert not page.ok and "wrong; the first in the order of backward is" in page.verdict
    assert page.count('id="wrong"') == 1 and 'href="#wrong"' in page
    before = page[:page.index('id="wrong"')]
    code = before[before.rindex('<pre class="code">'):].partition("</pre>")[0]
    said = re.sub("<[^>]*>", "", code).replace("&gt;", ">").replace("&quot;", '"')
    assert " ".join(said.partition("  #")[0].split()) == BUGS[name]
    assert not Reader(page).wrong
    folds = [tag for tag in re.findall(r"<details[^>]*>|</details>", before)]
    stack = []
    for tag in folds:
        stack.pop() if tag == "</details>" else stack.append(tag)
    assert all(" open" in tag for tag in stack), "it is folded away"


def test_a_wrong_gradient_that_no_line_assigns_is_not_passed_over():
    change = ("layers:Dense.backward", "np.dot(x.T, dy, out=self.dW)", "np.multiply(1.1, x.T @ dy, self.dW)")
    with gallery.broken(gallery.Bug("written into an argument", "", [change])):
        page = explain(moved(VAE(4, 3, (3,))), np.random.default_rng(0).random((3, 4)))
    assert not page.ok and page.verdict.startswith("the gradient by W is wrong, off by ")
    assert f'<p class="wrong">{page.verdict}.</p>' in page and not Reader(page).wrong


@pytest.mark.parametrize("cell", [(0, 1), (1, 0)])
def test_columns_of_a_table_that_are_read_in_turn_are_not_taken_for_one_another(cell):
    x = np.array([[1.0, 5, 0, 1], [0, 2, 1, 0], [1, 7, 0, 1]])
    x[cell] = np.nan
    model = VAE(4, 2, (3,), likelihood=Mixed([Bernoulli(1), Poisson(1), Categorical(2)], missing=True))
    assert explain(moved(model), x).ok


# the command, the function, the browser ---------------------------------------------------------------


@pytest.mark.parametrize("words", [["vae"], ["hvae", "--latents", "3,2"], ["topdown", "--importance", "2"],
                                   ["diffusion"]], ids=lambda words: words[0])
def test_the_command_writes_a_page_and_says_how_right_it_is(words, tmp_path, capsys):
    path = tmp_path / "page.html"
    assert cli.main(["explain", "--model", *words, "--train-epochs", "1", "--out", str(path)]) == 0
    assert float(re.search(r"relative error is (\S+)", capsys.readouterr().out)[1]) < 1e-12
    assert not Reader(path.read_text(encoding="utf-8")).wrong


def test_the_command_for_a_run_and_for_a_users_rows(tmp_path, capsys):
    np.savetxt(tmp_path / "table.csv", RNG.standard_normal((40, 3)), delimiter=",", header="a,b,c", comments="")
    run, page = str(tmp_path / "run"), tmp_path / "page.html"
    assert cli.main(["train", "--data", str(tmp_path / "table.csv"), "--likelihood", "gaussian", "--latents", "2",
                     "--hidden", "4", "--epochs", "2", "--out", run]) == 0
    assert cli.main(["explain", run, "--rows", "1", "--out", str(page)]) == 0
    assert "after 2 epochs" in page.read_text(encoding="utf-8")
    capsys.readouterr()
    for words, says in [(["--model", "vae"], "leave out --model"), (["--train-epochs", "3"], "leave it out"),
                        (["--data", str(tmp_path / "none.csv")], "none.csv")]:
        assert cli.main(["explain", run, *words, "--out", str(page)]) == 2
        assert says in capsys.readouterr().err
    assert cli.main(["explain", "--out", str(tmp_path / "page.pdf")]) == 2
    assert ".html" in capsys.readouterr().err


def test_a_wrong_gradient_makes_the_exit_code_1(tmp_path, capsys):
    bug = next(bug for bug in gallery.BUGS if bug.name == "bias gradient averaged")
    with gallery.broken(bug):
        assert cli.main(["explain", "--train-epochs", "0", "--out", str(tmp_path / "page.html")]) == 1
    assert "self.db in layers.Dense.backward" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, says", [
    ((gaussian, DIGITS), "model must be an Autoencoder, a VAE, an HVAE, a TopDown or a Diffusion; got module"),
    ((VAE(64, 2), DIGITS[:, 1:]), "x must have shape"),
    ((VAE(64, 2), DIGITS, np.zeros((3, 2))), "noise must have shape"),
    ((VAE(64, 2), DIGITS, None, 3), "path must be"),
])
def test_a_bad_argument_is_named(arguments, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        explain(*arguments)


def test_importance_weights_are_for_models_that_draw():
    with pytest.raises(ValueError, match="^objective must be 'elbo' for a Autoencoder, which has a bound of its own"):
        explain(Autoencoder(64, 2), DIGITS, n_samples=2)


def test_a_notebook_shows_it(pages):
    page = pages("vae")
    assert page._repr_html_().startswith("<iframe srcdoc=") and isinstance(page, str)


def test_pictures():
    picture = pictures.heat_map(np.array([[0, 1, 2], [-1, 0, 1.0]]), "z")
    assert 'alt="z: heat map of 2 by 3 numbers, from -1 to 2"' in picture
    assert "1 picture of 2 by 2 pixels" in pictures.heat_map(np.zeros((1, 4)), "x", (2, 2))
    assert "the first 4 pictures of 2 by 2 pixels" in pictures.heat_map(np.zeros((5, 4)), "x", (2, 2))
    assert "not finite" in pictures.heat_map(np.array([np.nan]), "x")
    assert "from 1 to 2" in pictures.heat_map(np.array([np.nan, 1, 2]), "x")
    assert (pictures.colours(np.array([[np.nan, 1.0]]))[0, 0] == 150).all()
    np.testing.assert_array_equal(pictures.colours(np.array([[-2.0, 0, 2]]))[0],
                                  [pictures.LOW, pictures.MIDDLE, pictures.HIGH])


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "chromium-browser",
                                               "google-chrome"))), None)


in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
PDF = shutil.which("pdftotext")


def browse(path, *options):
    """Return what a browser without a window says of a page."""
    return subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000",
                           *options, path.as_uri()], capture_output=True, text=True, timeout=120).stdout


@pytest.mark.slow
@in_a_browser
@pytest.mark.skipif(PDF is None, reason="no pdftotext is installed")
def test_on_paper_the_first_dW_can_be_computed_with_a_pen(tmp_path, pages, passes):
    """The printed sheet has every number of the first layer's x, dy and dW."""
    (tmp_path / "page.html").write_text(pages("vae"), encoding="utf-8")
    browse(tmp_path / "page.html", f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    text = subprocess.run([PDF, "-layout", str(tmp_path / "page.pdf"), "-"], capture_output=True, text=True,
                          timeout=60).stdout
    dense = next(call for call in reversed(passes["vae"].trace.calls) if call.function.name == "layers.Dense.backward")
    x, dy = dense.args["cache"], dense.args["dy"]
    for row in dense.owner.dW:
        assert re.search(r"\d+: +" + " +".join(re.escape(f"{number:.4g}") for number in row), text)
    for row in [*x.reshape(-1, 8), *dy]:
        assert re.search(r"\d+: +" + " +".join(re.escape(f"{number:.4g}") for number in row), text)
    np.testing.assert_allclose(dense.owner.dW, x.T @ dy)


@pytest.mark.slow
@in_a_browser
def test_in_a_notebook_a_link_stays_within_the_frame(tmp_path, pages):
    """The frame goes to the array, and the notebook about it stays where it is."""
    probe = """<script>addEventListener('load',()=>{const frame=document.querySelector('iframe');
    const inside=frame.contentDocument;
    inside.querySelectorAll('details').forEach(d=>d.open=true);const link=inside.querySelector('.code a[href^="#a"]');
    const place=inside.querySelector(link.hash);link.click();setTimeout(()=>{document.title='at '+
    (frame.contentDocument===inside&&inside.querySelector('h1')!==null&&
    inside.querySelector(':target')===place)},500)})</script>"""
    (tmp_path / "notebook.html").write_text(f"<title>-</title>{pages('vae')._repr_html_()}{probe}", encoding="utf-8")
    assert "<title>at true</title>" in browse(tmp_path / "notebook.html", "--dump-dom")


@pytest.mark.slow
@in_a_browser
def test_a_click_on_a_number_shows_its_sum(tmp_path, pages, passes):
    probe = """<script>document.querySelectorAll('details').forEach(d=>d.open=true);
    const steps=[...document.querySelectorAll('[data-line^="layers.Dense.backward"]')];
    const made=steps.flatMap(s=>[...s.querySelectorAll('.made')]).find(m=>
    /self.dW/.test(m.textContent)&&/\\n *3:/.test(m.textContent)&&!/pixels/.test(m.textContent));
    const pre=made.querySelector('pre'),text=pre.firstChild,lines=pre.textContent.split('\\n');
    const line=lines.findIndex(l=>/^ *3:/.test(l)),start=lines.slice(0,line).join('\\n').length+1;
    const cell=[...lines[line].matchAll(/[^ ]+/g)][2],range=document.createRange();
    range.setStart(text,start+cell.index);range.setEnd(text,start+cell.index+cell[0].length);
    pre.scrollIntoView();pre.scrollTop=0;pre.style.maxHeight='none';let b=range.getBoundingClientRect();
    scrollBy(0,b.y-200);b=range.getBoundingClientRect();
    pre.dispatchEvent(new MouseEvent('click',{bubbles:true,clientX:b.x+b.width/2,clientY:b.y+b.height/2}));
    document.title=document.querySelector('.asked')?.textContent??'nothing'</script></body>"""
    calls = [call for call in passes["vae"].trace.calls if call.function.name == "layers.Dense.backward"
             and call.args["cache"].shape[1] > 3]
    (tmp_path / "page.html").write_text(pages("vae").replace("</body>", probe), encoding="utf-8")
    title = re.search("<title>(.*)</title>", browse(tmp_path / "page.html", "--dump-dom", "--window-size=1400,900"))[1]
    said = re.fullmatch(r"dW\[3, 1\] = (.*) = (.*)", title)
    assert said, title
    terms = [[float(number.strip("()").replace("−", "-")) for number in term.split(" · ")]
             for term in said[1].split(" + ")]
    close = [call for call in calls if np.allclose(terms, np.column_stack(
        [call.args["cache"][:, 3], call.args["dy"][:, 1]]), rtol=1e-3, atol=1e-12)]
    assert len(close) == 1 and float(said[2].replace("−", "-")) == pytest.approx(
        float(close[0].owner.dW[3, 1]), rel=2e-3)


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser_nothing_stands_wider_than_the_window(width, tmp_path, pages):
    """The page measures itself, every fold open: what stands wider than its place is named in the title."""
    probe = """<script>document.querySelectorAll('details').forEach(d=>d.open=true);
    const wide=[...document.querySelectorAll('main *')].filter(e=>!e.closest('svg,.wide,.eq,pre,math')&&
    e.getBoundingClientRect().right>innerWidth+1).map(e=>e.className||e.tagName);
    document.title='wide: '+wide.length+' '+wide.slice(0,3)+' maths: '+
    [...document.querySelectorAll('math')].filter(m=>m.getBoundingClientRect().height<8).length;</script></body>"""
    for name in ("vae", "hvae"):
        path = tmp_path / "page.html"
        path.write_text(pages(name).replace("</body>", probe), encoding="utf-8")
        found = subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
                                "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
        assert "<title>wide: 0  maths: 0</title>" in found.stdout, re.search("<title>.*</title>", found.stdout)[0]
