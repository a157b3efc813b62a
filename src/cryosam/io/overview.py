"""The overview page and the table of all tomograms of a batch."""

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage
from PIL import ImageColor, ImageDraw

from cryosam.full_map import FullMap
from cryosam.geometry import AXIS
from cryosam.io.atomic import atomic_path
from cryosam.io.pages import render_page
from cryosam.io.pictures import colour, gray_range
from cryosam.results import Segmentation
from cryosam.tomogram import Tomogram

__all__ = ["KindCount", "TomogramRow", "draw_thumbnail", "render_overview", "write_table"]

_THUMBNAIL_PX = 240
_SLAB = 5  # slices averaged in a thumbnail
_PAINT = 0.55  # opacity of structures over a slice
_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True)
class KindCount:
    """What was found of one kind in one tomogram.

    Parameters
    ----------
    n_particles
        Number of accepted particles, or of instances of another structure.
    scores
        Tenth, fiftieth and ninetieth percentile of their scores; None if there are none.
    expected_false
        Number of particles that are expected to be false; None if scores are not probabilities.
    structure
        What they are.
    """

    n_particles: int
    scores: tuple[float, float, float] | None = None
    expected_false: float | None = None
    structure: str = "particle"

    @classmethod
    def of_scores(
        cls, scores: Sequence[float], expected_false: float | None = None, structure: str = "particle"
    ) -> "KindCount":
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
            structure=structure,
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
    notes
        Sentences that are no warnings, such as what a click was taken for.
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
    notes: tuple[str, ...] = ()
    thumbnail: bytes | None = None

    def density(self, kind: str) -> float | None:
        """Particles of a kind per cubic micrometre."""
        if kind not in self.kinds or not self.searched_um3:
            return None
        return self.kinds[kind].n_particles / self.searched_um3


def write_table(
    path: Path, rows: Sequence[TomogramRow], kinds: Sequence[str], structures: Mapping[str, str] | None = None
) -> None:
    """Write a CSV file with one row per tomogram; an empty cell means unknown.

    Parameters
    ----------
    path
        The file to create.
    rows
        Rows in the order in which they are written.
    kinds
        Kinds that get columns.
    structures
        What each kind is, if no row has it; particles are left out.

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
    per_kind = ("per_um3", "score_q10", "score_q50", "score_q90", "expected_false")
    head = ["tomogram", "status", "reason", "voxel_size_angstrom", "searched_um3"]
    for kind in kinds:
        counted = _counted(rows, kind, (structures or {}).get(kind, "particle"))
        head += [f"{kind}_{column}" for column in (counted, *per_kind)]
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


def _counted(rows: Sequence[TomogramRow], kind: str, structure: str) -> str:
    """What is counted of a kind: its structure, or instances if a guess took it for several."""
    found = {row.kinds[kind].structure for row in rows if kind in row.kinds} or {structure}
    return f"{found.pop()}s" if len(found) == 1 else "instances"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def draw_thumbnail(tomogram: Tomogram, found: Segmentation | FullMap) -> bytes:
    r"""Draw a small JPEG of the slices with the most particles, each marked by a ring in the colour of its kind.

    Structures are painted over the slice that has the most of them.

    Parameters
    ----------
    tomogram
        The tomogram as read.
    found
        What was found in it.

    Examples
    --------
    >>> data = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)
    >>> draw_thumbnail(Tomogram(data), Segmentation((9, 10, 11), np.empty((0, 3)), np.empty(0), ()))[:2]
    b'\xff\xd8'
    """
    if isinstance(found, FullMap):
        return _draw_map(tomogram, found)
    depth, height, width = tomogram.shape
    z = found.points[:, AXIS["z"]]
    counts = np.convolve(np.bincount(np.round(z).astype(int), minlength=depth), np.bartlett(2 * _SLAB + 3), mode="full")
    middle = int(counts.argmax()) - _SLAB - 1 if len(z) else depth // 2
    scale = _THUMBNAIL_PX / max(height, width)
    picture = _resized(_slab(tomogram, middle).astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    numbers = {part.kind: k for k, part in enumerate(found.kinds)}
    names = found.names or (found.kind,) * len(found.points)
    for name, (at, y, x) in zip(names, found.points.tolist(), strict=True):
        if abs(at - middle) <= _SLAB:
            column, row = (x + 0.5) * scale, (y + 0.5) * scale
            shade = ImageColor.getrgb(colour(numbers.get(name, 0)).replace(" ", ","))
            draw.ellipse((column - 3, row - 3, column + 3, row + 3), outline=shade, width=2)
    return _to_jpeg(picture)


def _draw_map(tomogram: Tomogram, found: FullMap) -> bytes:
    """Draw the slice with the most voxels of the map, painted in the colours of the kinds."""
    depth, height, width = tomogram.shape
    painted = found.painted()
    counts = np.zeros(depth)
    for _, mask in painted:
        counts[mask.box[0]] += mask.data.sum(axis=(1, 2))
    middle = int(counts.argmax()) if counts.any() else depth // 2
    labels = np.zeros((height, width), dtype=int)
    for label, mask in painted:
        z, y, x = mask.box
        if z.start <= middle < z.stop:
            labels[y, x][mask.data[middle - z.start]] = label
    shades = np.array([ImageColor.getrgb(colour(k).replace(" ", ",")) for k in range(len(found.kinds))], dtype=float)
    pixels = np.repeat(_slab(tomogram, middle)[..., None], 3, axis=2)
    pixels[labels > 0] = (1 - _PAINT) * pixels[labels > 0] + _PAINT * shades[labels[labels > 0] - 1]
    return _to_jpeg(_resized(pixels.astype(np.uint8)))


def _slab(tomogram: Tomogram, middle: int) -> Float[np.ndarray, "h w"]:
    """Mean of the slices around one, stretched to 0 to 255."""
    slab = tomogram.data[max(0, middle - _SLAB // 2) : middle + _SLAB // 2 + 1]
    low, high = gray_range(tomogram.data)
    return np.clip((np.asarray(slab, dtype=np.float32).mean(axis=0) - low) / (high - low) * 255, 0, 255)


def _resized(pixels: UInt8[np.ndarray, "..."]) -> PillowImage.Image:
    """An image in the size of a thumbnail."""
    height, width = pixels.shape[:2]
    scale = _THUMBNAIL_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resample = PillowImage.Resampling.BOX if scale < 1 else PillowImage.Resampling.BICUBIC
    return PillowImage.fromarray(pixels).resize(size, resample)


def _to_jpeg(picture: PillowImage.Image) -> bytes:
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
        has_structures=any(count.structure != "particle" for row in rows for count in row.kinds.values()),
        n_of=lambda status: sum(row.status == status for row in rows),
        palette=colour,
        encode=lambda jpeg: "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"),
    )
