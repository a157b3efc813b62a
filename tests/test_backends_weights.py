"""Weights are found, converted and refused as they should be; nothing is downloaded."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cryosam.backends import (
    SlicePrompts,
    fetch,
    import_checkpoint,
    list_models,
    load_features,
    load_segmenter,
    resolve_device,
)
from cryosam.backends.conversion import convert_sam_state, infer_sam_config, read_sam_checkpoint
from cryosam.backends.sam import SamSegmenter
from cryosam.backends.weights import locate
from cryosam.errors import (
    ConfigError,
    OutputError,
    OutputExistsError,
    UnknownBackendError,
    WeightsError,
    WeightsNotFoundError,
)
from tiny_models import (
    tiny_dinov2,
    tiny_dinov2_registers,
    tiny_dinov3,
    tiny_sam,
    tiny_sam2,
    tiny_sam2_video,
    tiny_sam_hq,
)

# weights that lie elsewhere in memory are summed in another order
ROUNDING = {"rtol": 1e-5, "atol": 5e-6}

# names of the original code for names of SamModel, written down by hand from the original's source
ORIGINAL_NAMES = (
    ("shared_image_embedding.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    ("vision_encoder.patch_embed.projection.", "image_encoder.patch_embed.proj."),
    ("vision_encoder.neck.conv1.", "image_encoder.neck.0."),
    ("vision_encoder.neck.layer_norm1.", "image_encoder.neck.1."),
    ("vision_encoder.neck.conv2.", "image_encoder.neck.2."),
    ("vision_encoder.neck.layer_norm2.", "image_encoder.neck.3."),
    ("vision_encoder.layers.", "image_encoder.blocks."),
    ("vision_encoder.", "image_encoder."),
    ("prompt_encoder.point_embed.", "prompt_encoder.point_embeddings."),
    ("prompt_encoder.mask_embed.conv1.", "prompt_encoder.mask_downscaling.0."),
    ("prompt_encoder.mask_embed.layer_norm1.", "prompt_encoder.mask_downscaling.1."),
    ("prompt_encoder.mask_embed.conv2.", "prompt_encoder.mask_downscaling.3."),
    ("prompt_encoder.mask_embed.layer_norm2.", "prompt_encoder.mask_downscaling.4."),
    ("prompt_encoder.mask_embed.conv3.", "prompt_encoder.mask_downscaling.6."),
    ("mask_decoder.upscale_conv1.", "mask_decoder.output_upscaling.0."),
    ("mask_decoder.upscale_layer_norm.", "mask_decoder.output_upscaling.1."),
    ("mask_decoder.upscale_conv2.", "mask_decoder.output_upscaling.3."),
    (".layers.0.weight", ".layers.1.weight"),
    (".layers.0.bias", ".layers.1.bias"),
    (".proj_in.", ".layers.0."),
    (".proj_out.", ".layers.2."),
    ("layer_norm", "norm"),
)


def _original_name(name: str) -> str:
    for ours, original in ORIGINAL_NAMES:
        is_mlp = ours.startswith(".")
        if is_mlp and not ("output_hypernetworks_mlps" in name or "iou_prediction_head" in name):
            continue
        if ours in name:
            name = name.replace(ours, original)
            if is_mlp:
                break
    return name.replace("layer_norm", "norm")


def _original_state(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a SamModel as the original code would store them."""
    return {
        _original_name(name): values.clone()
        for name, values in model.state_dict().items()
        if name != "prompt_encoder.shared_embedding.positional_embedding"
    }


@pytest.fixture
def original() -> dict[str, torch.Tensor]:
    return _original_state(_as_original(tiny_sam()))


def _as_original(model: Any) -> Any:
    """A decoder with the constant of the original code, where that of transformers is another."""
    for module in model.mask_decoder.transformer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5
    return model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for models, and an empty cache of the hub."""
    monkeypatch.setenv("CRYOSAM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "home"


def _answer(segmenter: Any) -> np.ndarray:
    image = np.random.default_rng(0).random((1, 22, 31), dtype=np.float32)
    prompts = SlicePrompts(np.array([0]), np.array([[[7.0, 20.0]]]), np.array([[True]]))
    logits: np.ndarray = segmenter.segment(segmenter.embed(image), prompts).logits
    return logits


def _hub_snapshot(model: Any, hub_id: str) -> Path:
    """Put a model into the hub's cache as a download would."""
    repository = Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    model.save_pretrained(repository / "snapshots" / "abc")
    return repository / "snapshots" / "abc"


# --- original checkpoints


def test_a_converted_checkpoint_answers_as_the_model_it_came_from(
    tmp_path: Path, original: dict[str, torch.Tensor]
) -> None:
    torch.save(original, tmp_path / "tiny.pth")
    expected = _answer(SamSegmenter(_as_original(tiny_sam())))
    np.testing.assert_allclose(_answer(load_segmenter(tmp_path / "tiny.pth")), expected, **ROUNDING)


def test_the_configuration_is_read_from_the_shapes(original: dict[str, torch.Tensor]) -> None:
    config, expected = infer_sam_config(original), tiny_sam().config
    for section, names in {
        "vision_config": (
            "hidden_size num_hidden_layers num_attention_heads mlp_dim image_size patch_size output_channels "
            "window_size global_attn_indexes num_pos_feats"
        ),
        "prompt_encoder_config": "hidden_size image_size patch_size mask_input_channels num_point_embeddings",
        "mask_decoder_config": (
            "hidden_size mlp_dim num_hidden_layers num_attention_heads attention_downsample_rate "
            "num_multimask_outputs iou_head_depth iou_head_hidden_dim"
        ),
    }.items():
        for name in names.split():
            found = getattr(getattr(config, section), name)
            assert found == getattr(getattr(expected, section), name), (section, name)


def test_every_weight_of_vit_b_has_a_place() -> None:
    """All names of the published architecture, without its 375 MB."""
    from transformers import SamConfig, SamModel

    with torch.device("meta"):
        model = SamModel(SamConfig())
    expected = {name: tuple(values.shape) for name, values in model.state_dict().items()}
    original = {
        _original_name(name): values
        for name, values in model.state_dict().items()
        if name != "prompt_encoder.shared_embedding.positional_embedding"
    }
    assert len(expected) == 315
    assert len(original) == 314
    assert "image_encoder.blocks.11.attn.rel_pos_w" in original
    assert "mask_decoder.output_hypernetworks_mlps.3.layers.2.bias" in original
    assert "mask_decoder.transformer.layers.1.norm4.weight" in original
    assert {name: tuple(values.shape) for name, values in convert_sam_state(original).items()} == expected
    config = infer_sam_config(original)
    assert config.vision_config.window_size == 14
    assert config.vision_config.global_attn_indexes == [2, 5, 8, 11]
    assert config.vision_config.image_size == 1024


@pytest.mark.parametrize(
    "nest",
    [
        lambda state: {"model_state": {f"sam.{name}": values for name, values in state.items()}, "epoch": 3},
        lambda state: {"sam_state": state},
        lambda state: {"state_dict": {f"module.{name}": values for name, values in state.items()}},
    ],
    ids=["training", "sam_state", "distributed"],
)
def test_nested_checkpoints_are_unnested(tmp_path: Path, original: dict[str, torch.Tensor], nest: Any) -> None:
    torch.save(nest(original), tmp_path / "nested.pt")
    model = read_sam_checkpoint(tmp_path / "nested.pt")
    torch.testing.assert_close(model.vision_encoder.pos_embed, original["image_encoder.pos_embed"])


def test_original_names_may_be_stored_as_safetensors(tmp_path: Path, original: dict[str, torch.Tensor]) -> None:
    save_file(original, tmp_path / "tiny.safetensors")
    model = read_sam_checkpoint(tmp_path / "tiny.safetensors")
    torch.testing.assert_close(model.vision_encoder.pos_embed, original["image_encoder.pos_embed"])


def _without(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: values for key, values in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: _without(state, "image_encoder.pos_embed"), "not the weights of a SAM.*pos_embed"),
        (lambda state: _without(state, "mask_decoder.iou_token.weight"), "iou_token.*None, expected"),
        (lambda state: {**state, "decoder.conv.weight": torch.zeros(1)}, "decoder.conv.weight.*not a weight of SAM"),
        (lambda state: {**state, "mask_decoder.iou_token.weight": torch.zeros(1, 7)}, r"iou_token.*\(1, 7\)"),
        (lambda _: {"weights": [1, 2]}, "does not contain named weights"),
        (lambda _: torch.zeros(3), "does not contain named weights"),
        (lambda _: {}, "does not contain named weights"),
    ],
)
def test_what_is_not_a_whole_sam_is_refused(
    tmp_path: Path, original: dict[str, torch.Tensor], change: Any, message: str
) -> None:
    torch.save(change(original), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=message) as caught:
        read_sam_checkpoint(tmp_path / "other.pth")
    assert "\n" not in str(caught.value)


class _Malicious:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("executed"),)


def test_a_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"image_encoder.pos_embed": _Malicious()}, "evil.pth")
    with pytest.raises(WeightsError, match="damaged or contains more than weights"):
        read_sam_checkpoint(Path("evil.pth"))
    assert not Path("executed").exists()


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, original: dict[str, torch.Tensor], name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save(original, path)
    else:
        save_file(original, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WeightsError, match="damaged") as caught:
        read_sam_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    with pytest.raises(WeightsError, match="damaged"):
        read_sam_checkpoint(tmp_path / "empty.pth")


def test_a_published_file_is_verified_by_the_digest_in_its_name(
    tmp_path: Path, original: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(original, tmp_path / "sam_vit_b_01ec64.pth")
    with pytest.raises(WeightsError, match=r"SHA-256 begins with .*, not 01ec64"):
        read_sam_checkpoint(tmp_path / "sam_vit_b_01ec64.pth")
    digest = hashlib.sha256((tmp_path / "sam_vit_b_01ec64.pth").read_bytes()).hexdigest()[:6]
    good = (tmp_path / "sam_vit_b_01ec64.pth").rename(tmp_path / f"sam_vit_b_{digest}.pth")
    monkeypatch.setattr("cryosam.backends.conversion.PUBLISHED_FILES", {good.name: "sam-vit-b"})
    read_sam_checkpoint(good)


# --- imports


def test_an_imported_model_is_used_by_name(home: Path, tmp_path: Path, original: dict[str, torch.Tensor]) -> None:
    torch.save(original, tmp_path / "vit_b_em.pth")
    folder = import_checkpoint(tmp_path / "vit_b_em.pth")
    assert folder == home / "models" / "vit_b_em"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["vit_b_em"]
    expected = _answer(load_segmenter(tmp_path / "vit_b_em.pth"))
    np.testing.assert_allclose(_answer(load_segmenter("vit_b_em")), expected, **ROUNDING)
    assert load_segmenter("vit_b_em").digest == load_segmenter(tmp_path / "vit_b_em.pth").digest
    listed = {model.name: model for model in list_models()}
    assert listed["vit_b_em"].is_available
    assert not listed["sam-vit-b"].is_available


def test_an_import_can_take_the_place_of_a_download(
    home: Path, tmp_path: Path, original: dict[str, torch.Tensor]
) -> None:
    torch.save(original, tmp_path / "tiny.pth")
    import_checkpoint(tmp_path / "tiny.pth", "sam-vit-b")
    assert next(model for model in list_models() if model.name == "sam-vit-b").is_available
    assert locate("sam-vit-b") == home / "models" / "sam-vit-b"
    assert [model.name for model in list_models()].count("sam-vit-b") == 1


@pytest.mark.usefixtures("home")
def test_imports_do_not_overwrite(tmp_path: Path, original: dict[str, torch.Tensor]) -> None:
    torch.save(original, tmp_path / "tiny.pth")
    import_checkpoint(tmp_path / "tiny.pth")
    with pytest.raises(OutputExistsError, match="a model named 'tiny' already exists"):
        import_checkpoint(tmp_path / "tiny.pth")


@pytest.mark.parametrize("name", ["../outside", "", "a/b", ".hidden", "sam2.1-tiny", "classical"])
def test_imports_refuse_names_that_are_no_folder_or_another_model(
    home: Path, tmp_path: Path, original: dict[str, torch.Tensor], name: str
) -> None:
    torch.save(original, tmp_path / "tiny.pth")
    with pytest.raises(WeightsError, match="give another"):
        import_checkpoint(tmp_path / "tiny.pth", name)
    assert not home.exists()


def test_an_import_that_fails_leaves_nothing(
    home: Path, tmp_path: Path, original: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(original, tmp_path / "tiny.pth")

    def write_half(_: Any, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cryosam.backends.loading.write_model", write_half)
    with pytest.raises(OutputError, match="No space left"):
        import_checkpoint(tmp_path / "tiny.pth")
    assert list((home / "models").iterdir()) == []


# --- folders, names and the hub


@pytest.mark.parametrize(
    "build",
    [tiny_sam, tiny_sam_hq, tiny_sam2, tiny_dinov2, tiny_dinov2_registers, tiny_dinov3],
    ids=lambda b: b.__name__,
)
def test_a_folder_gives_the_model_back(tmp_path: Path, build: Any) -> None:
    model = build()
    model.save_pretrained(tmp_path)
    load = load_features if "dino" in build.__name__ else load_segmenter
    loaded: Any = load(tmp_path, device="cpu")
    expected = type(loaded)(model)
    assert loaded.digest == expected.digest
    if load is load_segmenter:
        np.testing.assert_allclose(_answer(loaded), _answer(expected), **ROUNDING)


def test_the_published_video_form_of_sam2_is_read_for_its_images(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = tiny_sam2_video()
    video.save_pretrained(tmp_path)
    capfd.readouterr()
    segmenter: Any = load_segmenter(tmp_path)
    assert capfd.readouterr() == ("", "")
    found, given = segmenter.model.state_dict(), video.state_dict()
    assert len(found) > 100
    for name, values in found.items():
        torch.testing.assert_close(values, given[name])


def test_a_named_model_is_read_from_the_cache_of_the_hub(home: Path) -> None:
    with pytest.raises(WeightsNotFoundError):
        load_segmenter("sam2.1-tiny")
    folder = _hub_snapshot(tiny_sam2_video(), "facebook/sam2.1-hiera-tiny")
    assert locate("sam2.1-tiny") == locate("facebook/sam2.1-hiera-tiny") == folder
    assert next(model for model in list_models() if model.name == "sam2.1-tiny").is_available
    load_segmenter("sam2.1-tiny")
    assert not home.exists()


@pytest.mark.usefixtures("home")
def test_absent_weights_say_how_to_get_them_and_that_the_default_needs_none() -> None:
    with pytest.raises(WeightsNotFoundError) as caught:
        load_features("dinov2-small")
    message = str(caught.value)
    assert "`cryosam models fetch dinov2-small`" in message
    assert "--preset embedded" in message
    assert "\n" not in message


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("path", ["/no/such/folder", "./absent", "absent.pth", "~/absent"])
def test_a_path_that_does_not_exist_is_named(path: str) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no model at .*absent|no model at /no/such/folder"):
        load_segmenter(path)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no model at .*config\.json"):
        load_segmenter(tmp_path)


@pytest.mark.usefixtures("home")
def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(UnknownBackendError, match=r"no model 'sam-vit-x'; give one of .*sam-vit-b.*sam2\.1-tiny"):
        load_segmenter("sam-vit-x")


@pytest.mark.parametrize("name", ["sam-vit-b", "classical"])
def test_a_segmenter_is_no_feature_extractor(name: str) -> None:
    with pytest.raises(UnknownBackendError, match=f"'{name}' is a segmenter, not a feature extractor; .*dinov2-small"):
        load_features(name)


def test_kinds_are_also_told_apart_in_folders(tmp_path: Path) -> None:
    tiny_dinov2().save_pretrained(tmp_path)
    with pytest.raises(UnknownBackendError, match="is a feature extractor, not a segmenter"):
        load_segmenter(tmp_path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    tiny_dinov2().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="damaged") as caught:
        load_features(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_not_made_up(tmp_path: Path) -> None:
    model = tiny_dinov2()
    model.save_pretrained(tmp_path)
    state = {name: values for name, values in model.state_dict().items() if "layernorm.weight" not in name}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 weights of a Dinov2Model, the first is layernorm.weight"):
        load_features(tmp_path)


@pytest.mark.parametrize("config", ["{}", "not json", '{"model_type": "llama"}', "[1]"])
def test_a_configuration_of_no_known_model_is_refused(tmp_path: Path, config: str) -> None:
    tiny_dinov2().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(WeightsError, match=r"model_type|type 'llama'"):
        load_features(tmp_path)


@pytest.mark.usefixtures("home")
def test_fetch_without_a_network_says_what_to_do() -> None:
    with pytest.raises(WeightsNotFoundError, match=r"cannot download 'dinov2-small'.*facebook/dinov2-small") as caught:
        fetch("dinov2-small")
    assert "\n" not in str(caught.value)


def test_fetch_downloads_weights_and_configuration_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(hub_id: str, **settings: Any) -> str:
        asked.append((hub_id, settings["allow_patterns"]))
        return str(_hub_snapshot(tiny_dinov2(), hub_id))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch("dinov2-small") == locate("dinov2-small")
    assert asked == [("facebook/dinov2-small", ["config.json", "*.safetensors", "*.safetensors.*"])]


@pytest.mark.parametrize(
    ("name", "message"), [("invariants", "no weights to download"), ("dinov9", "no model 'dinov9'; give one of")]
)
def test_fetch_refuses_what_is_not_on_the_hub(name: str, message: str) -> None:
    with pytest.raises(UnknownBackendError, match=message):
        fetch(name)


def test_every_listed_name_is_distinct_and_says_its_licence() -> None:
    names = [model.name for model in list_models()]
    assert len(set(names)) == len(names)
    for model in list_models():
        assert bool(model.hub_id) == bool(model.licence) == bool(model.size_mb), model.name
    assert {model.name for model in list_models() if model.is_available} >= {"invariants", "classical"}


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "expected"), [(False, False, "cpu"), (False, True, "mps"), (True, False, "cuda")]
)
def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch, has_cuda: bool, has_mps: bool, expected) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: has_mps)
    assert resolve_device("auto") == expected


def test_devices_that_are_not_here_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ConfigError, match="device 'cuda:99' is not available on this machine; give auto or one of cpu"):
        resolve_device("cuda:99")
