"""Segment Anything 2 (Ravi et al., 2024), one image at a time.

The published predictor stretches every image to a square. Here the aspect ratio is kept, as for SAM: otherwise voxels
would not be square, and the same particle would look different in the three planes. For the square windows that are
used by default there is no difference.
"""

from jaxtyping import Float
from torch import Tensor

from cryosam.backends.promptable import ModelPrompts, PromptableModel
from cryosam.backends.sam import call_arguments

__all__ = ["Sam2Segmenter"]


class Sam2Segmenter(PromptableModel):
    """SAM 2, based on ``transformers.Sam2Model``: three candidates for each object.

    Parameters
    ----------
    model
        A ``Sam2Model`` with weights.
    device
        Device to compute on.
    images_per_batch, objects_per_batch
        How many go through the model at once.
    precision
        Precision of the image encoder; see `PromptableModel`.
    """

    @property
    def size_px(self) -> int:
        """Edge of the model's square input in pixels."""
        return int(self.model.config.prompt_encoder_config.image_size)

    def _encode(self, pixels: Float[Tensor, "n 3 s s"]) -> tuple[Tensor, ...]:
        return tuple(self.model.get_image_embeddings(pixels))

    def _decode(
        self, maps: tuple[Tensor, ...], prompts: ModelPrompts
    ) -> tuple[Float[Tensor, "n k q q"], Float[Tensor, "n k"]]:
        answer = self.model(image_embeddings=list(maps), **call_arguments(prompts))
        return answer.pred_masks[:, 0], answer.iou_scores[:, 0]
