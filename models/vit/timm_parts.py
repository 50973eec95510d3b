"""Inner parts of timm's ViT that the public interface hides: the one file to mend when timm changes.

Tested with timm 1.0.24 to 1.0.31. Relied on:

- `VisionTransformer.forward_features` is patch_embed, `_pos_embed`, patch_drop, norm_pre, blocks, norm;
- blocks take `attn_mask`, and hold their attention in `attn`, a `timm.layers.attention.Attention`;
- `Attention.qkv` gives (B, T, 3 H D), read as (3, H, D); queries and keys then pass `q_norm` and `k_norm`;
  logits are scaled by `scale`, and `fused_attn` says whether torch's fused kernel is used;
- `checkpoint_filter_fn` fits weights of other image sizes to a model.
"""

from __future__ import annotations

from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

__all__ = [
    "Attention",
    "VisionTransformer",
    "attention_of",
    "embed",
    "fit_weights",
    "fuse_attention",
    "split_heads",
]


def embed(vit: VisionTransformer, images: Tensor) -> Tensor:
    """Tokens before the first block: images (B, 3, height, width) to (B, P + N, C), positions added."""
    tokens: Tensor = vit._pos_embed(vit.patch_embed(images))
    embedded: Tensor = vit.norm_pre(vit.patch_drop(tokens))
    return embedded


def attention_of(block: nn.Module) -> Attention | None:
    """A block's attention layer; None where it has none of timm's."""
    attention = getattr(block, "attn", None)
    return attention if isinstance(attention, Attention) else None


def split_heads(attention: Attention, projected: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Queries, keys and values, (B, H, T, D) each, and the logits' scale.

    Args:
        attention: the layer.
        projected: (B, T, 3 H D), the output of `attention.qkv`.
    """
    samples, length, _ = projected.shape
    shape = (samples, length, 3, attention.num_heads, attention.head_dim)
    query, key, value = projected.reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
    return attention.q_norm(query), attention.k_norm(key), value, attention.scale


def fuse_attention(vit: nn.Module, fused: bool) -> None:
    """Choose between torch's fused attention and one that forms the whole (B, H, T, T) matrix."""
    for module in vit.modules():
        if isinstance(module, Attention):
            module.fused_attn = fused  # type: ignore[misc]  # Final for scripted models only


def fit_weights(weights: dict[str, Tensor], vit: nn.Module) -> dict[str, Tensor]:
    """Weights by timm's names, fitted to the model: positions are interpolated to its grid of patches.

    Raises:
        RuntimeError, KeyError, ValueError, AttributeError: weights of another architecture.
    """
    fitted: dict[str, Tensor] = checkpoint_filter_fn(weights, vit)  # type: ignore[arg-type]
    return fitted
