"""Read the solutions of a folder: cells of a file, each a submission of its own under the head of the file."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
CELL = "\n# %% "


def solutions(exercise, folder="right"):
    """Return the submissions for an exercise by their titles."""
    path = HERE / folder / exercise.file
    head, *cells = path.read_text(encoding="utf-8").split(CELL) if path.exists() else [""]
    return {title.strip(): f"{head}\n\n{text}" for title, _, text in (cell.partition("\n") for cell in cells)}
