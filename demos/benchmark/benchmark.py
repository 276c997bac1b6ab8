"""Benchmark: how long does a step of training take, where does the time go, and how does it grow?

A step is what `fit` does for one batch: shuffle, draw noise, forward, backward, Adam, record the bound.  Beside it
stand the matrix products of the step alone, in NumPy, which no code around them can beat; and PyTorch and JAX, where
they are installed, with the same shapes and the same work.  First all must give the same loss, three steps long, from
the same parameters and the same noise: so forward, backward and Adam agree.

Each contender lives in a process of its own (contenders.py), because two BLAS libraries in one process take
the cores from each other.  All live on and take turns, an epoch each, with a pause between, in which the threads of
the last one fall asleep.  Times are medians over the rounds.  Ratios are taken within a round, where both saw the same
machine; printed are their median and quartiles.  The number of threads is yours to set: OMP_NUM_THREADS=1 for NumPy
and PyTorch, `taskset -c 0` for JAX too; with --workers scratchvae is there once more for each number of them.

    python demos/benchmark/benchmark.py            # all of it, some minutes; draws out/benchmark.png
    python demos/benchmark/benchmark.py --quick    # fewer rounds
    python demos/benchmark/benchmark.py --steps --workloads A C --rounds 30        # one part of it
    python demos/benchmark/benchmark.py --steps --workers 1 2                      # how it grows with the cores
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from contenders import CONTENDERS, WORKLOADS, Workload

PAUSE = 0.1                                     # seconds; OpenBLAS's threads stay awake for 0.03, on busy cores longer
PARTS = {"dense": "#30507a", "activations": "#79b8a8", "likelihood": "#a6c96a",
         "latents": "#e8c34a", "noise": "#e08f3c", "Adam": "#b5483a", "rest": "#b9b9b9"}
STYLES = {"scratchvae": ("o", "#30507a"), "products": ("|", "#555555"), "torch": ("s", "#d9622b"),
          "torch-fused": ("D", "#e8a23c"), "torch-compiled": ("v", "#8a5aa8"), "jax": ("^", "#3f9b6c")}


class Process:
    """A contender's process, seen from outside."""

    def __init__(self, name: str, dtype: str = "float32") -> None:
        self.name, file = name, Path(__file__).with_name("contenders.py")
        self.child = subprocess.Popen([sys.executable, file, name, dtype], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def ask(self, *message: Any) -> Any:
        """Send a line, return the answer."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(message), file=self.child.stdin, flush=True)
        line = self.child.stdout.readline()
        return json.loads(line) if line else sys.exit(f"the process of {self.name} has ended; see above")

    def end(self) -> float:
        """Wait for its end; return its peak memory in MB."""
        self.child.stdin.close()
        _, status, usage = os.wait4(self.child.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        if status:
            sys.exit(f"the process of {self.name} has failed; see above")
        return usage.ru_maxrss / (2 ** 20 if sys.platform == "darwin" else 2 ** 10)


def take_turns(runs: dict, rounds: int) -> dict:
    """Start processes and drive them in turn, an epoch each; return the answers of each.

    ``runs`` maps a key to a contender, its workload, and how many epochs go before: at least one, which compiles.
    """
    processes = {key: Process(name) for key, (name, _, _) in runs.items()}
    for key, (_, work, before) in runs.items():
        processes[key].ask("run", asdict(work))
        for _ in range(1, before):
            processes[key].ask("go")
    answers = {key: [] for key in runs}
    for _ in range(rounds):
        for key, process in processes.items():
            time.sleep(PAUSE)
            answers[key].append(process.ask("go"))
    for process in processes.values():
        process.ask("stop")
        process.end()
    return answers


def of_step(answers: list, work: Workload) -> np.ndarray:
    """Return the microseconds of a step in each round."""
    return np.array([answer["seconds"] for answer in answers]) * 1e6 / work.steps


def spread(ratios: np.ndarray) -> str:
    """Write the median and the quartiles."""
    return "{1:.2f} [{0:.2f} {2:.2f}]".format(*np.quantile(ratios, (0.25, 0.5, 0.75)))


def table(title: str, columns: Any, rows: dict, width: int = 21) -> None:
    """Print one."""
    print(f"\n{title}\n{'':<16}" + "".join(f"{column!s:>{width}}" for column in columns))
    for name, cells in rows.items():
        print(f"{name:<16}" + "".join(f"{cell:>{width}}" for cell in cells))


def check(names: list, works: dict) -> None:
    """Stop unless all give the same losses."""
    trained = [name for name in names if name != "products" and not name.startswith("workers")]     # own noise
    for dtype, tolerance in (("float64", 1e-10), ("float32", 1e-4)):
        processes, worst = {name: Process(name, dtype) for name in trained}, 0.0
        for key, work in works.items():
            losses = {name: np.array(process.ask("check", asdict(work))) for name, process in processes.items()}
            for name in trained:
                error = np.abs(losses[name] / losses["scratchvae"] - 1).max()
                worst = max(worst, error)
                if not error < tolerance:
                    sys.exit(f"workload {key}, {dtype}: {name} has the losses {losses[name]}, "
                             f"scratchvae {losses['scratchvae']}")
        for process in processes.values():
            process.end()
        print(f"{', '.join(trained)}: in {dtype} the same loss in the first 3 steps, but for {worst:.0e} of it")


def steps(names: list, works: dict, rounds: int) -> tuple[dict, dict]:
    """Time a step of each workload; return its microseconds in each round by contender, and by part."""
    times, parts = {}, {}
    for key, work in works.items():
        answers = take_turns({name: (name, work, 1) for name in (*names, "profile")}, rounds)
        losses = {name: answers[name][-1]["loss"] for name in names if name != "products"}
        if max(losses.values()) > 1.05 * min(losses.values()):
            print(f"workload {key}: after as many steps each the losses differ: {losses}")
        times[key] = {name: of_step(answers[name], work) for name in names}
        parts[key] = {part: np.median([answer["parts"].get(part, 0) for answer in answers["profile"]]) * 1e6
                      / work.steps for part in PARTS}
    titles = [CONTENDERS[name][0] for name in names]
    table(f"one step, microseconds, median of {rounds} rounds", titles,
          {key: [f"{np.median(times[key][name]):.0f}" for name in names] for key in works})
    for mine in ("scratchvae", *(name for name in names if name.startswith("workers"))):
        others = [name for name in names if name != mine]
        table(f"the time of {CONTENDERS[mine][0]}, divided by theirs", [CONTENDERS[name][0] for name in others],
              {key: [spread(times[key][mine] / times[key][name]) for name in others] for key in works})
    table("where the time of scratchvae goes, percent; all: microseconds, less what the clocks took", [*PARTS, "all"],
          {key: [f"{100 * us / sum(parts[key].values()):.0f}" for us in parts[key].values()]
           + [f"{sum(parts[key].values()):.0f}"] for key in works}, 12)
    return times, parts


GROWTH = {                                      # what grows: its values, one to compare with, the workload at a value
    "levels T": ((1, 2, 4, 8, 16, 32), 4,
                 lambda T: Workload("", 64, (16,) * T, ((64,),) * T, "tanh", 64, 256)),
    "batch of A": ((16, 32, 64, 128, 256, 512, 1024), 128,
                   lambda n: replace(WORKLOADS["A"], batch=n, steps=8192 // n)),
    "hidden units of A": ((100, 200, 400, 800, 1600, 3200), 400,
                          lambda width: replace(WORKLOADS["A"], hidden_dims=((width,),), steps=16))}


def growth(rounds: int) -> dict:
    """Time a step of growing models, all sizes in turn; return the median microseconds for each."""
    grown = {}
    for title, (values, base, workload) in GROWTH.items():
        runs = {(name, value): (name, workload(value), 1) for value in values for name in ("scratchvae", "products")}
        times = {key: of_step(answers, runs[key][1]) for key, answers in take_turns(runs, rounds).items()}
        grown[title], rows = {}, {}
        for name in ("scratchvae", "products"):
            grown[title][name] = [np.median(times[name, value]) for value in values]
            ratios = [np.median(times[name, value] / times[name, base]) * base / value for value in values]
            rows[CONTENDERS[name][0]] = [f"{us:.0f}" for us in grown[title][name]]
            rows[CONTENDERS[name][0] + " ÷"] = [f"{ratio:.2f}" for ratio in ratios]
        table(f"one step, microseconds, for more {title}; ÷: over growth in proportion from {base}", values, rows, 10)
    return grown


def cold(names: list, rounds: int) -> None:
    """Time a new process: import, build, 200 steps of A."""
    work, measured = WORKLOADS["A"], {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            time.sleep(PAUSE)
            start = time.perf_counter()
            process = Process(name)
            process.ask("run", asdict(work))
            for _ in range(work.steps, 200, work.steps):
                process.ask("go")
            process.ask("stop")
            peak = process.end()
            measured[name].append((time.perf_counter() - start, peak))
    print("\ncold start: a new process, import, build, 200 steps of A")
    for name in names:
        ratios = np.array(measured["scratchvae"]) / np.array(measured[name])
        print("{:<16}{:8.2f} s{:8.0f} MB at most".format(CONTENDERS[name][0], *np.median(measured[name], axis=0))
              + f"; scratchvae over it: {spread(ratios[:, 0])} of the time, {spread(ratios[:, 1])} of the memory")


def late(names: list) -> None:
    """Compare steps 3000 to 3200 of A with steps 100 to 300: denormal numbers would slow the late ones."""
    work = replace(WORKLOADS["A"], steps=20)
    print("\nsteps 3000 to 3200 of A, divided by steps 100 to 300")
    for name in names:
        answers = take_turns({"old": (name, work, 150), "young": (name, work, 5)}, 10)
        times = {key: of_step(answers[key], work) for key in answers}
        print(f"{CONTENDERS[name][0]:<16}{spread(times['old'] / times['young'])}, "
              f"{np.median(times['old']):.0f} against {np.median(times['young']):.0f} microseconds")


def describe(names: list) -> str:
    """Return what it runs on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = [f"{key}={value}" for key, value in os.environ.items() if key.endswith("_NUM_THREADS")]
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    packages = sorted({CONTENDERS[name][1] for name in names} - {None})
    return (f"{model}, {cores} cores, {' '.join(threads) or 'number of threads not set'}; "
            f"NumPy {np.__version__} with {blas['name']} {blas['version']}"
            + "".join(f", {package} {importlib.metadata.version(package)}" for package in packages))


def draw(times: dict, parts: dict, grown: dict, machine: str, path: Path) -> None:
    """Draw what was measured."""
    import matplotlib
    from scratchvae.train.plotting import figure
    matplotlib.rcParams.update({"font.size": 8, "axes.titlesize": 10, "legend.fontsize": 7})
    page = figure(11, 3.7 * bool(times) + 3.4 * bool(grown))
    page.supxlabel(machine, fontsize=7, color="0.4")
    rows = page.subfigures(bool(times) + bool(grown), 1, squeeze=False)[:, 0]
    if times:
        draw_steps(*rows[0].subplots(1, 2, sharey=True, width_ratios=(1, 1.2)), times, parts)
    if grown:
        draw_growth(rows[-1].subplots(1, 3), grown)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.savefig(path)
    print(f"\nfigure: {path}")


def draw_steps(ax_times: Any, ax_parts: Any, times: dict, parts: dict) -> None:
    """Draw the contenders' times as points, scratchvae's parts as bars, a row for each workload."""
    y, left = np.arange(len(times))[::-1], np.zeros(len(times))
    ax_times.axvline(1, color=STYLES["scratchvae"][1], label="scratchvae")
    for name in list(next(iter(times.values())))[1:]:
        ratios = [np.median(times[key][name] / times[key]["scratchvae"]) for key in times]
        marker, color = STYLES.get(name, (f"${name[8:].replace('auto', 'a')}$", STYLES["scratchvae"][1]))      # workers
        ax_times.plot(ratios, y, marker=marker, linestyle="", color=color, markersize=7,
                      markeredgewidth=2 if name == "products" else 0, label=CONTENDERS[name][0])
    ax_times.set(xscale="log", title="time of a step, scratchvae = 1")
    low, high = ax_times.get_xlim()
    ticks = [tick for tick in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20) if low <= tick <= high]
    ax_times.set_xticks(ticks, ticks)
    ax_times.set_xticks([], minor=True)
    ax_times.grid(axis="x", alpha=0.3)
    ax_times.set_yticks(y, [f"$\\bf{{{key}}}$\n{WORKLOADS[key].title}" for key in times])
    for part, color in PARTS.items():
        share = np.array([100 * parts[key][part] / sum(parts[key].values()) for key in times])
        ax_parts.barh(y, share, 0.6, left, color=color, edgecolor="white", linewidth=0.6, label=part)
        left += share
    for i, key in zip(y, times):
        ax_parts.annotate(f"{np.median(times[key]['scratchvae']) / 1000:.3g} ms", (101, i), va="center")
    ax_parts.set(xlim=(0, 117), ylim=(-0.6, len(times) - 0.4), title="where scratchvae's time goes")
    ax_parts.set_xticks(range(0, 101, 20), [f"{tick} %" for tick in range(0, 101, 20)])
    for ax in (ax_times, ax_parts):
        ax.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)


def draw_growth(axes: Any, grown: dict) -> None:
    """Draw the time against what grows, and what it would be if it grew in proportion."""
    axes[0].set_ylabel("milliseconds of a step")
    for ax, (title, curves) in zip(axes, grown.items()):
        values, base, _ = GROWTH[title]
        for name, us in curves.items():
            ax.plot(values, np.array(us) / 1000, STYLES[name][0].replace("|", ".") + "-", color=STYLES[name][1],
                    markersize=5, linewidth=1.2, label=CONTENDERS[name][0])
        at_base = curves["scratchvae"][values.index(base)] / 1000
        ax.plot(values, at_base * np.array(values) / base, "--", color="0.5", linewidth=1, label="in proportion")
        ax.set(xscale="log", yscale="log", xlabel=title)
        ax.set_xticks(values, values)
        ax.set_xticks([], minor=True)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")
        ax.grid(alpha=0.3)
        ax.legend()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--rounds", type=int, help="turns of each contender (default 15, quick 3)")
    others = [name for name in CONTENDERS if name != "scratchvae" and not name.startswith("workers")]
    for option, of, text in (("--workloads", list(WORKLOADS), "only these"),
                             ("--only", others, "beside scratchvae only these")):
        parser.add_argument(option, nargs="+", choices=of, default=of, metavar="NAME", help=f"{text} of {' '.join(of)}")
    for part, text in (("steps", "the workloads, and where the time goes"), ("growth", "against T, batch and width"),
                       ("cold", "200 steps in a new process"), ("late", "do late steps take longer?")):
        parser.add_argument(f"--{part}", action="store_true", help=f"only this part (or several): {text}")
    parser.add_argument("--workers", nargs="+", choices=[*map(str, range(1, 17)), "auto"], default=[], metavar="N",
                        help="also with this number of workers, or each of several numbers; auto: as fit has it")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure (default out)")
    args = parser.parse_args()
    everything = not (args.steps or args.growth or args.cold or args.late)
    rounds = (3 if args.quick else 15) if args.rounds is None else args.rounds
    if rounds < 1:
        parser.error(f"--rounds must be at least 1; got {rounds}")
    few = args.rounds or min(rounds, 5)                             # for what takes long
    if args.out.is_file():
        parser.error(f"--out must be a folder; {args.out} is a file")
    names = ["scratchvae", *(f"workers-{n}" for n in args.workers), *(
                             name for name in args.only
                             if not CONTENDERS[name][1] or importlib.util.find_spec(CONTENDERS[name][1]))]
    works = {key: WORKLOADS[key] for key in args.workloads}
    trained = [name for name in names if name in ("scratchvae", "torch")]
    times, parts, grown = {}, {}, {}
    print(machine := describe(names))
    if os.getloadavg()[0] > 0.5:
        print(f"others are at work here (load {os.getloadavg()[0]:.1f}): with more than one thread, times mean little")
    if everything or args.steps:
        if {"torch", "torch-fused", "torch-compiled", "jax"} & set(names):
            check(names, works)
        times, parts = steps(names, works, rounds)
    if everything or args.growth:
        grown = growth(few)
    if everything or args.cold:
        cold(trained, few)
    if everything or args.late:
        late(trained)
    if (times or grown) and importlib.util.find_spec("matplotlib"):
        draw(times, parts, grown, machine, args.out / "benchmark.png")


if __name__ == "__main__":
    main()
