"""GPT-2's architecture in PyTorch, as plain as it can be: what khub's training core is measured against.

Modules carry the names that GPT-2 has in `transformers`, so weights can be exchanged by name. Letters of the
shapes: b batch, t positions, c width, h heads, d = c / h, v vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass(frozen=True)
class Shape:
    """What there is to know of a model before its weights."""

    layers: int
    width: int
    heads: int
    context: int
    vocab: int
    linear_bias: bool = False
    tied: bool = False
    activation: str = "gelu"  # "gelu" is exact (erf), "gelu_new" is the approximation by tanh
    norm_eps: float = 1e-5


# The two models of the bench, each with its batch.
SIZES = {
    "S": (Shape(layers=4, width=256, heads=4, context=256, vocab=8192), 8),
    "M": (Shape(layers=6, width=512, heads=8, context=512, vocab=16384), 4),
}


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, shape):
        super().__init__()
        self.heads = shape.heads
        self.c_attn = nn.Linear(shape.width, 3 * shape.width, bias=shape.linear_bias)
        self.c_proj = nn.Linear(shape.width, shape.width, bias=shape.linear_bias)

    def forward(self, x_btc):
        b, t, c = x_btc.shape
        parts = self.c_attn(x_btc).split(c, dim=2)
        q_bhtd, k_bhtd, v_bhtd = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in parts)
        y_bhtd = F.scaled_dot_product_attention(q_bhtd, k_bhtd, v_bhtd, is_causal=True)
        return self.c_proj(y_bhtd.transpose(1, 2).reshape(b, t, c))


class Mlp(nn.Module):
    """Two linear layers, four times as wide between them."""

    def __init__(self, shape):
        super().__init__()
        self.c_fc = nn.Linear(shape.width, 4 * shape.width, bias=shape.linear_bias)
        self.c_proj = nn.Linear(4 * shape.width, shape.width, bias=shape.linear_bias)
        self.approximate = {"gelu": "none", "gelu_new": "tanh"}[shape.activation]

    def forward(self, x_btc):
        return self.c_proj(F.gelu(self.c_fc(x_btc), approximate=self.approximate))


class Block(nn.Module):
    """Attention, then the two linear layers, each beside a residual path."""

    def __init__(self, shape):
        super().__init__()
        self.ln_1 = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.attn = Attention(shape)
        self.ln_2 = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.mlp = Mlp(shape)

    def forward(self, x_btc):
        x_btc = x_btc + self.attn(self.ln_1(x_btc))
        return x_btc + self.mlp(self.ln_2(x_btc))


class Gpt(nn.Module):
    """The model; called with rows of t + 1 tokens, it returns their mean loss in nats."""

    def __init__(self, shape):
        super().__init__()
        self.wte = nn.Embedding(shape.vocab, shape.width)
        self.wpe = nn.Embedding(shape.context, shape.width)
        self.h = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.ln_f = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.lm_head = nn.Linear(shape.width, shape.vocab, bias=False)
        if shape.tied:
            self.lm_head.weight = self.wte.weight
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02)

    def forward(self, rows):
        inputs_bt, targets_bt = rows[:, :-1], rows[:, 1:]
        x_btc = self.wte(inputs_bt) + self.wpe.weight[: inputs_bt.shape[1]]
        for block in self.h:
            x_btc = block(x_btc)
        logits_btv = self.lm_head(self.ln_f(x_btc))
        return F.cross_entropy(logits_btv.flatten(0, 1).float(), targets_bt.flatten())


def count(model):
    """How many weights a model has; a tied one counts once."""
    return sum(weight.numel() for weight in model.parameters())
