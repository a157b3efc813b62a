"""The whole method: one click, every particle of that kind."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from cryosam.arrays import Mask, Points, Progress, Scores
from cryosam.backends import PromptSegmenter, VolumeDescriptor, load_features, load_segmenter
from cryosam.cache import FeatureCache, entry_key
from cryosam.config import Config
from cryosam.errors import TomogramError
from cryosam.features import FeatureField
from cryosam.features.dense import extract_dense
from cryosam.features.extraction import extract_triplane
from cryosam.features.triplane import TriPlaneField
from cryosam.masks import InstanceMask, Segmentation, merge_duplicates
from cryosam.matching import build_query, choose_threshold, is_allowed, match, verify
from cryosam.prompts import PointPrompts
from cryosam.propagation import propagate
from cryosam.tomogram import Tomogram, detect_contrast, normalise

__all__ = ["pick", "segment", "segment_prompts"]

_UNKNOWN_DIAMETER = 16.0  # voxels, when nothing was segmented under the clicks
_SMOOTHING = 0.1  # of a particle's diameter
_SMOOTHING_RANGE = (1.2, 2.2)  # voxels
_TIGHTENING, _TIGHTENINGS = 0.8, 3  # of the diameter that bounds a mask, and how often
_OFF_CENTRE = 0.28  # of a mask's diameter between its centroid and the click
_ELONGATED = 5.0  # ratio of a mask's longest to its shortest half-axis beyond which it is a filament
_LEAST_VOXELS = 30  # of a mask whose shape means anything
_INVISIBLE = 3.5  # contrast that background reaches by chance, in standard deviations


def segment(
    tomogram: Tomogram,
    prompts: PointPrompts,
    config: Config | None = None,
    *,
    search_mask: Mask | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment the prompted particles, find every particle of the kind, and segment each.

    Parameters
    ----------
    tomogram
        As read from a file.
    prompts
        At least one positive point.
    config
        Settings; the default preset if left out.
    search_mask
        ``(z, y, x)`` bool of the tomogram's shape, True where particles may be.
    cache
        Keeps the features of 2D models between runs.
    progress
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    segmentation
        Particles, best first, with their masks.

    Raises
    ------
    PromptError
        If a point lies outside the tomogram.
    TomogramError
        If the tomogram holds NaN, is constant, or has another shape than the search mask.
    VoxelSizeError
        If a diameter was given in angstrom and the voxel size is not known.

    Examples
    --------
    >>> z, y, x = np.mgrid[:32, :40, :48]
    >>> rng = np.random.default_rng(0)
    >>> volume = rng.normal(0, 0.05, z.shape).astype(np.float32)
    >>> for centre in ((16, 12, 12), (15, 28, 34)):
    ...     volume += np.exp(-((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) / 18)
    >>> found = segment(Tomogram(volume), PointPrompts(np.array([[16.0, 12.0, 12.0]])))
    >>> len(found.points)
    2
    """
    run = _Run.start(tomogram, prompts, config, search_mask, progress)
    return _find(run, search_mask, cache)


def pick(
    tomogram: Tomogram,
    prompts: PointPrompts,
    config: Config | None = None,
    *,
    search_mask: Mask | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Find every particle of the kind: the detections of `segment`, which see, without their masks."""
    run = _Run.start(tomogram, prompts, config, search_mask, progress)
    found = _find(run, search_mask, cache)
    return replace(found, masks=(InstanceMask.empty(),) * len(found.points))


def segment_prompts(
    tomogram: Tomogram,
    prompts: PointPrompts,
    config: Config | None = None,
    *,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment only the instance under each positive point; see `segment` for the parameters and the errors."""
    run = _Run.start(tomogram, prompts, config, None, progress)
    return run.result(
        points=_centres(prompts.positive, run.prompt_masks),
        scores=np.ones(len(run.prompt_masks)),
        masks=run.prompt_masks,
    )


@dataclass(eq=False)
class _Run:
    """What the steps of one run share."""

    tomogram: Tomogram
    normalised: Tomogram
    smoothed: Tomogram
    prompts: PointPrompts
    config: Config
    segmenter: PromptSegmenter
    prompt_masks: tuple[InstanceMask, ...]
    diameter: float
    given_diameter: float | None
    progress: Progress | None
    provenance: dict[str, str | float]
    warnings: list[str]
    is_visible: list[bool]

    @classmethod
    def start(
        cls,
        tomogram: Tomogram,
        prompts: PointPrompts,
        config: Config | None,
        search_mask: Mask | None,
        progress: Progress | None,
    ) -> "_Run":
        """Check the input, prepare the intensities, and segment the prompted instances."""
        config = config or Config()
        prompts.validate(tomogram.shape)
        if search_mask is not None and search_mask.shape != tomogram.shape:
            raise TomogramError(f"the search mask has shape {search_mask.shape}, the tomogram {tomogram.shape}")
        given = config.diameter_angstrom
        diameter = None if given is None else tomogram.voxels(given)
        segmenter = load_segmenter(config.propagation.segmenter, device=config.device)
        choice = config.tomogram.contrast
        contrast = detect_contrast(tomogram, prompts.positive) if choice == "auto" else choice
        normalised = normalise(tomogram, contrast, config.tomogram.percentiles)
        provenance: dict[str, str | float] = {"contrast": contrast, "segmenter_digest": segmenter.digest}
        run = cls(
            tomogram,
            normalised,
            normalised,
            prompts,
            config,
            segmenter,
            (),
            0.0,
            diameter,
            progress,
            provenance,
            [],
            [],
        )
        with run.timed("prompts"):
            run.segment_prompts()
        for point, mask in zip(prompts.positive, run.prompt_masks, strict=True):
            run.is_visible.append(mask.n_voxels > 0 and _visibility(normalised, point) >= _INVISIBLE)
            if not run.is_visible[-1]:
                run.say(f"nothing stands out of the background at point {','.join(f'{c:g}' for c in point)}")
        return run

    def segment_prompts(self) -> None:
        """Segment the prompted instances; without a diameter twice, the second time smoothed and bounded by their size.

        A filament has no size that would bound it.
        """
        settings, points, diameter = self.config.propagation, self.prompts.positive, self.given_diameter
        self.diameter = _UNKNOWN_DIAMETER if diameter is None else diameter
        is_adaptive = diameter is None and settings.smoothing is None
        for _ in range(2 if is_adaptive else 1):
            self.smooth(_smoothing_for(self.diameter) if settings.smoothing is None else settings.smoothing)
            masks = propagate(self.smoothed, points, self.segmenter, settings, diameter, self.progress)
            if is_adaptive:
                masks = tuple(self.tighten(point, mask) for point, mask in zip(points, masks, strict=True))
                diameter = None if any(_is_filament(mask) for mask in masks) else _diameter_of(masks)
            if self.given_diameter is None:
                self.diameter = _diameter_of(masks)
            self.prompt_masks = masks
        self.provenance["diameter_voxels"] = self.diameter

    def tighten(self, point: Float[np.ndarray, " 3"], mask: InstanceMask) -> InstanceMask:
        """The mask, or a smaller one if it is off the click as two particles taken for one would be."""
        tighter, diameter = mask, _diameter_of((mask,))
        for _ in range(_TIGHTENINGS):
            if not _is_off_centre(tighter, point):
                return tighter
            diameter *= _TIGHTENING
            settings = self.config.propagation
            (tighter,) = propagate(self.smoothed, point[None], self.segmenter, settings, diameter)
        return mask if tighter.n_voxels == 0 or _is_off_centre(tighter, point) else tighter

    def centred_masks(self) -> list[InstanceMask]:
        """The prompts' masks, empty where one is off its click: the click is then the better centre."""
        pairs = zip(self.prompts.positive, self.prompt_masks, strict=True)
        return [InstanceMask.empty() if _is_off_centre(mask, point) else mask for point, mask in pairs]

    def smooth(self, sigma: float) -> None:
        """Prepare what the segmenter sees."""
        self.smoothed = replace(self.normalised, data=ndimage.gaussian_filter(self.normalised.data, sigma))
        self.provenance["smoothing_voxels"] = sigma

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long a stage took."""
        start = time.perf_counter()
        yield
        self.provenance[f"seconds_{stage}"] = round(time.perf_counter() - start, 3)

    def say(self, warning: str) -> None:
        """Keep a sentence that the user should read."""
        self.warnings.append(warning)

    def result(self, **found: Any) -> Segmentation:
        """What was found, with what every result has."""
        return Segmentation(
            shape=self.tomogram.shape,
            prompt_masks=self.prompt_masks,
            warnings=tuple(self.warnings),
            voxel_size_angstrom=self.tomogram.voxel_size_angstrom,
            name=self.tomogram.name,
            provenance=self.provenance,
            **found,
        )


def _find(run: _Run, search_mask: Mask | None, cache: FeatureCache | None) -> Segmentation:
    """Describe the tomogram, match the query, segment the candidates, and accept those above the threshold."""
    matching = run.config.matching
    with run.timed("features"):
        field = _extract(run, cache)
    with run.timed("matching"):
        query = build_query(field, run.prompts.positive, run.centred_masks(), matching.query)
        negatives = list(field.sample(run.prompts.negative))
        candidates = match(
            field,
            query,
            matching,
            diameter=run.diameter,
            negatives=negatives,
            search_mask=search_mask,
            progress=run.progress,
        )
    points, scores = candidates.points, candidates.scores
    if matching.threshold is None and not any(run.is_visible):
        run.say("so nothing was searched for; click on a particle, or give a threshold to search all the same")
        points, scores = points[:0], scores[:0]
    points, scores = _limit(run, points, scores)
    settings = run.config.propagation
    bounded_by = run.diameter if settings.window_diameters else run.given_diameter  # whole slices know no size
    with run.timed("segmenting"):
        masks = propagate(run.smoothed, points, run.segmenter, settings, bounded_by, run.progress)
    if matching.volume_tolerance is not None:
        scores = verify(field, query, scores, masks, run.centred_masks(), matching.volume_tolerance)
        points = _centres(points, masks)
        # the centre of a mask may lie where its candidate could not
        stays = is_allowed(points, run.tomogram.shape, search_mask, matching.edge_margin)
        for negative in negatives:
            stays &= field.similarity_at(query, points) >= field.similarity_at(negative, points)
        scores = np.where(stays, scores, 0)
    order = np.argsort(-scores, kind="stable")
    points, scores, masks = points[order], scores[order], tuple(masks[i] for i in order)
    threshold = choose_threshold(scores) if matching.threshold is None else matching.threshold
    kept = merge_duplicates(masks)
    kept = kept[scores[kept] >= threshold][: matching.max_particles]
    _comment(run, scores, masks, kept, threshold)
    return run.result(
        points=points[kept],
        scores=scores[kept],
        masks=tuple(masks[k] for k in kept),
        score_map=candidates.score_map,
        candidate_points=points,
        candidate_scores=scores,
        threshold=threshold,
    )


def _centres(points: Points, masks: Sequence[InstanceMask]) -> Points:
    """Centroid of each mask; the point itself where the mask is empty."""
    centres = [point if mask.n_voxels == 0 else mask.centroid for point, mask in zip(points, masks, strict=True)]
    return np.array(centres, dtype=float).reshape(-1, 3)


def _limit(run: _Run, points: Points, scores: Scores) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, " m"]]:
    """The candidates that are worth segmenting, and a word about those that are not."""
    matching = run.config.matching
    limit = matching.max_candidates
    if matching.volume_tolerance is None:  # the similarity is the score: what is below the threshold is not accepted
        above = scores >= (matching.threshold or 0)
        points, scores = points[above], scores[above]
        limit = min(limit, matching.max_particles or limit)
    if len(points) > limit:
        run.say(f"only the {limit} most similar of {len(points)} candidates were looked at; there may be more")
    return points[:limit], scores[:limit]


def _comment(
    run: _Run, scores: Scores, masks: Sequence[InstanceMask], kept: Int[np.ndarray, " k"], threshold: float
) -> None:
    """Say what a user would want to know of what was found."""
    limit = run.config.matching.max_particles
    if len(scores) > 0 and len(kept) == 0:
        run.say("no particle of this kind was found; click another one, or lower the threshold")
    if limit is not None and len(kept) == limit and int(np.count_nonzero(scores >= threshold)) > limit:
        run.say(f"only the best {limit} detections were kept, as asked for; there may be more")
    n_off = sum(_is_off_centre(m, p) for p, m in zip(run.prompts.positive, run.prompt_masks, strict=True))
    if n_off:
        run.say(
            f"the mask under {n_off} of {len(run.prompt_masks)} clicks lies off the click, as if it held a neighbour: "
            "look at it, and click a particle that stands alone or give the diameter"
        )
    n_empty = sum(masks[k].n_voxels == 0 for k in kept)
    if n_empty:
        run.say(f"{n_empty} of {len(kept)} detections have no mask: the segmenter saw no particle there")


def _extract(run: _Run, cache: FeatureCache | None) -> FeatureField:
    """Feature field of the tomogram, with the backend that the configuration names."""
    settings, stride = run.config.features, run.config.matching.strides[-1]
    growth = max(1.0, run.diameter / settings.scales_diameter)
    backend = load_features(
        settings.backend, device=run.config.device, scales=[scale * growth for scale in settings.scales]
    )
    run.provenance["features_digest"] = backend.digest
    if isinstance(backend, VolumeDescriptor):
        return extract_dense(run.normalised, backend, stride, run.progress)
    token_voxels = settings.token_diameters * run.diameter

    def compute() -> dict[str, np.ndarray]:
        return extract_triplane(
            run.normalised,
            backend,
            stride=stride,
            token_voxels=token_voxels,
            slice_px=settings.slice_px,
            progress=run.progress,
        ).to_arrays()

    if cache is None:
        return TriPlaneField.from_arrays(compute())
    key = entry_key(
        tomogram=run.normalised.digest(),
        backend=backend.digest,
        stride=stride,
        token_voxels=token_voxels,
        slice_px=settings.slice_px,
    )
    return TriPlaneField.from_arrays(cache.get_or_compute(key, compute))


def _is_off_centre(mask: InstanceMask, point: Float[np.ndarray, " 3"]) -> bool:
    """Whether a compact mask reaches much further to one side of the click; a filament may be clicked anywhere."""
    if mask.n_voxels < _LEAST_VOXELS or _is_filament(mask):
        return False
    return float(np.linalg.norm(mask.centroid - point)) > _OFF_CENTRE * _diameter_of((mask,))


def _is_filament(mask: InstanceMask) -> bool:
    """Whether a mask is many times longer than it is wide."""
    if mask.n_voxels < _LEAST_VOXELS:
        return False
    low, _, high = np.linalg.eigvalsh(np.cov(np.argwhere(mask.data), rowvar=False))
    return bool(high > _ELONGATED**2 * max(float(low), 1e-6))


def _smoothing_for(diameter: float) -> float:
    """Standard deviation in voxels that steadies a particle's mask and keeps its shape."""
    return float(np.clip(_SMOOTHING * diameter, *_SMOOTHING_RANGE))


def _diameter_of(masks: tuple[InstanceMask, ...]) -> float:
    """Diameter in voxels of the ball that has the masks' median volume."""
    volumes = [mask.n_voxels for mask in masks if mask.n_voxels]
    return float((6 * np.median(volumes) / np.pi) ** (1 / 3)) if volumes else _UNKNOWN_DIAMETER


def _visibility(normalised: Tomogram, point: Float[np.ndarray, " 3"]) -> float:
    """How far the densest place near a point stands out of its surroundings, in their standard deviations."""
    half, reach = 32, 3
    at = [int(np.clip(round(float(c)), 0, n - 1)) for c, n in zip(point, normalised.shape, strict=True)]
    crop = normalised.data[tuple(slice(max(0, c - half), c + half + 1) for c in at)]
    smooth = ndimage.gaussian_filter(crop, 1.2)
    level = float(np.median(smooth))
    below = smooth[smooth < level] - level  # objects are above: noise is measured below
    spread = float(np.sqrt(np.mean(below**2))) if below.size else 0.0
    near = smooth[tuple(slice(max(0, min(c, half) - reach), min(c, half) + reach + 1) for c in at)]
    return float((near.max() - level) / max(spread, 1e-6))
