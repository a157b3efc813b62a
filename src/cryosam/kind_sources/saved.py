"""A kind that was saved in another tomogram: what is kept of a search, and how another tomogram is searched with it.

The feature is kept as it is: dense descriptors are in units of the background's noise, which makes them comparable
between tomograms, and tokens of a 2D model are compared by their direction only.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from cryosam.arrays import Points
from cryosam.classification.kind_average import Known
from cryosam.config import Config
from cryosam.errors import QueryError
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.prompted import Prompted
from cryosam.kind_sources.protocol import Seed
from cryosam.matching.candidates import Candidates
from cryosam.matching.features import FeatureField
from cryosam.matching.similarity import KindQuery
from cryosam.matching.tomogram_features import octave
from cryosam.results import Average, Segmentation
from cryosam.saved_query import KnownMembers, SavedQuery
from cryosam.scene import Scene
from cryosam.tomogram import Contrast, Tomogram

__all__ = ["SavedKind", "save_query"]

_SAME = 1e-4  # relative difference of voxel sizes that are one
_LARGEST_RATIO = 2.0  # of voxel sizes
_MOST_MEMBERS = 20  # that the average counts for
_MOST_KNOWN = 4  # of either group: with more, a tomogram with other noise is judged by the noise of the query's


@dataclass(frozen=True, eq=False)
class SavedKind:
    """A kind that was saved in another tomogram (a `KindSource`)."""

    saved: SavedQuery
    least_to_average: int = 1
    advice: str = "or click in this tomogram"

    @property
    def name(self) -> str:
        """Of the kind."""
        return self.saved.name

    @property
    def clicks(self) -> Points:
        """None in this tomogram."""
        return np.zeros((0, 3))

    @property
    def negatives(self) -> Points:
        """None."""
        return np.zeros((0, 3))

    @property
    def contrast(self) -> Contrast | None:
        """Of the tomogram in which the kind was clicked."""
        return self.saved.contrast

    def validate(self, tomogram: Tomogram) -> None:
        """Check that the tomogram's voxel size is known; raises VoxelSizeError if not."""
        tomogram.voxels(self.saved.voxel_size_angstrom)

    def fitted(self, scene: Scene) -> Config:
        """The scene's settings with features at the query's scales, in angstrom.

        Raises
        ------
        QueryError
            If the query was made with other models, or with voxels of a size that is too different.
        VoxelSizeError
            If the tomogram's voxel size is not known.
        """
        query, settings = self.saved, scene.config.features
        ratio = scene.tomogram.voxels(query.voxel_size_angstrom)
        ratio = 1.0 if abs(ratio - 1) < _SAME else ratio
        for what, made_with, used in (
            ("features", query.features, settings.backend),
            ("segmenter", query.segmenter, scene.config.propagation.segmenter),
        ):
            if made_with != used:
                raise QueryError(
                    f"query {query.name!r} was made with {what} {made_with}, and this run uses {used}; use the same "
                    "preset, or make the query again"
                )
        if scene.segmenter.digest != query.segmenter_digest:
            raise QueryError(f"query {query.name!r} was made with another version of {query.segmenter}; make it again")
        is_whole = query.token_voxels == 0 and settings.token_diameters == 0
        if max(ratio, 1 / ratio) > (1 + _SAME if is_whole else _LARGEST_RATIO):
            raise QueryError(
                f"query {query.name!r} was made in voxels of {query.voxel_size_angstrom:g} angstrom, and those of "
                f"{scene.tomogram.name} are {scene.tomogram.voxel_size_angstrom:g}; bin to about the same size, or "
                "click there"
            )
        tokens = settings.token_diameters if is_whole else query.token_voxels * ratio / octave(self._diameter(scene))
        scales = tuple(scale * ratio for scale in query.scales)
        features = replace(settings, scales=scales, scales_diameter=float("inf"), token_diameters=tokens)
        return replace(scene.config, features=features)

    def seed(self, scene: Scene) -> tuple[Seed, InstanceSegmenter]:
        """The kind's size without a click, and the tomogram as the segmenter is to see it."""
        smoothing = scene.config.propagation.smoothing
        if smoothing is None:
            smoothing = scene.tomogram.voxels(self.saved.smoothing_angstrom)
        prompted = Prompted((), (), self._diameter(scene), smoothing)
        return Seed(prompted, self.clicks, np.zeros(0, dtype=bool), is_there=True), scene.instances(smoothing)

    def query(self, scene: Scene, seed: Seed) -> KindQuery:
        """The saved feature and volume.

        Raises
        ------
        QueryError
            If the features of this tomogram come from another version of the model, or other settings.
        """
        self._require_same_features(scene, scene.features(seed.diameter))
        volume = self.saved.volume_angstrom3 * scene.tomogram.voxels(1.0) ** 3
        return KindQuery(self.name, self.saved.feature, (volume,))

    def seeds(self, candidates: Candidates, seed: Seed) -> Int[np.ndarray, " k"]:
        """None: the reference tells the kind."""
        return np.zeros(0, dtype=int)

    def reference(self, scene: Scene) -> Known | None:
        """What the query tells of the kind's shape, and of how like each other its particles are."""
        query = self.saved
        average = Average(query.average.data, scene.tomogram.voxels(query.average.step))
        weight = float(min(query.n_particles, _MOST_MEMBERS))
        return Known(average, weight, query.known_members if query.known_members.is_kind.any() else None)

    def _diameter(self, scene: Scene) -> float:
        """In voxels; the settings' own if they have one."""
        return scene.given_diameter or scene.tomogram.voxels(self.saved.diameter_angstrom)

    def _require_same_features(self, scene: Scene, field: FeatureField) -> None:
        """Make sure that the features of a tomogram can be compared with the query's."""
        query = self.saved
        has_same_voxels = abs(scene.tomogram.voxels(query.voxel_size_angstrom) - 1) < _SAME  # else scales differ
        is_other = has_same_voxels and scene.record.report.features_digest != query.features_digest
        if is_other or len(query.feature) != field.n_channels:
            raise QueryError(f"query {query.name!r} was made with another version of {query.features}; make it again")


def save_query(scene: Scene, found: Segmentation, candidates: Candidates) -> SavedQuery:
    """What must be kept of one kind that was found.

    Parameters
    ----------
    scene
        That it was found in.
    found
        What was found.
    candidates
        Of which it was accepted. Their average is kept where each mask holds only a part of its particle.

    Raises
    ------
    QueryError
        If nothing was found.
    VoxelSizeError
        If the voxel size is not known.
    """
    angstrom, settings, report = 1 / scene.tomogram.voxels(1.0), scene.config.features, found.report
    volumes = [mask.n_voxels for mask in found.masks if mask.n_voxels]
    if not volumes or report.diameter is None or report.smoothing is None:
        raise QueryError(
            f"no particle of kind {found.kind!r} was found, so there is nothing to keep; click another one"
        )
    field, size = scene.features(report.diameter), octave(report.diameter)
    average = found.average if report.whole_diameter is None else candidates.average
    average = average or _single(scene, found, report.diameter)
    return SavedQuery(
        name=found.kind,
        feature=field.sample(found.candidate_points[: len(found.points)]).mean(axis=0),
        diameter_angstrom=report.diameter * angstrom,
        volume_angstrom3=float(np.median(volumes)) * angstrom**3,
        smoothing_angstrom=report.smoothing * angstrom,
        contrast="dark" if report.contrast == "dark" else "bright",
        average=Average(average.data, average.step * angstrom),
        known_members=_known_members(candidates, found.threshold),
        voxel_size_angstrom=angstrom,
        scales=tuple(scale * max(1.0, size / settings.scales_diameter) for scale in settings.scales),
        token_voxels=settings.token_diameters * size,
        features=settings.backend,
        features_digest=str(scene.record.report.features_digest),
        segmenter=scene.config.propagation.segmenter,
        segmenter_digest=scene.segmenter.digest,
        n_particles=len(found.points),
        source=scene.tomogram.name,
        source_digest=scene.tomogram.digest(),
    )


def _single(scene: Scene, found: Segmentation, diameter: float) -> Average:
    """The best particle in the place of an average, where there were too few to make one."""
    cut = scene.orientations(diameter).cut
    return Average(cut.cut(found.candidate_points[:1])[0].cpu().numpy(), cut.step)


def _known_members(candidates: Candidates, threshold: float | None) -> KnownMembers:
    """Some of the candidates, evenly over the scores of those that were accepted and of the others."""
    if candidates.correlation is None or threshold is None:
        return KnownMembers(np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool))
    is_kind = candidates.scores >= threshold
    groups = [np.flatnonzero(which & (candidates.prior_score > 0)) for which in (is_kind, ~is_kind)]
    chosen = np.concatenate([group[_spread(len(group))] for group in groups])
    return KnownMembers(candidates.correlation[chosen], candidates.prior_score[chosen], is_kind[chosen])


def _spread(n: int) -> Int[np.ndarray, " k"]:
    """Indices of at most so many of n things, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST_KNOWN)).round().astype(int))
