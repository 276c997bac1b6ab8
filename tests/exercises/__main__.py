"""The grader is put to the test: it must reject what is wrong and accept what is right.

    python tests/exercises                   # some two minutes
    python tests/exercises tanh adam         # these alone

Wrong: every mutant of every solution (the operators of tests/mutation), unless
equivalent.txt lists it with the reason why it is right all the same.  Right: the
solutions of right/, of which each exercise has at least five, written in other
ways than the library's.  The command fails if a mutant is accepted that is not
listed, if one is listed that is rejected or does not exist, and if a right
solution is rejected.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DEMOS = ROOT / "demos"
sys.path[:0] = [str(path) for path in (ROOT, DEMOS, DEMOS / "exercises", HERE.parent / "mutation", HERE)]

from mutants import listed, mutants                    # noqa: E402
from right import solutions                            # noqa: E402

from grader.fill import filled                         # noqa: E402
from grader.judge import grade                         # noqa: E402
from grader.table import EXERCISES                     # noqa: E402

LIST = HERE / "equivalent.txt"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", choices=[[], *(exercise.name[3:] for exercise in EXERCISES)],
                        help="of the exercises; by default all")
    wanted = parser.parse_args().name
    exercises = [exercise for exercise in EXERCISES if not wanted or exercise.name[3:] in wanted]
    start, faults, totals = time.perf_counter(), 0, [0, 0, 0, 0, 0]
    equivalent = listed(LIST)
    with tempfile.TemporaryDirectory() as folder:
        for exercise in exercises:
            path, accepted, made, n = Path(folder) / exercise.file, set(), set(), 0
            for mutant in mutants(exercise.name, filled(exercise)):
                if any(mutant.scope == target or mutant.scope.startswith(f"{target}.") for target in exercise.targets):
                    path.write_text(mutant.source, encoding="utf-8")
                    made.add(mutant.key)
                    n += 1
                    if grade(exercise, path, seconds=5).status == "done":
                        accepted.add(mutant.key)
            mine = {key for key in equivalent if key[0] == exercise.name}
            for what, keys in (("accepted, and not listed as equivalent", accepted - mine),
                               ("listed as equivalent, but rejected", (mine & made) - accepted),
                               ("listed as equivalent, but no longer there", mine - made)):
                for name, scope, before, after in sorted(keys):
                    faults += 1
                    print(f"{what}:\n{name}.py: {scope}\n  - {before}\n  + {after}\n")
            right = solutions(exercise)
            refused = 0
            for title, text in right.items():
                path.write_text(text, encoding="utf-8")
                verdict = grade(exercise, path)
                if verdict.status != "done":
                    refused += 1
                    print(f"right, but rejected: {exercise.name}, {title}\n{verdict.text}\n")
            faults += refused + (len(right) < 5)
            row = [n, n - len(accepted), len(accepted), len(right) - refused, len(right)]
            totals = [total + new for total, new in zip(totals, row)]
            print(f"{exercise.name:<18} {row[0]:4} mutants: {row[1]} rejected, {row[2]} equivalent; "
                  f"{row[3]} of {row[4]} right solutions accepted", flush=True)
    print(f"{len(exercises)} exercises, {totals[0]} mutants: {totals[1]} rejected, {totals[2]} equivalent; "
          f"{totals[3]} of {totals[4]} right solutions accepted; {faults} faults; {time.perf_counter() - start:.0f} s")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
