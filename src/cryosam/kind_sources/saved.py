"""A kind that is known from another tomogram: saving a query there, and searching this tomogram with it.

The feature is saved without any rescaling. Dense descriptors are in units of the background noise, which makes them
comparable between tomograms; tokens of a 2D model are compared by their direction only.
"""

from dataclasses import dataclass, field, replace

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

_SAME = 1e-4  # relative difference up to which two voxel sizes count as equal
_LARGEST_RATIO = 2.0  # of voxel sizes
_MOST_MEMBERS = 20  # largest number of particles that the saved average counts for
_MOST_KNOWN = 4  # known members per group: more of them would impose the noise of their tomogram on this one


@dataclass(frozen=True, eq=False)
class SavedKind:
    """A kind that was saved in another tomogram (a `KindSource`)."""

    saved: SavedQuery
    least_to_average: int = field(default=1, init=False)
    advice: str = field(default="or click in this tomogram", init=False)

    @property
    def name(self) -> str:
        """Name of the kind."""
        return self.saved.name

    @property
    def clicks(self) -> Points:
        """No clicks in this tomogram, ``(0, 3)``."""
        return np.zeros((0, 3))

    @property
    def negatives(self) -> Points:
        """No negative clicks, ``(0, 3)``."""
        return np.zeros((0, 3))

    @property
    def contrast(self) -> Contrast | None:
        """Contrast of the tomogram in which the kind was clicked."""
        return self.saved.contrast

    def validate(self, tomogram: Tomogram) -> None:
        """Check that the tomogram's voxel size is known; raises VoxelSizeError if not."""
        tomogram.voxels(self.saved.voxel_size_angstrom)

    def fitted(self, scene: Scene) -> Config:
        """The scene's settings, with features at the same scales in angstrom as those of the query.

        Raises
        ------
        QueryError
            If the query was made with other models, or with a voxel size that differs too much.
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
                    f"query {query.name!r} was made with {what} {made_with}, but this run uses {used}; use the same "
                    "preset, or make the query again"
                )
        if scene.segmenter.digest != query.segmenter_digest:
            raise QueryError(f"query {query.name!r} was made with another version of {query.segmenter}; make it again")
        is_whole = query.token_voxels == 0 and settings.token_diameters == 0
        if max(ratio, 1 / ratio) > (1 + _SAME if is_whole else _LARGEST_RATIO):
            raise QueryError(
                f"query {query.name!r} was made with voxels of {query.voxel_size_angstrom:g} angstrom, but those of "
                f"{scene.tomogram.name} are {scene.tomogram.voxel_size_angstrom:g}; bin to about the same voxel size, "
                "or click in that tomogram"
            )
        tokens = settings.token_diameters if is_whole else query.token_voxels * ratio / octave(self._diameter(scene))
        scales = tuple(scale * ratio for scale in query.scales)
        features = replace(settings, scales=scales, scales_diameter=float("inf"), token_diameters=tokens)
        return replace(scene.config, features=features)

    def seed(self, scene: Scene) -> tuple[Seed, InstanceSegmenter]:
        """A seed without clicks that has the size of the kind, and a segmenter with the smoothing of the query."""
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
            If the features of this tomogram come from another version of the model, or from other settings.
        """
        self._require_same_features(scene, scene.features(seed.diameter))
        volume = self.saved.volume_angstrom3 * scene.tomogram.voxels(1.0) ** 3
        return KindQuery(self.name, self.saved.feature, (volume,))

    def seeds(self, candidates: Candidates, seed: Seed) -> Int[np.ndarray, " k"]:
        """No seeds, because the reference defines the kind."""
        return np.zeros(0, dtype=int)

    def reference(self, scene: Scene) -> Known | None:
        """The query's average and its known members."""
        query = self.saved
        average = Average(query.average.data, scene.tomogram.voxels(query.average.step))
        weight = float(min(query.n_particles, _MOST_MEMBERS))
        return Known(average, weight, query.known_members if query.known_members.is_kind.any() else None)

    def _diameter(self, scene: Scene) -> float:
        """Diameter in voxels, from the settings if they give one, otherwise from the query."""
        return scene.given_diameter or scene.tomogram.voxels(self.saved.diameter_angstrom)

    def _require_same_features(self, scene: Scene, features: FeatureField) -> None:
        """Check that the features of a tomogram can be compared with the query's."""
        query = self.saved
        # with other voxels the scales, and so the digests, differ
        has_same_voxels = abs(scene.tomogram.voxels(query.voxel_size_angstrom) - 1) < _SAME
        is_other = has_same_voxels and scene.record.report.features_digest != query.features_digest
        if is_other or len(query.feature) != features.n_channels:
            raise QueryError(f"query {query.name!r} was made with another version of {query.features}; make it again")


def save_query(scene: Scene, found: Segmentation, candidates: Candidates) -> SavedQuery:
    """Make a query from the result for one kind.

    Parameters
    ----------
    scene
        Scene of the search.
    found
        Result of the search.
    candidates
        All candidates of the search. Their average is saved if each mask covers only a part of its particle.

    Raises
    ------
    QueryError
        If no particle was found.
    VoxelSizeError
        If the voxel size is not known.
    """
    angstrom, settings, report = 1 / scene.tomogram.voxels(1.0), scene.config.features, found.report
    volumes = [mask.n_voxels for mask in found.masks if mask.n_voxels]
    if not volumes or report.diameter is None or report.smoothing is None:
        raise QueryError(
            f"no particle of kind {found.kind!r} was found, so there is nothing to save; click another particle"
        )
    features, size = scene.features(report.diameter), octave(report.diameter)
    average = found.average if report.whole_diameter is None else candidates.average
    average = average or _single(scene, found, report.diameter)
    return SavedQuery(
        name=found.kind,
        feature=features.sample(found.candidate_points[: len(found.points)]).mean(axis=0),
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
    """The best particle, in place of an average if there were too few to make one."""
    cut = scene.orientations(diameter).cut
    return Average(cut.cut(found.candidate_points[:1])[0].cpu().numpy(), cut.step)


def _known_members(candidates: Candidates, threshold: float | None) -> KnownMembers:
    """Some accepted and some rejected candidates, evenly distributed over the ranks in each group."""
    if candidates.correlation is None or threshold is None:
        return KnownMembers(np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool))
    is_kind = candidates.scores >= threshold
    groups = [np.flatnonzero(which & (candidates.prior_score > 0)) for which in (is_kind, ~is_kind)]
    chosen = np.concatenate([group[_spread(len(group))] for group in groups])
    return KnownMembers(candidates.correlation[chosen], candidates.prior_score[chosen], is_kind[chosen])


def _spread(n: int) -> Int[np.ndarray, " k"]:
    """Indices of at most `_MOST_KNOWN` of n items, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST_KNOWN)).round().astype(int))
