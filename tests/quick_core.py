"""A small tomogram of three blobs, and a core that answers at once that it found them."""

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosam import segmentation
from cryosam.config import Config
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Average, ScoreMap, Segmentation
from cryosam.run_report import RunReport, RunWarning
from cryosam.scene import RunOptions
from cryosam.tomogram import Tomogram

SHAPE = (30, 40, 50)
BLOBS = ((15.0, 12.0, 14.0), (14.0, 28.0, 36.0), (8.0, 30.0, 12.0))
TURNS = Rotation.from_euler("ZYZ", [[10, 20, 30], [40, 50, 60], [70, 80, 90]], degrees=True)


def make_volume() -> np.ndarray:
    grid = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    volume = np.random.default_rng(0).normal(0, 0.05, SHAPE)
    for blob in BLOBS:
        squared = sum((g - c) ** 2 for g, c in zip(grid, blob, strict=True))
        volume += np.exp(-squared / 18)
    return volume.astype(np.float32)


def cube(point: Any, edge: int = 3) -> InstanceMask:
    z, y, x = (int(c) - edge // 2 for c in point)
    return InstanceMask((z, y, x), np.ones((edge, edge, edge), dtype=bool))


def found_by(prompts: PointPrompts, shape: tuple[int, int, int], scores: tuple[float, ...]) -> Segmentation:
    """A search's answer: candidates at the blobs."""
    points, masks = np.array(BLOBS), tuple(cube(blob) for blob in BLOBS)
    n = sum(score >= 0.5 for score in scores)
    return Segmentation(
        shape=shape,
        points=points[:n],
        scores=np.array(scores[:n]),
        masks=masks[:n],
        rotations=TURNS[:n],
        score_map=ScoreMap(np.full((4, 5, 7), np.nan, dtype=np.float32), 8),
        candidate_points=points,
        candidate_scores=np.array(scores),
        candidate_masks=masks,
        threshold=0.5,
        average=Average(np.zeros((4, 4, 4), dtype=np.float32), 1.0, np.array([1.0, 0.75, 0.5])),
        prompt_masks=tuple(cube(point, 5) for point in prompts.positive),
        report=RunReport(diameter=8.0, warnings=(RunWarning("doubt", "look twice"),)),
        kind=prompts.name,
    )


def answer_at_once(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The core, replaced by answers at once; `gate` holds a search until it is set."""
    control = SimpleNamespace(gate=threading.Event(), scores=(0.9, 0.7, 0.2), calls=[], shape=(3, 3, 3), warnings=())
    control.gate.set()

    def segment_prompts(tomogram: Tomogram, prompts: PointPrompts, config: Config, **_: Any) -> Segmentation:
        (point,) = prompts.positive
        control.calls.append((tomogram.shape, config))
        at = (float(point[0]), float(point[1]), float(point[2]))
        warnings = (RunWarning("nothing_there", "nothing stands out from the background at point {point}", at),)
        is_blob = min(np.linalg.norm(point - np.array(blob)) for blob in BLOBS) < 3
        mask = replace(cube(point), data=np.ones(control.shape, dtype=bool)) if is_blob else InstanceMask.empty()
        return Segmentation(
            tomogram.shape,
            np.zeros((0, 3)),
            np.zeros(0),
            (),
            prompt_masks=(mask,),
            report=RunReport(diameter=4.5, smoothing=1.25, warnings=() if is_blob else warnings),
        )

    def segment(tomogram: Tomogram, prompts: PointPrompts, config: Config, options: RunOptions) -> Segmentation:
        control.calls.append((prompts, config))
        control.cache = options.cache
        assert options.so_far is not None
        assert options.progress is not None
        options.so_far(prompts.name, prompts.positive)
        for done in range(200):
            options.progress("segmenting", done, 200)
            if control.gate.wait(0.02):
                break
        found = found_by(prompts, tomogram.shape, control.scores)
        return replace(found, report=replace(found.report, warnings=found.report.warnings + control.warnings))

    def segment_kinds(tomogram: Tomogram, kinds: Any, config: Config, options: RunOptions) -> Segmentation:
        return Segmentation.combine([segment(tomogram, each, config, options) for each in kinds])

    monkeypatch.setattr(segmentation, "segment_prompts", segment_prompts)
    monkeypatch.setattr(segmentation, "segment", segment)
    monkeypatch.setattr(segmentation, "segment_kinds", segment_kinds)
    return control
