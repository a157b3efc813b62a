"""One tomogram as a search sees it: its voxels and models, the settings, and what is found out on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cryosam.arrays import Mask, Points, Progress, SoFar
from cryosam.averaging.orientations import OrientationSearch
from cryosam.backends import PromptSegmenter, load_segmenter, resolve_device
from cryosam.config import Config
from cryosam.errors import TomogramError
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.smoothing import Smoothed
from cryosam.intensities import Normalised, detect_contrast, normalise
from cryosam.matching.feature_cache import FeatureCache
from cryosam.matching.features import FeatureField
from cryosam.matching.tomogram_features import describe, octave
from cryosam.memory import LastKept, Workspace
from cryosam.run_report import Recorder, RunReport
from cryosam.tomogram import Tomogram, Voxels

__all__ = ["RunOptions", "Scene"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunOptions:
    """What a search may be given beside the tomogram, the kinds and their settings.

    Parameters
    ----------
    search_mask
        ``(z, y, x)`` bool of the tomogram's shape, True where particles may be; None allows all places.
    cache
        Keeps features between runs.
    n_trials
        Other clicks from which a kind is searched for too, to tell how much the answer depends on the click; a saved
        query has none.
    kind_configs
        Settings of some kinds, by name, in the place of those of the run. How intensities are prepared, the segmenter
        and the device are the same for all kinds.
    progress
        Called as ``progress(stage, done, total)``.
    so_far
        Called as ``so_far(kind, points)`` with the places that look like a kind, each time the search knows more of
        them.
    """

    search_mask: Mask | None = None
    cache: FeatureCache | None = None
    n_trials: int = 0
    kind_configs: Mapping[str, Config] = field(default_factory=dict)
    progress: Progress | None = None
    so_far: SoFar | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """A tomogram as the search for one kind sees it; most of it is shared by all kinds of a run.

    Parameters
    ----------
    tomogram
        As it was read.
    voxels
        Normalised: in [0, 1], protein bright.
    config
        Settings of the kind.
    options
        What the caller gave beside them.
    segmenter
        Answers prompts in 2D.
    workspace
        Has the large arrays.
    record
        Collects what is found out about the kind.
    fields, searches
        Keep the feature field and the orientation search that were used last.
    """

    tomogram: Tomogram
    voxels: Normalised
    config: Config
    options: RunOptions
    segmenter: PromptSegmenter
    workspace: Workspace
    record: Recorder
    fields: LastKept[tuple[str, FeatureField]] = field(default_factory=LastKept)
    searches: LastKept[OrientationSearch] = field(default_factory=LastKept)

    @classmethod
    def open(
        cls, tomogram: Tomogram, clicks: Points, config: Config | None = None, options: RunOptions | None = None
    ) -> "Scene":
        """Check the input and prepare the intensities.

        Parameters
        ----------
        tomogram
            As it was read.
        clicks
            ``(n, 3)`` on particles, z, y, x in voxels; they help to tell the contrast.
        config, options
            The default ones if left out.

        Raises
        ------
        TomogramError
            If the tomogram holds NaN, is constant, or has another shape than the search mask.
        VoxelSizeError
            If a diameter was given in angstrom and the voxel size is not known.
        """
        config, options = config or Config(), options or RunOptions()
        mask = options.search_mask
        if mask is not None and mask.shape != tomogram.shape:
            raise TomogramError(f"the search mask has shape {mask.shape}, the tomogram {tomogram.shape}")
        if config.diameter_angstrom is not None:
            tomogram.voxels(config.diameter_angstrom)
        choice = config.tomogram.contrast
        contrast = detect_contrast(tomogram, clicks) if choice == "auto" else choice
        return cls.around(tomogram, normalise(tomogram, contrast, config.tomogram.percentiles), config, options)

    @classmethod
    def around(cls, tomogram: Tomogram, voxels: Normalised, config: Config, options: RunOptions) -> "Scene":
        """The scene of a tomogram whose intensities are prepared."""
        segmenter = load_segmenter(config.propagation.segmenter, device=config.device)
        report = RunReport(contrast="dark" if voxels.is_inverted else "bright", segmenter_digest=segmenter.digest)
        workspace = Workspace(None if config.memory_gb is None else config.memory_gb * 1e9)
        return cls(tomogram, voxels, config, options, segmenter, workspace, Recorder(report))

    def for_kind(self, config: Config) -> "Scene":
        """The same for another kind: with its settings, and without what was found out about the one before."""
        shared = RunReport(contrast=self.record.report.contrast, segmenter_digest=self.record.report.segmenter_digest)
        return replace(
            self, config=config, record=Recorder(shared), fields=self.fields.copy(), searches=self.searches.copy()
        )

    @property
    def search_mask(self) -> Mask | None:
        """Where particles may be; None allows all places."""
        return self.options.search_mask

    @property
    def given_diameter(self) -> float | None:
        """Of the particle, in voxels; None if it was not given."""
        angstrom = self.config.diameter_angstrom
        return self.config.diameter_voxels if angstrom is None else self.tomogram.voxels(angstrom)

    def features(self, diameter: float) -> FeatureField:
        """Feature field of the tomogram whose scales, or tokens, fit particles of a diameter in voxels."""
        size = octave(diameter)

        def compute() -> tuple[str, FeatureField]:
            with self.record.timed("features"):
                return describe(
                    self.voxels,
                    size,
                    self.config,
                    self.workspace,
                    cache=self.options.cache,
                    progress=self.options.progress,
                )

        key = size, self.config.features, self.config.matching.strides[-1]
        digest, found = self.fields.get(key, compute)
        self.record.note(features_digest=digest)
        return found

    def orientations(self, diameter: float) -> OrientationSearch:
        """Compares particles of a diameter in voxels in all orientations."""
        settings = self.config.averaging
        return self.searches.get(
            (diameter, settings),
            lambda: OrientationSearch.of(self.voxels, diameter, settings, resolve_device(self.config.device)),
        )

    def instances(self, smoothing: float) -> InstanceSegmenter:
        """Segments the instances under points, as seen through a Gaussian; its standard deviation is in voxels."""
        seen: Voxels = self.voxels
        if smoothing > 0:
            seen = Smoothed(self.voxels, smoothing, self.workspace)
        return InstanceSegmenter(seen, self.segmenter, self.config.propagation)

    def show(self, kind: str, points: Points) -> None:
        """Show the caller what looks like the kind before the search has ended."""
        if self.options.so_far is not None:
            self.options.so_far(kind, np.asarray(points))
