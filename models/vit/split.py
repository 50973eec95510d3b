"""Split learning: a timm ViT cut into a client half and a server half, which compute exactly what it does."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ...solver import OptionError
from ...solver.checks import whole_number
from .timm_parts import VisionTransformer, embed
from .torch_parts import with_children


class ClientHalf(nn.Module):
    """Patch embedding and the first blocks: images (B, 3, height, width) to tokens (B, P + N, C).

    Shares parameters and their names with the whole model.
    """

    def __init__(self, vit: VisionTransformer, cut: int) -> None:
        super().__init__()
        unused = {
            name for name in ("norm", "fc_norm", "head_drop", "head", "head_dist") if hasattr(vit, name)
        }
        children = {"blocks": vit.blocks[:cut], **{name: nn.Identity() for name in unused}}
        self.vit = with_children(vit, children)

    @property
    def blocks(self) -> list[nn.Module]:
        """The client's blocks, first block first."""
        return list(self.vit.blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens after the last client block, (B, P + N, C), of images (B, 3, height, width)."""
        tokens: Tensor = self.vit.blocks(embed(self.vit, images))
        return tokens


class ServerHalf(nn.Module):
    """The other blocks and the head: tokens (B, T, C), any number of them, to logits (B, classes).

    Shares parameters and their names with the whole model.
    """

    def __init__(self, vit: VisionTransformer, cut: int) -> None:
        super().__init__()
        children = {"patch_embed": nn.Identity(), "blocks": vit.blocks[cut:]}
        self.vit = with_children(vit, children, own_parameters=False)

    def forward(self, tokens: Tensor, valid: Tensor | None = None, *, pre_logits: bool = False) -> Tensor:
        """Logits (B, classes) of a batch of tokens.

        Args:
            tokens: (B, T, C).
            valid: (B, T) bool; tokens that are not valid take no part. None for all.
            pre_logits: the features (B, C) before the head's last layer instead.

        Raises:
            OptionError: tokens to be ignored in a model that pools over patches instead of reading [CLS].
        """
        mask = None
        if valid is not None and not bool(valid.all()):
            if self.vit.global_pool != "token":
                raise OptionError(
                    "ServerHalf",
                    f"tokens to ignore, in a model with {self.vit.global_pool!r} pooling",
                    "pooling 'token'",
                    "Create the model with global_pool='token'",
                )
            mask = valid[:, None, None, :]
        x = tokens
        for block in self.vit.blocks:
            x = block(x, attn_mask=mask)
        return self.vit.forward_head(self.vit.norm(x), pre_logits=pre_logits)


@dataclass(frozen=True, eq=False)
class Split:
    """The two halves of a ViT and the sizes of the tokens between them.

    Attributes:
        client: images to tokens.
        server: tokens to logits.
        cut: number of client blocks.
        prefix_tokens: P, [CLS] with a distillation token or registers; always sent.
        grid: patches per column and per row of the image.
        width: C.
    """

    client: ClientHalf
    server: ServerHalf
    cut: int
    prefix_tokens: int
    grid: tuple[int, int]
    width: int

    @property
    def patches(self) -> int:
        """N, patch tokens per image."""
        return self.grid[0] * self.grid[1]


def split(model: nn.Module, cut: int) -> Split:
    """Cut a timm ViT after its first `cut` blocks, without copying parameters.

    Works for ViT and DeiT of every size, with adapters in place too. A distillation token and registers
    count as prefix tokens: they are always kept and sent.

    Args:
        model: a timm `VisionTransformer` with a [CLS] token.
        cut: client blocks, 1 to the model's depth.

    Raises:
        OptionError: another kind of model, one without [CLS], or a cut out of range.
    """
    if not isinstance(model, VisionTransformer):
        raise OptionError(
            "split", f"a {type(model).__name__}", "a timm VisionTransformer", "Try vit_tiny_patch16_224"
        )
    if model.cls_token is None:
        raise OptionError(
            "split",
            f"a model without [CLS] ({model.global_pool!r} pooling)",
            "a model with a [CLS] token, whose attention ranks the patches",
            "Create it with class_token=True and global_pool='token'",
        )
    cut = whole_number("split", "cut", cut, 1, len(model.blocks), next_step="Choose the client's blocks")
    rows, columns = model.patch_embed.grid_size
    return Split(
        client=ClientHalf(model, cut),
        server=ServerHalf(model, cut),
        cut=cut,
        prefix_tokens=int(model.num_prefix_tokens),
        grid=(int(rows), int(columns)),
        width=int(model.embed_dim),
    )
