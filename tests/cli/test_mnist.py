"""Data sets: the right numbers from the right place; a download that is whole or not there, from a real server."""

import gzip
import hashlib
import io
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from scratchvae.data import download, mnist
from test_files import idx

NAMES = list(mnist.MNIST_FILES)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Each test with a cache of its own, no folder of data, and no proxy before its server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SCRATCHVAE_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")


def tree(folder):
    """Every file below a folder."""
    return sorted(os.path.relpath(os.path.join(where, name), folder)
                  for where, _, names in os.walk(folder) for name in names)


# a small MNIST, and a server that can misbehave ----------------------------------------------------------------------

X = {"train": np.random.default_rng(1).integers(0, 256, (40, 5, 4), dtype=np.uint8),
     "t10k": np.random.default_rng(2).integers(0, 256, (10, 5, 4), dtype=np.uint8)}
Y = {part: (np.arange(len(x)) % 10).astype(np.uint8) for part, x in X.items()}
FILES = {name: gzip.compress(idx((X if "images" in name else Y)[name.split("-")[0]]), mtime=0) for name in NAMES}


def is_small_mnist(data):
    for x, y, part in ((data.x_train, data.y_train, "train"), (data.x_test, data.y_test, "t10k")):
        np.testing.assert_array_equal(x, X[part].reshape(-1, 20).astype(np.float32) / np.float32(255))
        assert x.dtype == np.float32 and y.tolist() == Y[part].tolist() and y.dtype == np.int64
    return data.image_shape == (5, 4) and data.x_valid is None


def put(folder, names=NAMES, unpack=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        data = gzip.decompress(FILES[name]) if unpack else FILES[name]
        (folder / name.removesuffix(".gz" * unpack)).write_bytes(data)


def answer(handler, body, length=None):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def drip(handler, body):
    """A byte every twentieth of a second: never silent, never done."""
    answer(handler, b"", len(body))
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(body[:1])


BEHAVIOURS = {                                               # what to do, and what the sentence says of it
    "good": (answer, None),
    "missing": (lambda handler, body: handler.send_error(404), "HTTP Error 404"),
    "broken": (lambda handler, body: handler.send_error(503), "HTTP Error 503"),
    "cut": (lambda handler, body: answer(handler, body[:-7], len(body)), "bytes came, where|IncompleteRead"),
    "cut at once": (lambda handler, body: None, "closed connection without response|Connection reset"),
    "empty": (lambda handler, body: answer(handler, b""), "0 bytes came, where"),
    "wrong byte": (lambda handler, body: answer(handler, body[:-1] + b"?"), "what came has md5 .*, not "),
    "too long": (lambda handler, body: answer(handler, body + b"?"), "[0-9]+ bytes came, where"),
    "endless": (lambda handler, body: [answer(handler, b"", 10**12), *iter(lambda: handler.wfile.write(bytes(999)), 0)],
                "[0-9]+ bytes came, where"),
    "a login page": (lambda handler, body: answer(handler, b"<html>Log in</html>"), "19 bytes came, where"),
    "no HTTP": (lambda handler, body: handler.wfile.write(b"\x00\x1b[31m\r\n\xff" * 9), "http://"),
    "a false length": (lambda handler, body: answer(handler, body, "many"), None),
    "silent": (lambda handler, body: handler.server.closing.wait(), "timed out"),
    "silent in the middle": (lambda handler, body: [answer(handler, body[:9], len(body)), handler.wfile.flush(),
                                                    handler.server.closing.wait()], "timed out"),
    "dripping": (drip, "not here after 0.5 seconds"),
    "in a circle": (lambda handler, body: [handler.send_response(302), handler.send_header("Location", handler.path),
                                           handler.end_headers()], "HTTP Error 302|redirect"),
    "to a file": (lambda handler, body: [handler.send_response(302), handler.send_header("Location", "file:///file"),
                                         handler.end_headers()], "not allowed"),
}


class Handler(BaseHTTPRequestHandler):
    """The path is /behaviour/name; what was asked for is kept."""

    def do_GET(self):
        behaviour, name = self.path.lstrip("/").replace("%20", " ").split("/")
        self.server.asked.append((behaviour, name))
        try:
            BEHAVIOURS[behaviour][0](self, FILES[name])
        except OSError:
            pass                                             # the client has gone: it may

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """The URL of a server on this machine, which has the small MNIST in place of the real one."""
    contents = {name: (len(data), hashlib.md5(data).hexdigest()) for name, data in FILES.items()}
    monkeypatch.setattr(mnist, "MNIST_FILES", contents)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.asked, http.closing, http.daemon_threads = [], threading.Event(), True
        http.url = lambda behaviour: f"http://127.0.0.1:{http.server_port}/{behaviour.replace(' ', '%20')}/"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http
        http.closing.set()
        http.shutdown()
        thread.join()


def test_mnist_is_downloaded_once_into_the_cache(server, tmp_path, capsys):
    mirrors = [server.url("good")]
    assert is_small_mnist(mnist.mnist(mirrors=mirrors))
    assert [name for _, name in server.asked] == NAMES
    assert tree(tmp_path) == sorted(f"cache/scratchvae/mnist/{name}" for name in NAMES)
    assert all((tmp_path / "cache/scratchvae/mnist" / name).read_bytes() == FILES[name] for name in NAMES)
    assert is_small_mnist(mnist.mnist(mirrors=mirrors)) and is_small_mnist(mnist.mnist(mirrors=[]))
    assert len(server.asked) == 4, "what is there is not asked for again"
    assert capsys.readouterr() == ("", ""), "nothing is shown where there is no terminal"


def test_mnist_is_downloaded_into_the_folder_that_is_named(server, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    assert is_small_mnist(mnist.mnist(folder, mirrors=[server.url("good")]))
    assert tree(tmp_path) == sorted(f"here/{name}" for name in NAMES)


@pytest.mark.parametrize("behaviour", [name for name in BEHAVIOURS if name not in ("good", "a false length")])
def test_a_download_that_fails_leaves_nothing_and_says_what_to_do(server, tmp_path, monkeypatch, behaviour):
    monkeypatch.setattr(download, "MAX_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(OSError, match=BEHAVIOURS[behaviour][1]) as caught:
        mnist.mnist(mirrors=[server.url(behaviour)], timeout=0.3)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 900
    assert message.startswith(f"cannot download {NAMES[0]} (http://")
    assert f"put {', '.join(NAMES)} into '{tmp_path}/cache/scratchvae/mnist', or set SCRATCHVAE_DATA" in message
    assert tree(tmp_path) == [], "no half-written file may remain"
    assert time.monotonic() - start < 20, "it came to an end"


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_the_next_mirror_helps(server, tmp_path, monkeypatch, behaviour):
    """After any failure of the first; a Content-Length that is no number does no harm, as the md5 is right."""
    monkeypatch.setattr(download, "MAX_SECONDS", 0.5)
    monkeypatch.setattr(mnist, "MNIST_FILES", {NAMES[0]: mnist.MNIST_FILES[NAMES[0]]})
    put(tmp_path / "cache" / "scratchvae" / "mnist", NAMES[1:])
    paths = download.download(mnist.MNIST_FILES, tmp_path / "cache" / "scratchvae" / "mnist",
                              [server.url(behaviour), server.url("good")], 0.2)
    assert paths[0].read_bytes() == FILES[NAMES[0]] and len(tree(tmp_path)) == 4
    assert ("good" in dict(server.asked[1:])) == (behaviour not in ("good", "a false length"))


def test_a_download_goes_on_where_it_was_cut(server, tmp_path):
    put(tmp_path / "cache" / "scratchvae" / "mnist", NAMES[:2])
    with pytest.raises(OSError, match=f"cannot download {NAMES[2]}"):
        mnist.mnist(mirrors=[server.url("cut")])
    assert len(tree(tmp_path)) == 2
    assert is_small_mnist(mnist.mnist(mirrors=[server.url("good")]))
    assert [name for behaviour, name in server.asked if behaviour == "good"] == NAMES[2:]


def test_what_is_missing_is_put_where_the_rest_is(server, tmp_path, monkeypatch):
    put(tmp_path / "data" / "mnist", NAMES[:3])
    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path / "data"))
    assert is_small_mnist(mnist.mnist(mirrors=[server.url("good")]))
    assert tree(tmp_path) == sorted(f"data/mnist/{name}" for name in NAMES)


@pytest.mark.parametrize("data", [b"other", FILES[NAMES[0]][:-1] + b"?"], ids=["length", "md5"])
def test_a_download_does_not_mix_with_files_of_another_data_set(server, tmp_path, data):
    (tmp_path / NAMES[0]).write_bytes(data)
    with pytest.raises(ValueError, match=f"{NAMES[0]}' is not the {NAMES[0]} that was published.*remove it"):
        mnist.mnist(tmp_path, mirrors=[server.url("good")])
    assert tree(tmp_path) == [NAMES[0]] and (tmp_path / NAMES[0]).read_bytes() == data and not server.asked


def test_without_a_network_one_sentence_says_where_to_put_which_files(tmp_path):
    with pytest.raises(OSError, match="Connection refused") as caught:
        mnist.mnist(mirrors=["http://127.0.0.1:1/", "http://127.0.0.1:1/again/"])
    message = str(caught.value)
    assert message.isprintable() and all(name in message for name in NAMES)
    assert f"into '{tmp_path}/cache/scratchvae/mnist', or set SCRATCHVAE_DATA to" in message
    assert "http://127.0.0.1:1/again/" in message, "every mirror is told of"
    assert tree(tmp_path) == []


def test_a_terminal_sees_the_progress_of_each_file(server, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    mnist.mnist(mirrors=[server.url("good")])
    lines = terminal.getvalue().split("\n")
    assert [line.rpartition("\r")[2].partition(":")[0] for line in lines] == [*NAMES, ""]
    assert lines[0].endswith(": 0.0 of 0.0 MB")


def test_a_cache_that_cannot_be_made_and_a_full_disk(server, tmp_path, monkeypatch):
    (tmp_path / "cache").write_bytes(b"a file in the way")
    with pytest.raises(OSError, match="scratchvae/mnist' cannot be made: '.*cache' is a file, or a link to nothing"):
        mnist.mnist(mirrors=[server.url("good")])
    (tmp_path / "cache").unlink()

    def full(*args):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"{NAMES[0]}' cannot be written: No space left on device"):
        mnist.mnist(mirrors=[server.url("good")])
    assert tree(tmp_path) == []


# where they are looked for -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("unpack", [False, True], ids=["gzip", "plain"])
@pytest.mark.parametrize("below", ["", "mnist"])
@pytest.mark.parametrize("where", ["folder", "variable", "cache"])
def test_mnist_is_read_from_each_of_the_places(tmp_path, monkeypatch, where, below, unpack):
    place = tmp_path / "cache" / "scratchvae" if where == "cache" else tmp_path / "place"
    put(place / below, unpack=unpack)
    if where == "variable":
        monkeypatch.setenv("SCRATCHVAE_DATA", str(place))
    assert is_small_mnist(mnist.mnist(place if where == "folder" else None, mirrors=[]))


def test_the_folder_comes_before_the_variable_and_that_before_the_cache(tmp_path, monkeypatch):
    places = [tmp_path / "folder", tmp_path / "variable", tmp_path / "cache" / "scratchvae"]
    for n, place in enumerate(places, start=1):
        put(place)
        (place / NAMES[0]).write_bytes(gzip.compress(idx(np.full((40, 5, 4), n, np.uint8))))
    monkeypatch.setenv("SCRATCHVAE_DATA", str(places[1]))
    for n, folder in ((1, places[0]), (2, None)):
        assert mnist.mnist(folder).x_train[0, 0] == np.float32(n) / np.float32(255)
    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path / "nowhere"))
    assert mnist.mnist().x_train[0, 0] == np.float32(3) / np.float32(255)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    for load in (mnist.mnist, mnist.binarized_mnist):
        with pytest.raises(ValueError, match="folder must be one that exists; got '.*nowhere'"):
            load(tmp_path / "nowhere")


@pytest.mark.parametrize("name, data, says", [
    (NAMES[0], FILES[NAMES[0]][:-9], "its compressed data are cut short"),
    (NAMES[0], idx(X["train"].astype(">f4")), "must have pictures of 8-bit pixels"),
    (NAMES[0], idx(X["train"].reshape(40, 20)), "must have pictures of 8-bit pixels"),
    (NAMES[1], FILES[NAMES[3]], r"one 8-bit label for each of 40 pictures; has uint8 of shape \(10,\)"),
    (NAMES[1], idx(Y["train"].astype(">f4")), r"one 8-bit label for each of 40 pictures; has float32 of shape \(40,\)"),
    (NAMES[1], FILES[NAMES[0]], r"one 8-bit label for each of 40 pictures; has uint8 of shape \(40, 5, 4\)"),
    (NAMES[2], idx(X["t10k"][:, :4]), r"must have pictures of shape \(5, 4\); has \(4, 4\)"),
    (NAMES[3], b"", "is empty"),
])
def test_an_mnist_file_that_is_not_what_it_should_be_is_named(tmp_path, name, data, says):
    put(tmp_path)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"/{name}'.*{says}"):
        mnist.mnist(tmp_path)


# static binarisation -------------------------------------------------------------------------------------------------

ROWS = {"train": 30, "valid": 7, "test": 5}
BITS = {part: np.random.default_rng(n).integers(0, 2, (n, 784), dtype=np.uint8) for part, n in ROWS.items()}


def amat(bits, end=" \n"):
    return "".join(" ".join(map(str, row)) + end for row in bits).encode()


def put_binarized(folder, form, bits=BITS):
    folder.mkdir(parents=True, exist_ok=True)
    if form == "packed":
        np.savez(folder / "binarized_mnist_packed.npz", **{part: np.packbits(b, axis=1) for part, b in bits.items()})
    for part, b in bits.items() if form != "packed" else ():
        end = {"space": " \n", "no space": "\n", "windows": "\r\n", "gzip": "\n", "no last line end": "\n"}[form]
        data = amat(b, end)[:-1 if form == "no last line end" else None]
        name = f"binarized_mnist_{part}.amat" + ".gz" * (form == "gzip")
        (folder / name).write_bytes(gzip.compress(data) if form == "gzip" else data)


@pytest.fixture
def few_rows(monkeypatch):
    monkeypatch.setattr(mnist, "BINARIZED_ROWS", ROWS)


@pytest.mark.parametrize("form", ["packed", "space", "no space", "windows", "no last line end", "gzip"])
@pytest.mark.parametrize("below", ["", "binarized_mnist"])
def test_binarized_mnist_is_the_same_from_every_form_of_its_files(few_rows, tmp_path, form, below):
    put_binarized(tmp_path / "cache" / "scratchvae" / below, form)
    data = mnist.binarized_mnist()
    for part, x in (("train", data.x_train), ("valid", data.x_valid), ("test", data.x_test)):
        assert x.dtype == np.float32 and (x == BITS[part]).all()
    assert data.y_train is data.y_test is None and data.image_shape == (28, 28)


def test_the_text_in_the_folder_comes_before_the_packed_file_elsewhere(few_rows, tmp_path, monkeypatch):
    put_binarized(tmp_path / "folder", "space")
    put_binarized(tmp_path / "variable", "packed", {part: 1 - bits for part, bits in BITS.items()})
    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path / "variable"))
    assert (mnist.binarized_mnist(tmp_path / "folder").x_test == BITS["test"]).all()
    assert (mnist.binarized_mnist().x_test == 1 - BITS["test"]).all()


def test_without_its_files_one_sentence_says_where_they_can_be_had(tmp_path):
    says = "get binarized_mnist_train.amat, .*from http.*put them into '.*cache/scratchvae', or set SCRATCHVAE_DATA"
    with pytest.raises(FileNotFoundError, match=says) as caught:
        mnist.binarized_mnist()
    assert str(caught.value).isprintable()


GOOD = amat(BITS["test"])


@pytest.mark.parametrize("data", [
    b"", GOOD[:-1569], GOOD + GOOD[:1569], GOOD[:-10], b"2" + GOOD[1:], b"x" + GOOD[1:],
    GOOD.replace(b"0 1", b"0,1", 1), b"0 " + GOOD, GOOD.replace(b" \n", b" 1\n"), GOOD.replace(b" \n", b"?\n", 1),
    GOOD.replace(b"\n", b" ", 1), GOOD[2:1569] + b"0 " + GOOD[1569:], b"\0" * len(GOOD), b"0 1\n" * 5, GOOD + b"\n\n1",
], ids=range(15))
def test_a_malformed_text_is_refused(few_rows, tmp_path, data):
    put_binarized(tmp_path, "space")
    (tmp_path / "binarized_mnist_test.amat").write_bytes(data)
    with pytest.raises(ValueError, match="binarized_mnist_test.amat': must have 5 lines of 784 zeros and ones"):
        mnist.binarized_mnist(tmp_path)


def test_a_missing_part_and_a_packed_file_of_another_shape_are_named(few_rows, tmp_path):
    put_binarized(tmp_path, "space")
    (tmp_path / "binarized_mnist_valid.amat").unlink()
    with pytest.raises(FileNotFoundError, match="binarized_mnist_valid.amat' cannot be read: No such file"):
        mnist.binarized_mnist(tmp_path)
    np.savez(tmp_path / "binarized_mnist_packed.npz", train=np.packbits(BITS["train"], axis=1)[:, 1:])
    with pytest.raises(ValueError, match=r"'train' must be uint8 of shape \(30, 98\); got .* \(30, 97\)"):
        mnist.binarized_mnist(tmp_path)
    np.savez(tmp_path / "binarized_mnist_packed.npz", train=np.packbits(BITS["train"], axis=1))
    with pytest.raises(ValueError, match="array 'valid' is not there; there is 'train'"):
        mnist.binarized_mnist(tmp_path)


# the real ones, digits, binarize -------------------------------------------------------------------------------------

def test_the_published_checksums_and_the_real_mnist(shared_data):
    for name, (n_bytes, md5) in mnist.MNIST_FILES.items():
        data = (shared_data / "mnist" / name).read_bytes()
        assert (len(data), hashlib.md5(data).hexdigest()) == (n_bytes, md5)
    data = mnist.mnist(shared_data)
    assert data.x_train.shape == (60000, 784) and data.x_test.shape == (10000, 784) and data.image_shape == (28, 28)
    moments = data.x_train.mean(dtype=float), data.x_train.std(dtype=float)
    np.testing.assert_allclose(moments, [0.1307, 0.3081], atol=5e-5)
    assert np.bincount(data.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_the_real_binarized_mnist(shared_data):
    data = mnist.binarized_mnist(shared_data)
    for x, n in ((data.x_train, 50000), (data.x_valid, 10000), (data.x_test, 10000)):
        assert x.shape == (n, 784) and set(np.unique(x)) == {0, 1}
        assert 0.12 < x.mean() < 0.14, "as much ink as in MNIST, 0.1307"
