"""One tomogram as a search sees it: its voxels and models, the settings, and the report of the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float

from cryosam.arrays import Mask, Points, Progress, SoFar
from cryosam.averaging.orientations import OrientationSearch
from cryosam.averaging.surrogate import phase_randomised
from cryosam.backends import PromptSegmenter, load_segmenter, resolve_device
from cryosam.config import Config
from cryosam.errors import TomogramError
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.smoothing import Smoothed
from cryosam.intensities import Normalised, SeenContrast, detect_contrast, normalise
from cryosam.matching.descriptors import Descriptors
from cryosam.matching.detector import Detections, detect
from cryosam.matching.feature_cache import FeatureCache
from cryosam.matching.features import FeatureField
from cryosam.matching.radial_correlation import RadialCorrelation
from cryosam.matching.similarity import is_allowed
from cryosam.matching.tomogram_features import describe, octave
from cryosam.memory import LastKept, Workspace
from cryosam.missing_wedge import MissingWedge, SettledWedge, settle_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.run_report import Recorder, RunReport
from cryosam.tomogram import Tomogram, Voxels

__all__ = ["RunOptions", "Scene", "Surrogate"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunOptions:
    """Optional inputs of a search, besides the tomogram, the kinds and the settings.

    Parameters
    ----------
    search_mask
        ``(z, y, x)`` bool with the shape of the tomogram, True where particles may be; None allows every position.
    cache
        Keeps features between runs.
    n_trials
        Number of other clicks from which each kind is searched for as well, to measure how much the result depends on
        the click. Not possible with a saved query.
    kind_configs
        Settings of some kinds, by name, which replace those of the run. The ``tomogram`` settings, the segmenter and
        the device must be the same for all kinds.
    progress
        Called as ``progress(stage, done, total)``.
    so_far
        Called as ``so_far(kind, points)`` with the points that resemble a kind, each time the search updates them.
    """

    search_mask: Mask | None = None
    cache: FeatureCache | None = None
    n_trials: int = 0
    kind_configs: Mapping[str, Config] = field(default_factory=dict)
    progress: Progress | None = None
    so_far: SoFar | None = None


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A volume with the spectrum of the tomogram and no structure, prepared for the same search.

    Parameters
    ----------
    volume
        The volume.
    radial
        Compares places in it with radial profiles.
    """

    volume: Tomogram
    radial: RadialCorrelation


@dataclass(frozen=True, eq=False)
class Scene:
    """A tomogram as the search for one kind sees it; most of it is shared by all kinds of a run.

    Parameters
    ----------
    tomogram
        The tomogram as it was read.
    voxels
        Its normalised voxels: in [0, 1], protein bright.
    config
        Settings of the kind.
    options
        Optional inputs of the search.
    segmenter
        Segments 2D images from prompts.
    workspace
        Allocates large arrays.
    record
        Collects measurements and warnings about the kind.
    is_contrast_certain
        Whether it is clear that protein is dark or bright; if not, there is a warning for each kind.
    fields, searches, wedges, radials, surrogates, described, detected
        Caches of what was used last: the feature field, the orientation search, the missing wedge, the radial
        correlation, the surrogate, the descriptors and the detections.
    """

    tomogram: Tomogram
    voxels: Normalised
    config: Config
    options: RunOptions
    segmenter: PromptSegmenter
    workspace: Workspace
    record: Recorder
    is_contrast_certain: bool = True
    fields: LastKept[tuple[str, FeatureField]] = field(default_factory=LastKept)
    searches: LastKept[OrientationSearch] = field(default_factory=LastKept)
    wedges: LastKept[SettledWedge] = field(default_factory=LastKept)
    radials: LastKept[RadialCorrelation] = field(default_factory=LastKept)
    surrogates: LastKept[Surrogate] = field(default_factory=LastKept)
    described: LastKept[Descriptors] = field(default_factory=LastKept)
    detected: LastKept[tuple[Detections, Detections]] = field(default_factory=LastKept)

    @classmethod
    def open(
        cls, tomogram: Tomogram, clicks: Points, config: Config | None = None, options: RunOptions | None = None
    ) -> "Scene":
        """Check the input and normalise the intensities.

        Parameters
        ----------
        tomogram
            The tomogram as it was read.
        clicks
            ``(n, 3)`` on particles, z, y, x in voxels; they help to detect the contrast.
        config, options
            Settings and optional inputs; defaults if left out.

        Raises
        ------
        TomogramError
            If the tomogram contains NaN, is constant, or differs in shape from the search mask.
        VoxelSizeError
            If a diameter was given in angstrom and the voxel size is not known.
        """
        config, options = config or Config(), options or RunOptions()
        mask = options.search_mask
        if mask is not None and mask.shape != tomogram.shape:
            raise TomogramError(f"the search mask has shape {mask.shape}, but the tomogram has {tomogram.shape}")
        if config.diameter_angstrom is not None:
            tomogram.voxels(config.diameter_angstrom)
        segmenter = load_segmenter(config.propagation.segmenter, device=config.device)  # before all voxels are read
        choice = config.tomogram.contrast
        seen = detect_contrast(tomogram, clicks) if choice == "auto" else SeenContrast(contrast=choice, evidence=np.inf)
        voxels = normalise(tomogram, seen.contrast, config.tomogram.percentiles)
        workspace = Workspace(None if config.memory_gb is None else config.memory_gb * 1e9)
        report = RunReport(contrast=seen.contrast, segmenter_digest=segmenter.digest)
        return cls(tomogram, voxels, config, options, segmenter, workspace, Recorder(report), seen.is_certain)

    def for_kind(self, config: Config) -> "Scene":
        """The same scene for another kind: with the settings of that kind, and an empty report."""
        shared = RunReport(contrast=self.record.report.contrast, segmenter_digest=self.record.report.segmenter_digest)
        record = Recorder(shared)
        if not self.is_contrast_certain:
            record.warn(
                "contrast_uncertain",
                f"protein looks {shared.contrast}, but that is not certain; if it is wrong, set it with --contrast",
            )
        return replace(
            self,
            config=config,
            record=record,
            fields=self.fields.copy(),
            searches=self.searches.copy(),
            wedges=self.wedges.copy(),
            radials=self.radials.copy(),
            surrogates=self.surrogates.copy(),
            described=self.described.copy(),
            detected=self.detected.copy(),
        )

    @property
    def search_mask(self) -> Mask | None:
        """True where particles may be; None allows every position."""
        return self.options.search_mask

    @property
    def given_diameter(self) -> float | None:
        """Diameter of the particle in voxels, if the settings give it; otherwise None."""
        angstrom = self.config.diameter_angstrom
        return self.config.diameter_voxels if angstrom is None else self.tomogram.voxels(angstrom)

    def features(self, diameter: float) -> FeatureField:
        """Feature field of the tomogram, with scales or tokens that suit particles of a diameter in voxels."""
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
        """Orientation search for particles of a diameter in voxels."""
        settings = self.config.averaging
        device, wedge = resolve_device(self.config.device), self.missing_wedge()
        return self.searches.get(
            (diameter, settings), lambda: OrientationSearch.of(self.voxels, diameter, settings, device, wedge)
        )

    def radial(self, diameter: float) -> RadialCorrelation:
        """Radial correlation for particles of a diameter in voxels."""
        wedge, device = self.missing_wedge(), resolve_device(self.config.device)
        return self.radials.get(
            (diameter, wedge), lambda: RadialCorrelation.of(self.voxels, diameter, wedge, str(device))
        )

    def descriptors(self, diameter: float) -> Descriptors:
        """Descriptors of places by learned vectors, for particles of a diameter in voxels."""
        device = str(resolve_device(self.config.device))
        return self.described.get(diameter, lambda: Descriptors.of(self.voxels, diameter, device))

    def surrogate(self, diameter: float) -> Surrogate:
        """Surrogate of the tomogram, prepared to be searched for particles of a diameter in voxels."""
        wedge, device = self.missing_wedge(), str(resolve_device(self.config.device))

        def compute() -> Surrogate:
            volume = phase_randomised(self.voxels)
            return Surrogate(volume, RadialCorrelation.of(volume, diameter, wedge, device))

        return self.surrogates.get((diameter, wedge), compute)

    def detections(self, diameter: float) -> tuple[Detections, Detections]:
        """What the learned detector finds in the tomogram, and in its surrogate, for a diameter in voxels."""
        apart, device = self.config.matching.min_distance_diameters * diameter, str(resolve_device(self.config.device))

        def compute() -> tuple[Detections, Detections]:
            surrogate = self.surrogate(diameter).volume
            return detect(self.voxels, diameter, apart, device), detect(surrogate, diameter, apart, device)

        return self.detected.get((diameter, apart), compute)

    def allows(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Whether each point, z, y, x in voxels, lies where particles may be."""
        return is_allowed(points, self.tomogram.shape, self.search_mask, self.config.matching.edge_margin)

    @property
    def searched_voxels(self) -> float:
        """Number of voxels in which particles may be."""
        if self.search_mask is not None:
            return float(np.count_nonzero(self.search_mask))
        margin = self.config.matching.edge_margin
        return float(np.prod([max(n - 2 * margin, 0) for n in self.tomogram.shape]))

    def missing_wedge(self) -> MissingWedge:
        """The missing wedge of the tomogram, measured or from the settings; also recorded in the report."""
        settings = self.config.tomogram
        settled = self.wedges.get(settings, lambda: settle_wedge(PowerSpectrum.of(self.tomogram), settings))
        if self.record.report.wedge_source is None:
            low, high = settled.wedge.tilt_range
            self.record.note(
                lowest_tilt=low,
                highest_tilt=high,
                tilt_axis=settled.wedge.axis,
                beam=settled.wedge.beam,
                wedge_source=settled.source,
            )
            for code, text in settled.doubts:
                self.record.warn(code, text)
        return settled.wedge

    def instances(self, smoothing: float) -> InstanceSegmenter:
        """Segmenter of instances in the tomogram smoothed by a Gaussian; its standard deviation is in voxels."""
        seen: Voxels = self.voxels
        if smoothing > 0:
            seen = Smoothed(self.voxels, smoothing, self.workspace)
        return InstanceSegmenter(seen, self.segmenter, self.config.propagation)

    def show(self, kind: str, points: Points) -> None:
        """Report to the caller, during the search, which points resemble the kind."""
        if self.options.so_far is not None:
            self.options.so_far(kind, np.asarray(points))
