"""A small GPT: a decoder-only transformer with norms before its parts (Radford et al., 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GPT"]


class GPT(nn.Module):
    """Predicts the next token.

    Shapes: B samples, T tokens, D width, H heads, V tokens known.

    Args:
        vocabulary: Tokens are 0 to vocabulary - 1.
        context: Most tokens of a sequence.
        width: Of the vectors; a multiple of the heads.
        depth: Blocks.
        heads: Of attention.
    """

    def __init__(self, vocabulary: int, context: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.apply(_initialise)
        self.head.weight = self.tokens.weight  # shared (Press & Wolf, 2017)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Score the token after each; returns logits of (B, T, V)."""
        positions_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        x_BTD = self.tokens(tokens_BT) + self.positions(positions_T)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        logits_BTV: Tensor = self.head(self.norm(x_BTD))
        return logits_BTV


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self._attend(self.norm1(x_BTD))
        added: Tensor = x_BTD + self.mlp(self.norm2(x_BTD))
        return added

    def _attend(self, x_BTD: Tensor) -> Tensor:
        b, t, d = x_BTD.shape
        parts = self.qkv(x_BTD).view(b, t, 3, self._heads, d // self._heads)
        q_BHTK, k_BHTK, v_BHTK = parts.permute(2, 0, 3, 1, 4)
        y_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True)
        y_BTD: Tensor = self.out(y_BHTK.transpose(1, 2).reshape(b, t, d))
        return y_BTD


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
