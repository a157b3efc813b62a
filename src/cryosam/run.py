"""What the steps of one run share: the tomogram and its features, the settings, and what is to be told of the run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from cryosam.arrays import Mask, Points, Progress, SoFar
from cryosam.averaging.orientations import OrientationSearch
from cryosam.backends import PromptSegmenter, VolumeDescriptor, load_features, load_segmenter, resolve_device
from cryosam.config import AlignmentConfig, Config, FeatureConfig
from cryosam.errors import TomogramError
from cryosam.intensities import Normalised, detect_contrast, normalise
from cryosam.matching.feature_cache import FeatureCache, entry_key
from cryosam.matching.features import FeatureField
from cryosam.matching.features.dense import extract_dense
from cryosam.matching.features.dense_field import DenseField
from cryosam.matching.features.extraction import extract_triplane
from cryosam.matching.features.triplane import TriPlaneField
from cryosam.memory import Workspace
from cryosam.tomogram import Tomogram

__all__ = ["Run", "octave"]


@dataclass(eq=False)
class Run:
    """What the steps of one run share."""

    tomogram: Tomogram
    normalised: Normalised
    config: Config
    workspace: Workspace
    segmenter: PromptSegmenter
    given_diameter: float | None
    search_mask: Mask | None
    cache: FeatureCache | None
    progress: Progress | None
    provenance: dict[str, str | float]
    so_far: SoFar | None = None
    warnings: list[str] = field(default_factory=list)
    _field: tuple[tuple[float, FeatureConfig, int], str, FeatureField] | None = None
    _orientations: tuple[tuple[float, AlignmentConfig], OrientationSearch] | None = None

    @classmethod
    def start(
        cls,
        tomogram: Tomogram,
        clicks: Points,
        config: Config | None,
        search_mask: Mask | None = None,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
        so_far: SoFar | None = None,
    ) -> "Run":
        """Check the input and prepare the intensities; ``clicks`` lie on particles and tell the contrast."""
        config = config or Config()
        if search_mask is not None and search_mask.shape != tomogram.shape:
            raise TomogramError(f"the search mask has shape {search_mask.shape}, the tomogram {tomogram.shape}")
        given = config.diameter_angstrom
        diameter = None if given is None else tomogram.voxels(given)
        segmenter = load_segmenter(config.propagation.segmenter, device=config.device)
        choice = config.tomogram.contrast
        contrast = detect_contrast(tomogram, clicks) if choice == "auto" else choice
        normalised = normalise(tomogram, contrast, config.tomogram.percentiles)
        provenance: dict[str, str | float] = {"contrast": contrast, "segmenter_digest": segmenter.digest}
        workspace = Workspace(None if config.memory_gb is None else config.memory_gb * 1e9)
        return cls(
            tomogram,
            normalised,
            config,
            workspace,
            segmenter,
            diameter,
            search_mask,
            cache,
            progress,
            provenance,
            so_far,
        )

    def for_next_kind(self) -> "Run":
        """A run on the same tomogram without what was decided and said of this kind."""
        kept = {name: self.provenance[name] for name in ("contrast", "segmenter_digest")}
        return replace(self, provenance=kept, warnings=[])

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add up how long a stage took."""
        key, start = f"seconds_{stage}", time.perf_counter()
        yield
        self.provenance[key] = round(float(self.provenance.get(key, 0)) + time.perf_counter() - start, 3)

    def say(self, warning: str) -> None:
        """Keep a sentence that the user should read."""
        self.warnings.append(warning)

    def describe(self, diameter: float) -> FeatureField:
        """Feature field of the tomogram whose scales, or tokens, fit particles of a diameter; the last one is kept."""
        key = octave(diameter), self.config.features, self.config.matching.strides[-1]
        if self._field is None or self._field[0] != key:
            self._field = None  # before the next one is made: one may fill half the memory
            with self.timed("features"):
                self._field = key, *_extract(self, key[0])
        _, self.provenance["features_digest"], found = self._field
        return found

    def orientations(self, diameter: float) -> OrientationSearch:
        """Compares particles of a diameter in all orientations; the last one is kept."""
        key = diameter, self.config.alignment
        if self._orientations is None or self._orientations[0] != key:
            device = resolve_device(self.config.device)
            found = OrientationSearch.of(self.normalised, diameter, self.config.alignment, device)
            self._orientations = key, found
        return self._orientations[1]


def octave(diameter: float) -> float:
    """The nearest power of the square root of two: particles of about one size share their features.

    Examples
    --------
    >>> octave(17.0), octave(15.0)
    (16.0, 16.0)
    """
    return float(2 ** (round(2 * np.log2(diameter)) / 2))


def _extract(run: Run, diameter: float) -> tuple[str, FeatureField]:
    """Digest of the backend that the configuration names, and its feature field that fits a diameter."""
    settings, stride = run.config.features, run.config.matching.strides[-1]
    growth = max(1.0, diameter / settings.scales_diameter)
    backend = load_features(
        settings.backend, device=run.config.device, scales=[scale * growth for scale in settings.scales]
    )
    if isinstance(backend, VolumeDescriptor):
        dense = _computed(
            run,
            lambda: extract_dense(run.normalised, backend, stride, run.workspace, run.progress).to_arrays(),
            backend=backend.digest,
            stride=stride,
        )
        return backend.digest, DenseField.from_arrays(dense)
    token_voxels = settings.token_diameters * diameter

    def compute() -> dict[str, np.ndarray]:
        return extract_triplane(
            run.normalised,
            backend,
            stride=stride,
            token_voxels=token_voxels,
            slice_px=settings.slice_px,
            workspace=run.workspace,
            progress=run.progress,
        ).to_arrays()

    planes = _computed(
        run, compute, backend=backend.digest, stride=stride, token_voxels=token_voxels, slice_px=settings.slice_px
    )
    return backend.digest, TriPlaneField.from_arrays(planes)


def _computed(run: Run, compute: Callable[[], dict[str, np.ndarray]], **settings: object) -> dict[str, np.ndarray]:
    """The arrays of a field: from the cache, where there is one that knows them."""
    if run.cache is None:
        return compute()
    return run.cache.get_or_compute(entry_key(tomogram=run.normalised.digest(), **settings), compute)
