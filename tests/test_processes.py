"""Workers in unusual homes: one sentence says what is wrong, nothing else in the process has changed, nobody waits."""

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import scratchvae
from scratchvae import VAE, evaluate, fit
from scratchvae.train import processes, team
from scratchvae.train.progress import Interrupted

X = np.random.default_rng(0).random((40, 6)).astype(np.float32)
BEGIN = """
import os, signal, sys, time
import numpy as np
from scratchvae import VAE, fit
from scratchvae.train import processes, team
team.SMALL = 0
x = np.ones((40, 6), np.float32)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals and fork")


def python(text, *words, **options):
    """Run a script in a process of its own; return it when it has ended."""
    environment = {**os.environ, "PYTHONPATH": str(Path(scratchvae.__file__).parents[1])}
    return subprocess.run([sys.executable, *map(str, words or ("-c", BEGIN + text))], capture_output=True, text=True,
                          timeout=100, env=environment, **options)


def last_line(run):
    """Return what a script that failed said last, and nothing but one traceback of its own did it say."""
    assert run.returncode == 1 and run.stderr.count("Traceback (most recent call last)") == 1, run.stderr
    return run.stderr.splitlines()[-1]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


# the process itself --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds, fits", [(1, 2), pytest.param(3, 3, marks=pytest.mark.slow)])
def test_two_fits_in_threads_leave_the_process_as_it_was(monkeypatch, rounds, fits):
    script = sys.modules["__main__"]
    monkeypatch.setattr(script, "__file__", __file__, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = dict(os.environ), script.__file__, script.__spec__
    for _ in range(rounds):
        threads = [threading.Thread(target=fit, args=(VAE(6, 2, (3,)), X), kwargs={"epochs": 1, "workers": 2})
                   for _ in range(fits)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (dict(os.environ), script.__file__, script.__spec__) == before


def test_the_script_is_not_looked_for_while_another_thread_hides_it(monkeypatch):
    script, found = sys.modules["__main__"], []
    monkeypatch.setattr(script, "__file__", __file__, raising=False)
    monkeypatch.setattr(script, "__spec__", None)
    thread = threading.Thread(target=lambda: found.append(processes.script_of(b"__main__")))
    with processes.starting():
        thread.start()
        thread.join(0.2)
    thread.join()
    assert found == [{"init_main_from_path": __file__}]


def test_a_worker_multiplies_with_one_thread():
    with processes.Workers(tell_threads, 1) as workers:
        assert workers.hear_all() == ["1"]


def tell_threads(pipe, w, n, memory):
    pipe.send(None)
    pipe.send(os.environ["OPENBLAS_NUM_THREADS"])


# where none can be had -----------------------------------------------------------------------------------------------


def fit_here(workers):
    """Train; return the error, or theta."""
    model = VAE(6, 2, (3,))
    small, team.SMALL = team.SMALL, 0
    try:
        fit(model, X, epochs=1, workers=workers)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        team.SMALL = small
    return model.theta


def test_in_a_pool(capfd):
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(fit_here, (2,)).startswith("ChildProcessError: workers cannot be started by a process of ")
        np.testing.assert_array_equal(pool.apply(fit_here, ("auto",)), fit_here(1))
    assert capfd.readouterr().err.startswith("workers='auto' goes on without workers: workers cannot be started by a ")


def send_fit(pipe):
    pipe.send(fit_here(2))


def test_in_a_process_that_has_the_name_of_a_worker():
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=send_fit, args=(theirs,), name="worker 1 of 2")
    process.start()
    np.testing.assert_array_equal(ours.recv(), fit_here(1))
    process.join()


def test_in_a_process_of_joblib(monkeypatch, capsys):
    """It has a start method that only joblib knows."""
    expected = fit_here(1)
    monkeypatch.setattr(processes.multiprocessing, "get_start_method", lambda: "loky")
    assert "workers cannot be started by a process of" in fit_here(2) and capsys.readouterr().err == ""
    np.testing.assert_array_equal(fit_here("auto"), expected)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("workers='auto' goes on without workers: workers cannot be sta")


def test_in_an_executor():
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(fit_here, 2).result(), fit_here(1))


MORE = [pytest.param(closed, marks=pytest.mark.slow) for closed in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))]
CLASS = """
class Own(VAE):
    pass
"""


@pytest.mark.parametrize("words", [("-c",), pytest.param(("-",), marks=pytest.mark.slow)])
def test_a_class_that_no_file_defines(words):
    for workers, says in (("2", "ValueError: model must be of a class that a file defines"), ("'auto'", "")):
        text = BEGIN + CLASS + f"fit(Own(6, 2, (3,)), x, epochs=1, workers={workers})"
        run = python("", *words, *([text] if words == ("-c",) else []), input=text)
        if says:
            assert last_line(run).startswith(says)
        else:
            assert run.returncode == 0 and run.stderr.count("\n") == 1
            assert run.stderr.startswith("workers='auto' goes on without workers: model must be of a class")


def test_a_script_without_a_guard(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(BEGIN + CLASS + "fit(Own(6, 2, (3,)), x, epochs=1, workers=2)")
    assert last_line(python("", path)).endswith('put what it does under `if __name__ == "__main__":`')
    path.write_text(BEGIN + CLASS + "fit(Own(6, 2, (3,)), x, epochs=1, workers='auto')\nprint('done')")
    run = python("", path)
    assert (run.returncode, run.stdout) == (0, "done\n") and run.stderr.count("\n") == 1


@posix
def test_too_little_memory_to_start():
    """Python itself starts, NumPy does not."""
    run = python("import resource\n"
                 "resource.setrlimit(resource.RLIMIT_AS, (60 << 20, resource.RLIM_INFINITY))\n"
                 "processes.Workers(len, 1)")
    assert "ChildProcessError: worker 1 of 1 could not start: " in last_line(run) or "emory" in last_line(run)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("spare", [4, *(pytest.param(spare, marks=pytest.mark.slow) for spare in (0, 8))])
def test_too_little_memory_to_multiply(spare):
    """OpenBLAS ends a worker that it finds no memory in; this process has taken its own before."""
    run = python(f"""
import resource
fit(VAE(6, 2, (3,)), x, epochs=1, workers=1)
size = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (size + ({spare} << 20), resource.RLIM_INFINITY))
fit(VAE(6, 2, (3,)), x, epochs=1, workers="auto")
print("done")""")
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr
    assert run.stderr.count("\n") <= 1 and run.stderr.startswith(("", "workers='auto' goes on without workers: "))


def test_a_worker_multiplies_before_it_says_that_it_is_there(monkeypatch):
    """Where there is no memory for a product, that is a start that failed."""
    class Pipe:
        told = []
        send = told.append

    def none(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)
    monkeypatch.setattr(processes, "end_with_main", lambda: None)
    monkeypatch.setattr(processes.np, "ones", none)
    processes.begin("worker 1 of 2", Pipe(), 0, 2, None, np.geterr(), {})
    assert [str(error) for error in Pipe.told] == ["worker 1 of 2 could not start: MemoryError: no room"]


@posix
@pytest.mark.parametrize("closed", [(0, 1, 2), *MORE])
def test_closed_descriptors(tmp_path, closed):
    path = tmp_path / "theta.npy"
    text = f"""
for fd in {closed}:
    os.close(fd)
os.execv(sys.executable, [sys.executable, "-c", {BEGIN + f'''
model = VAE(6, 2, (3,))
fit(model, x, epochs=1, workers=2)
np.save({str(path)!r}, model.theta)
'''!r}])
"""
    run = python(text)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    model = VAE(6, 2, (3,))
    fit(model, np.ones((40, 6), np.float32), epochs=1, workers=1)
    np.testing.assert_array_equal(np.load(path), model.theta)


# what a worker raises ------------------------------------------------------------------------------------------------


class Two(Exception):
    """It cannot be made again of its text alone."""

    def __init__(self, text, number):
        super().__init__(f"{text} {number}")


class Unsaid(Exception):
    def __str__(self):
        raise ValueError("not this time")


ERRORS = {"two": Two("failed", 3), "exit": SystemExit(7), "memory": MemoryError("too large"), "unsaid": Unsaid(),
          "file": EOFError("at its end"), "pipe": BrokenPipeError("of the model"),
          "reset": ConnectionResetError("here")}


class Raising(VAE):
    def backward(self, *given, **options):
        if self.error is not None:
            raise ERRORS[self.error]
        return super().backward(*given, **options)


@pytest.mark.parametrize("error, kind, says", [("two", RuntimeError, "^Two: failed 3$"), ("exit", SystemExit, "^7$"),
                                               ("memory", MemoryError, "^too large$"),
                                               ("file", EOFError, "^at its end$"),
                                               ("pipe", BrokenPipeError, "^of the model$"),
                                               ("reset", ConnectionResetError, "^here$"),
                                               ("unsaid", RuntimeError, "^Unsaid: <.*>$")])
def test_what_a_worker_raises_arrives(error, kind, says, capfd):
    """And is not taken for the end of the main process."""
    model = Raising(6, 2, (3,))
    model.error = error
    with pytest.raises(kind, match=says):
        fit(model, X, epochs=1, workers=2)
    assert capfd.readouterr().err == ""


# memory, signals, orphans --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_too_little_shared_memory_is_said(monkeypatch):
    """Not when it is first written to: that is a bus error."""
    def full(fd, start, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="^workers need [0-9]+ bytes of shared memory, .*: No space left on device$"):
        fit(VAE(6, 2, (3,)), X, epochs=1, workers=2)


@posix
def test_a_worker_that_is_stopped_goes_on():
    def stop(state):
        if (state.epoch, state.step) == (0, 2):
            os.kill(processes.multiprocessing.active_children()[0].pid, signal.SIGSTOP)

    models = [VAE(6, 2, (3,)) for _ in range(2)]
    fit(models[0], X, epochs=3, batch_size=20, workers=2, after_step=stop)
    fit(models[1], X, epochs=3, batch_size=20, workers=1)
    np.testing.assert_array_equal(models[0].theta, models[1].theta)


@posix
def test_one_ctrl_c_is_enough_though_a_worker_is_stopped():
    def stop(state):
        if (state.epoch, state.step) == (0, 2):
            os.kill(processes.multiprocessing.active_children()[0].pid, signal.SIGSTOP)
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    began = time.monotonic()
    with pytest.raises(Interrupted):
        fit(VAE(6, 2, (3,)), X, epochs=10 ** 9, batch_size=20, workers=2, after_step=stop)
    assert time.monotonic() - began < 30 and not processes.multiprocessing.active_children()


@posix
def test_a_worker_that_is_stopped_goes_on_with_an_evaluation():
    class Stream(io.StringIO):
        def write(self, line):
            if not self.getvalue():
                os.kill(processes.multiprocessing.active_children()[0].pid, signal.SIGSTOP)
            return super().write(line)

    found = [evaluate(VAE(6, 2, (3,)), X, n_samples=5, batch_size=7, workers=workers, progress=stream)
             for workers, stream in ((1, False), (2, Stream()))]
    np.testing.assert_array_equal(found[0].log_likelihood, found[1].log_likelihood)


def test_far_more_workers_than_cores_end_within_seconds(monkeypatch):
    monkeypatch.setattr(team, "ENTRIES", 1)            # so that there is work for all
    models, began = [VAE(6, 2, (3,)) for _ in range(2)], time.monotonic()
    for model, workers in zip(models, (1, 100)):
        fit(model, X, epochs=2, batch_size=20, workers=workers)
    np.testing.assert_array_equal(models[0].theta, models[1].theta)
    assert time.monotonic() - began < 60


@posix
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("work", ["fit(VAE(6, 2, (3,)), x, epochs=10**9, workers=2, callback=lambda *_: fork())",
                                  "fork(processes.Workers(processes.serve, 2, [])); "
                                  "time.sleep(99)"])
def test_workers_end_with_the_main_process_though_a_fork_of_it_lives_on(work):
    """It holds their pipes, so that these never end."""
    process = subprocess.Popen([sys.executable, "-c", BEGIN + f"""
done = []
def fork(*_):
    if not done:
        done.append(os.fork())
        if not done[0]:
            try:
                time.sleep(60)
            finally:
                os._exit(0)
        print(done[0], *(child.pid for child in processes.multiprocessing.active_children()), flush=True)
{work}"""], stdout=subprocess.PIPE, text=True, env={**os.environ,
                                                    "PYTHONPATH": str(Path(scratchvae.__file__).parents[1])})
    fork, *workers = map(int, process.stdout.readline().split())
    try:
        assert len(workers) == 2 and all(map(alive, workers))
        process.kill()
        process.wait()
        assert alive(fork) and wait_for(lambda: not any(map(alive, workers)))
    finally:
        for pid in (fork, *workers):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_there_are_never_many_more_workers_than_cores(monkeypatch):
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda pid: range(2), raising=False)
    assert processes.number_of(100) == 8 and processes.number_of("auto") == 2
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda pid: range(64), raising=False)
    assert processes.number_of(100) == 64 and processes.number_of(3) == 3


def test_a_measurement_without_workers_has_the_same_numbers(monkeypatch, capsys):
    """Where 'auto' can have none."""
    model = VAE(6, 2, (3,))
    expected = evaluate(model, X, n_samples=5, batch_size=7, workers=1)

    def none(*_, **__):
        raise OSError("no processes")

    monkeypatch.setattr(processes.Workers, "__init__", none)
    found = evaluate(model, X, n_samples=5, batch_size=7, workers="auto")
    np.testing.assert_array_equal(found.log_likelihood, expected.log_likelihood)
    np.testing.assert_array_equal(found.variances, expected.variances)
    np.testing.assert_array_equal(found.kls, expected.kls)
    assert capsys.readouterr().err == "workers='auto' goes on without workers: no processes\n"
    with pytest.raises(OSError, match="^no processes$"):
        evaluate(model, X, batch_size=7, workers=2)
