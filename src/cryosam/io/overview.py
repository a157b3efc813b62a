"""The overview page and the table of all tomograms of a batch."""

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageColor, ImageDraw

from cryosam.geometry import AXIS
from cryosam.io.atomic import atomic_path
from cryosam.io.pages import render_page
from cryosam.io.pictures import colour, gray_range
from cryosam.results import Segmentation
from cryosam.tomogram import Tomogram

__all__ = ["KindCount", "TomogramRow", "draw_thumbnail", "render_overview", "write_table"]

_THUMBNAIL_PX = 240
_SLAB = 5  # slices averaged in a thumbnail
_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True)
class KindCount:
    """What was found of one kind in one tomogram.

    Parameters
    ----------
    n_particles
        Number of accepted particles.
    scores
        Tenth, fiftieth and ninetieth percentile of their scores; None if there are none.
    expected_false
        Number of particles that are expected to be false; None if scores are not probabilities.
    """

    n_particles: int
    scores: tuple[float, float, float] | None = None
    expected_false: float | None = None

    @classmethod
    def of_scores(cls, scores: Sequence[float], expected_false: float | None = None) -> "KindCount":
        """Summarise the scores of all particles.

        Examples
        --------
        >>> KindCount.of_scores([0.5, 0.75, 1.0]).scores
        (0.55, 0.75, 0.95)
        """
        low, middle, high = np.quantile(scores, _QUANTILES).round(4).tolist() if len(scores) else (0.0, 0.0, 0.0)
        return cls(
            n_particles=len(scores),
            scores=(low, middle, high) if len(scores) else None,
            expected_false=expected_false,
        )


@dataclass(frozen=True, kw_only=True)
class TomogramRow:
    """One tomogram of a batch.

    Parameters
    ----------
    name, path
        Name and file of the tomogram.
    status
        "done", "failed" or "waiting".
    reason
        Why it failed, in one line.
    kinds
        Counts of each kind.
    voxel_size_angstrom
        Voxel size; None if unknown.
    searched_um3
        Volume that was searched, in cubic micrometres; None without a voxel size.
    seconds
        Duration of the whole run.
    peak_memory_bytes
        Peak memory of its process; None if the system does not report it.
    warnings
        Sentences that the user should read.
    thumbnail
        JPEG, or None.
    """

    name: str
    path: str
    status: str
    reason: str = ""
    kinds: Mapping[str, KindCount] = field(default_factory=dict)
    voxel_size_angstrom: float | None = None
    searched_um3: float | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    warnings: tuple[str, ...] = ()
    thumbnail: bytes | None = None

    def density(self, kind: str) -> float | None:
        """Particles of a kind per cubic micrometre."""
        if kind not in self.kinds or not self.searched_um3:
            return None
        return self.kinds[kind].n_particles / self.searched_um3


def write_table(path: Path, rows: Sequence[TomogramRow], kinds: Sequence[str]) -> None:
    """Write a CSV file with one row per tomogram; an empty cell means unknown.

    Parameters
    ----------
    path
        The file to create.
    rows
        Rows in the order in which they are written.
    kinds
        Kinds that get columns.

    Raises
    ------
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> row = TomogramRow(name="a", path="a.mrc", status="done", kinds={"ring": KindCount.of_scores([0.9, 0.7])})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(Path(folder, "t.csv"), [row], ["ring"])
    ...     Path(folder, "t.csv").read_text().splitlines()[1]
    'a,done,,,,2,,0.72,0.8,0.88,,,,0,a.mrc'
    """
    per_kind = ("particles", "per_um3", "score_q10", "score_q50", "score_q90", "expected_false")
    head = ["tomogram", "status", "reason", "voxel_size_angstrom", "searched_um3"]
    head += [f"{kind}_{column}" for kind in kinds for column in per_kind]
    head += ["seconds", "peak_memory_gb", "warnings", "path"]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        for row in rows:
            cells: list[object] = [
                row.name,
                row.status,
                row.reason,
                row.voxel_size_angstrom,
                _rounded(row.searched_um3),
            ]
            for kind in kinds:
                found = row.kinds.get(kind)
                scores = (None,) * 3 if found is None or found.scores is None else found.scores
                n, false = (None, None) if found is None else (found.n_particles, found.expected_false)
                cells += [n, _rounded(row.density(kind)), *scores, false]
            memory = None if row.peak_memory_bytes is None else _rounded(row.peak_memory_bytes / 1e9)
            writer.writerow([*cells, row.seconds, memory, len(row.warnings), row.path])


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def draw_thumbnail(tomogram: Tomogram, found: Segmentation) -> bytes:
    r"""Draw a small JPEG of the slices with the most particles, each marked by a ring in the colour of its kind.

    Parameters
    ----------
    tomogram
        The tomogram as read.
    found
        The particles found in it.

    Examples
    --------
    >>> data = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)
    >>> draw_thumbnail(Tomogram(data), Segmentation((9, 10, 11), np.empty((0, 3)), np.empty(0), ()))[:2]
    b'\xff\xd8'
    """
    depth, height, width = tomogram.shape
    z = found.points[:, AXIS["z"]]
    counts = np.convolve(np.bincount(np.round(z).astype(int), minlength=depth), np.bartlett(2 * _SLAB + 3), mode="full")
    middle = int(counts.argmax()) - _SLAB - 1 if len(z) else depth // 2
    slab = tomogram.data[max(0, middle - _SLAB // 2) : middle + _SLAB // 2 + 1]
    low, high = gray_range(tomogram.data)
    pixels = np.clip((np.asarray(slab, dtype=np.float32).mean(axis=0) - low) / (high - low) * 255, 0, 255)
    scale = _THUMBNAIL_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resample = PillowImage.Resampling.BOX if scale < 1 else PillowImage.Resampling.BICUBIC
    picture = PillowImage.fromarray(pixels.astype(np.uint8)).resize(size, resample).convert("RGB")
    draw = ImageDraw.Draw(picture)
    numbers = {part.kind: k for k, part in enumerate(found.kinds)}
    names = found.names or (found.kind,) * len(found.points)
    for name, (at, y, x) in zip(names, found.points.tolist(), strict=True):
        if abs(at - middle) <= _SLAB:
            column, row = (x + 0.5) * scale, (y + 0.5) * scale
            shade = ImageColor.getrgb(colour(numbers.get(name, 0)).replace(" ", ","))
            draw.ellipse((column - 3, row - 3, column + 3, row + 3), outline=shade, width=2)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=80, optimize=True)
    return buffer.getvalue()


def render_overview(rows: Sequence[TomogramRow], kinds: Sequence[str], files: Iterable[tuple[str, str]]) -> str:
    """Return the page as HTML; it needs no network and no script, and links to the report of each tomogram.

    Parameters
    ----------
    rows
        Rows in the order in which they are shown.
    kinds
        Kinds that were searched for.
    files
        Names of the files in the same folder, and their content.

    Examples
    --------
    >>> page = render_overview([TomogramRow(name="a", path="a.mrc", status="failed", reason="no <such> file")], [], [])
    >>> "no &lt;such&gt; file" in page
    True
    """
    totals = {kind: sum(row.kinds[kind].n_particles for row in rows if kind in row.kinds) for kind in kinds}
    return render_page(
        "overview.html",
        rows=rows,
        kinds=kinds,
        totals=totals,
        files=list(files),
        n_of=lambda status: sum(row.status == status for row in rows),
        palette=colour,
        encode=lambda jpeg: "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"),
    )
