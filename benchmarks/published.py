"""A straightforward implementation of the published procedure, compared with this program, with the same models.

::

    OMP_NUM_THREADS=1 python benchmarks/published.py
    OMP_NUM_THREADS=1 python benchmarks/published.py --only matching

The plain implementation follows the description of Zhao et al., MICCAI 2024 (arXiv 2407.06833). Every slice of every
plane is stretched to a square and goes through the feature model, and all tokens are kept in memory. At each level the
feature of every cell, 3C numbers, is interpolated and compared with the query; the cells of finer levels are the parts
of the cells that were kept. Local maxima are detections. Each detection is segmented by walks through whole slices into
a separate volume, and all volumes are merged. Each slice is embedded for the segmenter once, and the embedding is kept,
about which the publication says nothing.

The models are DINOv2 and SAM, tiny and with random weights. Their tokens distinguish planted balls from noise, so that
detections can be compared: a ball is found if a detection lies within its radius. Their masks are meaningless, so only
the cost of the masks is compared. For the same reason, both implementations take the query at the click, and detections
are those of the matching stage.

"matching" compares the two ways of computing similarities at all levels, with the same tokens in half precision:
cosines of interpolated vectors, and interpolated dot products. The values must agree to 1e-4.

Times are wall time and, because other programs may be running, processor time over all threads.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model, SamConfig, SamModel

from cryosam import Config, Tomogram, load_features, load_segmenter
from cryosam.arrays import PLANES
from cryosam.backends import FeatureExtractor, PromptSegmenter, SlicePrompts
from cryosam.backends.framing import imagenet_rgb
from cryosam.backends.loading import read_model, write_model
from cryosam.geometry import AXIS, in_plane_axes, patch_to_pixel
from cryosam.instances.propagation import propagate
from cryosam.intensities import normalise
from cryosam.matching.features.extraction import extract_triplane
from cryosam.matching.features.triplane import PlaneTokens, TriPlaneField, cell_centres
from cryosam.matching.similarity import match, search_levels
from cryosam.results import Segmentation
from speed import format_shape, machine

STRIDES = (16, 8, 4)
SLICE_PX, PATCH_PX, N_TOKENS = 518, 14, 37
RADIUS = 14  # radius of a planted ball, in voxels
COARSE, MIN_SCORE, N_BEST = 0.5, 0.5, 48
CHUNK = 65536  # cells whose vectors are interpolated together
Shape = tuple[int, int, int]


@dataclass
class Result:
    """Seconds of each stage, and the peak memory of the process up to the end of the stage."""

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)
    peak_gb: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Record the time and the peak memory of a stage."""
        start, wall = time.process_time(), time.perf_counter()
        yield
        self.seconds[stage], self.wall[stage] = time.process_time() - start, time.perf_counter() - wall
        self.peak_gb[stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def planted(shape: Shape, count: int) -> tuple[Tomogram, np.ndarray]:
    """Noise with balls of one density; their centres are at least three radii apart, and 1.5 radii from the faces."""
    rng = np.random.default_rng(0)
    volume = rng.normal(0, 0.5, shape).astype(np.float32)
    centres: list[np.ndarray] = []
    while len(centres) < count:
        centre = rng.uniform(1.5 * RADIUS, np.array(shape) - 1.5 * RADIUS)
        if all(np.linalg.norm(centre - other) > 3 * RADIUS for other in centres):
            centres.append(centre)
            box = tuple(slice(int(c) - RADIUS, int(c) + RADIUS + 2) for c in centre)
            grids = np.ogrid[box]
            volume[box] += 3.0 * (sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True)) < RADIUS**2)
    return Tomogram(volume, 10.0), np.array(centres)


def write_models(folder: Path) -> None:
    """Write DINOv2 and SAM with few layers and random weights."""
    torch.manual_seed(0)
    vision: dict[str, Any] = {"image_size": 64, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"output_channels": 32, "num_pos_feats": 16, "window_size": 3, "global_attn_indexes": [1]}
    prompt = {"image_size": 64, "hidden_size": 32, "mask_input_channels": 8}
    decoder = {"hidden_size": 32, "mlp_dim": 48, "iou_head_hidden_dim": 32}
    sam = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))
    dino = Dinov2Model(
        Dinov2Config(image_size=518, patch_size=PATCH_PX, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    )
    # most random segmenters return half of a slice; with this seed, masks have about the size of a particle
    for name, model, seed in (("dino", dino, 0), ("sam", sam, 19)):
        generator = torch.Generator().manual_seed(seed)
        for (
            key,
            values,
        ) in model.state_dict().items():  # default initialisation makes outputs too similar
            fan_in = values[0].numel() if values.ndim > 1 else 10
            around = 1.0 if values.ndim == 1 and key.endswith("weight") else 0.0
            values.copy_(around + torch.randn(values.shape, generator=generator) / fan_in**0.5)
        if name == "sam":  # the encoders of images and of points share their position encoding
            positions = model.shared_image_embedding.positional_embedding.data
            model.prompt_encoder.shared_embedding.positional_embedding.data.copy_(positions)
        write_model(model.eval(), folder / name)


def settings(models: Path, count: int) -> Config:
    """The preset "paper" with the small models."""
    return Config.from_preset("paper").override(
        features__backend=str(models / "dino"),
        propagation__segmenter=str(models / "sam"),
        matching__max_particles=count,
        matching__coarse_similarity=COARSE,
        tomogram__contrast="bright",
        diameter_angstrom=20.0 * RADIUS,
        device="cpu",
    )


# the plain implementation --------------------------------------------------------------------------------------------


@torch.inference_mode()
def all_tokens(volume: np.ndarray, model: torch.nn.Module) -> list[torch.Tensor]:
    """Tokens of every slice of every plane, ``(1, c, z, y, x)`` in the order of the volume's axes."""
    planes = []
    for axis in range(3):
        tokens = []
        for image in np.moveaxis(volume, axis, 0):
            pixels = torch.from_numpy(np.ascontiguousarray(image))[None, None]
            square = functional.interpolate(pixels, (SLICE_PX, SLICE_PX), mode="bilinear", antialias=True)
            answer = model(pixel_values=imagenet_rgb(square[0])).last_hidden_state[0, 1:]
            tokens.append(answer.T.reshape(-1, N_TOKENS, N_TOKENS))
        planes.append(torch.stack(tokens).transpose(0, 1).movedim(1, axis + 1)[None].contiguous())
    return planes


@torch.inference_mode()
def vectors_at(planes: list[torch.Tensor], unit: torch.Tensor) -> torch.Tensor:
    """Features ``(n, 3c)`` at n points; ``unit`` has their positions z, y, x in [-1, 1] for each plane."""
    parts = []
    for tokens, at in zip(planes, unit, strict=True):
        grid = at.flip(-1)[None, :, None, None]  # x first
        sampled = functional.grid_sample(tokens, grid, mode="bilinear", padding_mode="border", align_corners=False)
        parts.append(sampled[0, :, :, 0, 0].T)
    return torch.cat(parts, dim=1)


Unit = Callable[[np.ndarray], torch.Tensor]


def plain_levels(
    planes: list[torch.Tensor], query: torch.Tensor, shape: Shape, unit: Unit, coarse: float
) -> np.ndarray:
    """Similarity of the cells of the finest level; NaN in cells that a coarser level excluded."""
    kept: np.ndarray | None = None
    for stride in STRIDES:
        similarity = np.full([-(-n // stride) for n in shape], np.nan, dtype=np.float32)
        if kept is None:
            cells = np.argwhere(np.ones(similarity.shape, dtype=bool))
        else:
            cells = (2 * np.argwhere(kept)[:, None] + np.argwhere(np.ones((2, 2, 2), dtype=bool))).reshape(-1, 3)
            cells = cells[(cells < similarity.shape).all(axis=1)]
        for start in range(0, len(cells), CHUNK):
            part = cells[start : start + CHUNK]
            points = np.clip((part + 0.5) * stride - 0.5, 0, np.array(shape) - 1)
            features = vectors_at(planes, unit(points))
            similarity[tuple(part.T)] = functional.cosine_similarity(features, query[None]).numpy()
        kept = similarity > coarse
    return similarity


def plain_peaks(similarity: np.ndarray, count: int) -> np.ndarray:
    """Positions, in voxels, of the best local maxima above the threshold."""
    filled = torch.from_numpy(np.nan_to_num(similarity, nan=-1.0))
    highest = functional.max_pool3d(filled[None], 3, 1, 1)[0]
    cells = torch.nonzero((filled == highest) & (filled > COARSE)).numpy()
    order = np.argsort(-filled.numpy()[tuple(cells.T)], kind="stable")[:count]
    return (cells[order] + 0.5) * STRIDES[-1] - 0.5


def plain_instance(
    volume: np.ndarray, point: np.ndarray, segmenter: PromptSegmenter, embeddings: dict[tuple[int, int], Any]
) -> np.ndarray:
    """Segment one particle by six walks through whole slices; returns a volume of the tomogram's size."""
    instance = np.zeros(volume.shape, dtype=bool)
    for plane in PLANES:
        axis = AXIS[plane]
        begin = int(np.clip(round(point[axis]), 0, volume.shape[axis] - 1))
        first: np.ndarray | None = None
        for step in (1, -1):
            depth, logits = (begin, None) if first is None else (begin - 1, first)
            while 0 <= depth < volume.shape[axis] and abs(depth - begin) <= 2 * RADIUS:
                if (axis, depth) not in embeddings:
                    embeddings[axis, depth] = segmenter.embed(np.take(volume, [depth], axis=axis).squeeze(axis)[None])
                row_col = point[list(in_plane_axes(plane))]
                if logits is not None:
                    row_col = np.array(np.unravel_index(np.argmax(logits), logits.shape), dtype=float)
                prompts = SlicePrompts(
                    np.array([0]), row_col[None, None], np.array([[True]]), None if logits is None else logits[None]
                )
                answer = segmenter.segment(embeddings[axis, depth], prompts)
                best = plain_best(answer.logits[0], answer.scores[0], logits)
                if best is None:
                    break
                logits = answer.logits[0, best]
                first = logits if first is None else first
                np.moveaxis(instance, axis, 0)[depth] |= logits > 0
                depth += step
    return instance


def plain_best(logits: np.ndarray, scores: np.ndarray, before: np.ndarray | None) -> int | None:
    """Index of the best-scored candidate within the limits on score, area and IoU with the previous mask."""
    for k in np.argsort(-scores, kind="stable"):
        mask = logits[k] > 0
        if scores[k] < MIN_SCORE or not 0 < mask.sum() <= (1.2 * 2 * RADIUS) ** 2:
            continue
        if before is None or (mask & (before > 0)).sum() > 0.5 * (mask | (before > 0)).sum():
            return int(k)
    return None


def plain_run(shape: Shape, models: Path, count: int) -> Result:
    """Run the whole published procedure from one click."""
    result = Result(f"plain {format_shape(shape)}")
    tomogram, centres = planted(shape, count)
    with result.timed("preparing"):
        volume = normalise(tomogram, "bright", (0.05, 99.95)).crop((slice(None), slice(None), slice(None)))
        model = read_model(models / "dino", "Dinov2Model")
        segmenter = load_segmenter(models / "sam", device="cpu")
    embeddings: dict[tuple[int, int], Any] = {}

    def unit(points: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.stack([(2 * points + 1) / np.array(shape) - 1] * 3)).float()

    with result.timed("features"):
        planes = all_tokens(volume, model)
    with result.timed("matching"):
        query = vectors_at(planes, unit(centres[:1]))[0]
        similarity = plain_levels(planes, query, shape, unit, COARSE)
        peaks = plain_peaks(similarity, count)
    with result.timed("masks"):
        plain_instance(volume, centres[0], segmenter, embeddings)
        instances = [plain_instance(volume, peak, segmenter, embeddings) for peak in peaks]
        merged = np.logical_or.reduce(instances)
    result.note = f"{recall(peaks, centres)} of {count} balls found; {merged.sum()} voxels in masks"
    return result


# this program --------------------------------------------------------------------------------------------------------


def our_run(shape: Shape, models: Path, count: int) -> Result:
    """Run the same stages of this program, with the preset "paper"."""
    result = Result(f"cryosam {format_shape(shape)}")
    tomogram, centres = planted(shape, count)
    config, diameter = settings(models, count), 2.0 * RADIUS
    with result.timed("preparing"):
        voxels = normalise(tomogram, "bright", (0.05, 99.95))
        extractor = load_features(config.features.backend, device="cpu")
        segmenter = load_segmenter(config.propagation.segmenter, device="cpu")
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(f"{config.features.backend} does not extract tokens")
    with result.timed("features"):
        tokens = extract_triplane(voxels, extractor, stride=STRIDES[-1], token_voxels=0.0, slice_px=SLICE_PX)
    with result.timed("matching"):
        query = tokens.sample(centres[:1])[0]
        points = match(tokens, query, config.matching, diameter=diameter).points[:count]
    with result.timed("masks"):
        masks = propagate(voxels, np.concatenate([centres[:1], points]), segmenter, config.propagation, diameter)
        found = Segmentation(shape, points, np.ones(len(points)), masks[1:]).semantic()
    result.note = f"{recall(points, centres)} of {count} balls found; {np.count_nonzero(found)} voxels in masks"
    return result


def recall(peaks: np.ndarray, centres: np.ndarray) -> int:
    """Number of planted balls with a detection within their radius."""
    return int((np.linalg.norm(peaks[:, None] - centres, axis=2).min(axis=0, initial=np.inf) < RADIUS).sum())


# the matching stage alone --------------------------------------------------------------------------------------------


def synthetic_field(shape: Shape, channels: int) -> tuple[TriPlaneField, float]:
    """Random tokens for the slices at the cells' centres, and the seconds that their norms take."""
    planes, seconds = [], 0.0
    for plane in PLANES:
        rng, centres = np.random.default_rng(AXIS[plane]), cell_centres(shape, STRIDES[-1])
        pool = (rng.standard_normal((8, N_TOKENS, N_TOKENS, channels), dtype=np.float32) + 1.5).astype(np.float16)
        tokens = np.stack([np.roll(pool[k % 8], k, axis=1) for k in range(len(centres[AXIS[plane]]))])
        positions = [patch_to_pixel(np.arange(float(N_TOKENS)), shape[a] / N_TOKENS) for a in in_plane_axes(plane)]
        positions.insert(AXIS[plane], centres[AXIS[plane]])
        z, y, x = positions
        start = time.process_time()
        planes.append(PlaneTokens.measure(plane, tokens, (z, y, x)))
        seconds += time.process_time() - start
    return TriPlaneField(shape, planes), seconds


def matching(shape: Shape, channels: int) -> Result:
    """Compare both ways on the same tokens, which are so similar that no cell is excluded."""
    result = Result(f"matching {format_shape(shape)}, {channels} channels")
    field_, result.seconds["norms, once"] = synthetic_field(shape, channels)
    first, second = field_.sample(np.array([shape, shape]) * [[0.5], [0.3]])
    for name, query in (("first query", second), ("second query", first)):
        with result.timed(name):
            found = search_levels(field_, query, STRIDES, COARSE)
    planes = [torch.from_numpy(np.ascontiguousarray(np.moveaxis(p.tokens, 0, AXIS[p.plane]))) for p in field_.planes]
    planes = [tokens.float().permute(3, 0, 1, 2)[None].contiguous() for tokens in planes]

    def unit(points: np.ndarray) -> torch.Tensor:
        each = []
        for plane in field_.planes:
            nodes = [np.interp(points[:, a], p, np.arange(len(p))) for a, p in enumerate(plane.positions)]
            each.append(
                np.stack([(2 * n + 1) / len(p) - 1 for n, p in zip(nodes, plane.positions, strict=True)], axis=1)
            )
        return torch.from_numpy(np.stack(each)).float()

    with result.timed("plain"):
        expected = plain_levels(planes, torch.from_numpy(first), shape, unit, COARSE)
    border = float((np.isnan(found) != np.isnan(expected)).mean())
    difference = float(np.nanmax(np.abs(found - expected)))
    if difference > 1e-4 or border > 1e-4:
        raise SystemExit(f"the two ways differ by up to {difference:g}, and in the choice of {border:g} of the cells")
    ratio = {key: result.seconds["plain"] / result.seconds[key] for key in ("first query", "second query")}
    once = result.seconds["plain"] / (result.seconds["first query"] + result.seconds["norms, once"])
    result.note = (
        f"{ratio['second query']:.0f} times faster ({ratio['first query']:.0f} the first query, "
        f"{once:.0f} with the norms); largest difference {difference:.0e}; "
        f"{np.isfinite(found).mean():.1%} of the finest cells compared"
    )
    return result


def main() -> None:
    """Run the cases, each in a separate process, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="run only cases whose name contains TEXT")
    options = parser.parse_args()
    print(*(f"{key:10} {value}" for key, value in machine().items()), "", sep="\n")
    small, large = (100, 232, 240), (200, 464, 480)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        write_models(models)
        cases: dict[str, Callable[[], Result]] = {}
        for shape, count in ((small, N_BEST // 8), (large, N_BEST)):
            cases[f"plain {format_shape(shape)}"] = partial(plain_run, shape, models, count)
            cases[f"cryosam {format_shape(shape)}"] = partial(our_run, shape, models, count)
        for channels in (16, 1024):
            cases[f"matching {channels}"] = partial(matching, large, channels)
        for name, case in cases.items():
            if options.only not in name:
                continue
            with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
                result = pool.submit(case).result()
            print(f"{result.name}: {result.note}\n    stage               processor s   wall s  peak GB")
            for stage, seconds in result.seconds.items():
                more = f"{result.wall[stage]:9.3f} {result.peak_gb[stage]:8.2f}" if stage in result.wall else ""
                print(f"    {stage:16} {seconds:9.3f} {more}", flush=True)
            print(f"    {'in all':16} {sum(result.seconds.values()):9.3f} {sum(result.wall.values()):9.3f}", flush=True)


if __name__ == "__main__":
    main()
