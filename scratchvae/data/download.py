"""Where data sets lie on this machine, and how they get there."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Union

from .. import check
from .writing import make_folder, write

Folder = Union[str, "os.PathLike[str]", None]
MAX_SECONDS = 600.0                                          # for one file to arrive


def cache() -> Path:
    """Return the user's cache: ``$XDG_CACHE_HOME/scratchvae``, or ``~/.cache/scratchvae``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "scratchvae"


def find(dataset: str, folder: Folder, *choices: Sequence[str]) -> list[Path]:
    """Look for files that belong together in the folder, in $SCRATCHVAE_DATA and in the user's cache.

    Parameters
    ----------
    dataset : str
        In each of these, the folder of this name below it is looked through as well.
    folder : path or None
    *choices : sequence of str
        Sets of names; a file may also have ``.gz`` after its name.

    Returns
    -------
    list of Path
        The files of one set, in the order of its names; some of them may not exist.  It is the
        first set that has a file in the first folder that has any.  Empty if no folder has one.

    Raises
    ------
    ValueError
        If the folder does not exist.
    """
    if folder is not None and not os.path.isdir(check.path("folder", folder)):
        raise ValueError(f"folder must be one that exists; got {os.fspath(folder)[:200]!r}")
    for place in (folder, os.environ.get("SCRATCHVAE_DATA"), cache()):
        for where in (Path(place), Path(place) / dataset) if place else ():
            for names in choices:
                packed = [where / f"{name}.gz" for name in names]
                paths = [gz if gz.is_file() else gz.with_suffix("") for gz in packed]
                if any(path.is_file() for path in paths):
                    return paths
    return []


def fetch(url: str, n_bytes: int, md5: str, timeout: float) -> bytes:
    """Return what lies at a URL, if it has this length and md5; show a progress line on a terminal.

    Raises
    ------
    OSError
        If it cannot be had, or is something else.
    """
    import http.client  # these two take as long to import as NumPy does
    import urllib.request

    name = url.rpartition("/")[2]
    data, deadline, show = bytearray(), time.monotonic() + MAX_SECONDS, sys.stderr.isatty()
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            while len(data) <= n_bytes and (piece := response.read1(2**16)):
                data += piece
                if show:
                    sys.stderr.write(f"\r{name}: {len(data) / 1e6:.1f} of {n_bytes / 1e6:.1f} MB")
                    sys.stderr.flush()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not here after {MAX_SECONDS:g} seconds")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = " ".join(ascii(str(error) or type(error).__name__)[1:-1].split())
        raise OSError(f"{url}: {reason:.200}") from error
    finally:
        if show and data:
            sys.stderr.write("\n")
    if len(data) != n_bytes:
        raise OSError(f"{url}: {len(data)} bytes came, where {n_bytes} were to come")
    if _md5(data) != md5:
        raise OSError(f"{url}: what came has md5 {_md5(data)}, not {md5}")
    return bytes(data)


def download(contents: Mapping[str, tuple[int, str]], target: Path, mirrors: Sequence[str],
             timeout: float) -> list[Path]:
    """Download files into a folder, each from the first mirror that has it; keep those that are there already.

    Parameters
    ----------
    contents : mapping of str to (int, str)
        For each name its length in bytes and its md5.
    target : Path
        Made if it does not exist.
    mirrors : sequence of str
        URLs to which the names are appended.
    timeout : float
        Seconds to wait for a mirror that is silent.

    Returns
    -------
    list of Path, in the order of the names

    Raises
    ------
    ValueError
        If a file of such a name is there and is another.
    OSError
        If the files cannot be had or written; the message says where to put them.
    """
    make_folder(target)
    for name, (n_bytes, md5) in contents.items():
        path, reasons = target / name, []
        if path.exists():
            if path.stat().st_size != n_bytes or _md5(path.read_bytes()) != md5:
                raise ValueError(f"{str(path)!r} is not the {name} that was published, and so cannot be completed by "
                                 "a download: remove it, or put the files beside it to which it belongs")
            continue
        for mirror in mirrors:
            try:
                data = fetch(mirror + name, n_bytes, md5, timeout)
                break
            except OSError as error:
                reasons.append(str(error))
        else:
            raise OSError(f"cannot download {name} ({'; '.join(reasons)}): put {', '.join(contents)} into "
                          f"{str(target)!r}, or set SCRATCHVAE_DATA to the folder that has them")
        write(path, data)
    return [target / name for name in contents]


def _md5(data: bytes | bytearray) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
