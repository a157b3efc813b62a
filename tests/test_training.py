"""Training from scratch, a few steps of it on a tiny pool."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from cryosam.backends.descriptor_network import DescriptorNetwork, load_descriptor_network
from cryosam.backends.detector_network import DetectorNetwork, load_detector_network
from cryosam.backends.embedded import load_network
from cryosam.backends.prompt_unet import N_BESIDE

TRAINING = Path(__file__).parents[1] / "training"


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not TRAINING.is_dir():
        pytest.skip("the training code is not in the wheel")
    monkeypatch.syspath_prepend(str(TRAINING))
    import simulate

    monkeypatch.setattr(simulate, "SHAPE", (44, 56, 60))
    return simulate


@pytest.fixture
def pool(simulate: ModuleType, tmp_path: Path) -> Path:
    for i in range(2):
        simulate.make_tomogram((tmp_path / f"train-{i}.npz", i))
    return tmp_path


def _settings(pool: Path, **changes: Any) -> Any:
    import train

    return train.Settings(pool=str(pool), out=str(pool / "run"), objects=2, **changes)


def test_training_runs_stops_and_resumes(pool: Path) -> None:
    import train

    threads = torch.get_num_threads()
    try:
        train.train(_settings(pool, max_steps=2))
        first = torch.load(pool / "run" / "checkpoint.pt", weights_only=True)
        train.train(_settings(pool, max_steps=3))
    finally:
        torch.set_num_threads(threads)
    second = torch.load(pool / "run" / "checkpoint.pt", weights_only=True)
    assert (first["step"], second["step"]) == (2, 3)
    assert second["seconds"] > first["seconds"]
    name = "logits.weight"
    assert not torch.equal(first["network"][name], second["network"][name])
    shipped = load_network((pool / "run" / "embedded.safetensors").read_bytes())
    torch.testing.assert_close(shipped.state_dict()[name], second["averaged"][name], atol=1e-3, rtol=1e-3)


def test_training_may_begin_with_a_network_that_saw_less(simulate: ModuleType, tmp_path: Path) -> None:
    """Its answers are those of the old weights, until it has learned what to make of what is new to it."""
    from safetensors.torch import save_file

    import checkpoints

    old = load_network()
    state = {name: values.clone() for name, values in old.state_dict().items() if not name.startswith("recall")}
    state["score.0.weight"] = state["score.0.weight"][:100, :101].clone()
    state["score.0.bias"] = state["score.0.bias"][:100].clone()
    state["score.2.weight"] = state["score.2.weight"][:, :100].clone()
    state["stem.0.0.weight"] = state["stem.0.0.weight"][:, :1].clone()
    save_file(state, tmp_path / "old.safetensors")
    run = checkpoints.Run.start(0, "cpu", 1e-3, 0.0)
    run.begin_with(tmp_path / "old.safetensors")
    unseen = old.stem[0][0].weight[:, 1:]
    with torch.no_grad():
        for values in (
            *(unseen, old.recall.weight, old.recall.bias),
            *(old.score[0].weight[:, 101:], old.score[2].weight[:, 100:]),
        ):
            values.zero_()
    images, points = torch.randn(2, 1 + N_BESIDE, 64, 64), torch.tensor([[[30.0, 31.0]], [[20.0, 40.0]]])
    prompts = points, torch.ones(2, 1, dtype=torch.bool), None, torch.randn(2, 32, 32), torch.randn(2, 98)
    expected, found = (n.eval().decode(n.encode(images), *prompts) for n in (old, run.averaged.eval()))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b)


def test_the_pool_labels_what_is_dense(pool: Path, simulate: ModuleType) -> None:
    with np.load(pool / "train-0.npz") as stored:
        tomogram, instances = stored["tomogram"].astype(np.float32), stored["instances"]
    particles = (instances > 0) & (instances < simulate.FIRST_LONG)
    assert particles.any()
    assert tomogram[particles].mean() > tomogram[instances == 0].mean()


def test_a_sample_is_one_object_under_its_click(pool: Path) -> None:
    """The click lies on the object or in its hollow, neighbours are not the object, and a walk may come to its end."""
    import walks

    rng = np.random.default_rng(0)
    source = walks.load(pool / "train-0.npz", rng)
    drawn = [sample for sample in (walks.draw(source, rng) for _ in range(60)) if sample is not None]
    for images, masks, others, click in drawn:
        assert images.shape == (walks.N_SLICES, 1 + N_BESIDE, walks.SIZE_PX, walks.SIZE_PX)
        assert not ((masks > 0.6) & (others > 0.6)).any()
        cells = np.argwhere(masks[0] > 0.01)
        assert np.hypot(*(cells - (click - 0.5) / 2).T).min() < 14
    assert any(not masks[1].any() for _, masks, _, _ in drawn)
    assert any(masks[1].any() for _, masks, _, _ in drawn)


def test_a_perfect_answer_costs_least_and_scores_1(simulate: ModuleType) -> None:
    import losses

    target = torch.zeros(1, 48, 48)
    target[:, 10:20, 12:24] = 1
    others = torch.zeros(1, 48, 48)
    others[:, 20:30, 12:24] = 1
    right, joined, off = target.clone(), target + others, torch.roll(target, 8, dims=1) * 0 + 0.0
    off[:, 10:20, 0:12] = 1
    logits = torch.stack([20 * mask[0] - 10 for mask in (right, joined, off)])[None]
    cost = losses.mask_cost(logits, target, others)[0]
    assert cost[0] < 0.01 < cost[1]
    assert losses.true_iou(logits, target)[0].tolist() == pytest.approx([1, 10 / 20, 0])
    alone = losses.mask_cost(logits, target, torch.zeros_like(others))[0]
    assert cost[1] > 1.2 * alone[1]


def test_a_descriptor_is_trained_on_simulated_boxes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Boxes of the clicked kind and of something else, a few steps, and weights that the package can load."""
    if not TRAINING.is_dir():
        pytest.skip("the training code is not in the wheel")
    monkeypatch.syspath_prepend(str(TRAINING))
    import simulate_descriptor
    import train_descriptor

    monkeypatch.setattr(simulate_descriptor, "SHAPE", (48, 100, 100))
    for seed in range(3):
        simulate_descriptor.make_boxes((tmp_path, seed))
    paths = sorted(tmp_path.glob("*.npz"))
    monkeypatch.setattr(train_descriptor, "_CLICKS", min(2, len(paths)))
    boxes, labels = train_descriptor.read_group(paths[0])
    assert boxes.shape == (len(labels), 2, 24, 24, 24)
    assert 4 <= (labels == 0).sum() < len(labels)
    out = tmp_path / "descriptor.safetensors"
    options = ["--pool", tmp_path, "--validation", tmp_path, "--out", out, "--minutes", 0.05, "--least-snr", 0]
    monkeypatch.setattr("sys.argv", ["train_descriptor.py", *map(str, options)])
    train_descriptor.main()
    trained, fresh = load_descriptor_network(out.read_bytes()), DescriptorNetwork()
    assert not torch.equal(trained.stem[1].running_mean, fresh.stem[1].running_mean)
    assert out.stat().st_size < 2_000_000


def test_a_detector_is_trained_on_simulated_tomograms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Crops with the centres where the particles are, a few steps, and weights that the package can load."""
    if not TRAINING.is_dir():
        pytest.skip("the training code is not in the wheel")
    monkeypatch.syspath_prepend(str(TRAINING))
    import simulate_descriptor
    import simulate_detector
    import train_detector

    monkeypatch.setattr(simulate_descriptor, "SHAPE", (48, 100, 100))
    for seed in range(2):
        simulate_detector.make_views((tmp_path, seed))
    paths = sorted(tmp_path.glob("*.npz"))
    monkeypatch.setattr(train_detector, "_TOGETHER", 2)
    monkeypatch.setattr(train_detector, "CROP", (16, 32, 32))
    out = tmp_path / "detector.safetensors"
    options = ["--pool", tmp_path, "--validation", tmp_path, "--out", out, "--minutes", 0.05]
    monkeypatch.setattr("sys.argv", ["train_detector.py", *map(str, options)])
    assert len(paths) >= 2
    train_detector.main()
    trained, fresh = load_detector_network(out.read_bytes()), DetectorNetwork()
    assert not torch.equal(trained.stem[1].running_mean, fresh.stem[1].running_mean)
    assert out.stat().st_size < 3_000_000


def test_a_crop_knows_where_its_particles_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """However a crop is cut, mirrored and transposed, the bright spots are at the centres that come with it."""
    if not TRAINING.is_dir():
        pytest.skip("the training code is not in the wheel")
    monkeypatch.syspath_prepend(str(TRAINING))
    import train_detector

    volume, rng = np.zeros((2, 40, 90, 70), dtype=np.float16), np.random.default_rng(0)
    points = rng.integers(3, (37, 87, 67), (60, 3))
    volume[1, *points.T] = 100
    for _ in range(20):
        part, places, sizes = train_detector.crop_of((volume, points.astype(np.float32), np.ones(60)), rng)
        is_in = ((places >= 0) & (places <= torch.tensor(train_detector.CROP) - 1)).all(dim=1)
        assert is_in.any()
        assert (part[1][tuple(places[is_in].long().T)] > 50).all()
        shape = tuple(n // 2 for n in train_detector.CROP)
        heat, is_centre, counts, offset = train_detector.targets_of(places, sizes, shape)
        cells = torch.nonzero(is_centre)
        seen = (cells + offset[:, is_centre].T + 0.5) * 2 - 0.5
        assert torch.cdist(seen, places[is_in].float()).min(dim=1).values.max() < 1e-3
        assert (heat[is_centre] > 0.2).all()
        assert counts.all()
