"""Parity fixtures: tiny models of every family, with what `transformers` computes from them.

    python make_fixtures.py OUT

writes for each family a folder OUT/<family>/ with

    config.json           the model's shape, as `save_pretrained` writes it
    model.safetensors     its weights, f32, under the names `save_pretrained` gives them
    expected.safetensors  input_ids   I32 [batch, seq]
                          logits      F32 [batch, seq, vocab]
                          loss        F32 [1], nats: the mean over the seq - 1 tokens of each row that have a
                                      token before them
                          grad.NAME   F32, the loss's gradient of the weight NAME, in NAME's shape

Weights are lively: a fixed seed draws them with a standard deviation of 0.2, norm gains around 1 and biases
around 0, so that a forgotten bias, gain or rotation shows in the logits.
"""

import argparse
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

VOCAB, WIDTH, LAYERS, HEADS, KV_HEADS = 97, 32, 2, 4, 2
CONTEXT, SEQ, BATCH = 16, 12, 2
SPREAD = 0.2
# Experts are chosen by rank: closer than this, rounding alone could choose another one.
SMALLEST_ROUTER_GAP = 1e-3


def gpt2():
    """Learned positions, biases everywhere, GELU by tanh, tied head."""
    return transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=CONTEXT,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )


def llama(tied):
    """Rotary positions, RMSNorm, SwiGLU, two query heads to a key head."""
    return transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=CONTEXT,
        tie_word_embeddings=tied, bos_token_id=0, eos_token_id=0,
    )


def mixtral():
    """Llama's attention; each token goes to two of four experts."""
    return transformers.MixtralConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=CONTEXT,
        num_local_experts=4, num_experts_per_tok=2, bos_token_id=0, eos_token_id=0,
    )


FAMILIES = {
    "gpt2": gpt2,
    "llama": lambda: llama(tied=False),
    "llama_tied": lambda: llama(tied=True),
    "mixtral": mixtral,
}


def enliven(model, generator):
    """Draws every weight anew; gains of norms lie around 1, all else around 0."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            is_gain = weight.dim() == 1 and name.endswith("weight")
            centre = 1.0 if is_gain else 0.0
            weight.copy_(centre + SPREAD * torch.randn(weight.shape, generator=generator))


def loss_and_gradients(model, input_ids):
    """The logits and the loss; the gradients stay in the model's parameters."""
    out = model(input_ids=input_ids, labels=input_ids, use_cache=False)
    out.loss.backward()
    return out.logits.detach(), out.loss.detach()


def gradients_by_saved_name(model):
    """The gradients under the names that `save_pretrained` gives the weights.

    In memory `transformers` fuses experts that its files keep apart. Saving the gradients as if they were
    weights takes them apart the same way.
    """
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.grad)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(f"{folder}/model.safetensors")


def check_router(model, input_ids):
    """Fails if a token nearly goes to another expert."""
    with torch.no_grad():
        routers = model(input_ids=input_ids, output_router_logits=True).router_logits
    for logits in routers:
        ranked = logits.sort(dim=-1, descending=True).values
        chosen = model.config.num_experts_per_tok
        gap = (ranked[:, chosen - 1] - ranked[:, chosen]).min().item()
        assert gap > SMALLEST_ROUTER_GAP, f"a router hesitates by only {gap}: take another seed"


def write_family(out, name, config, seed):
    """Writes one family's folder; returns what the line about it says."""
    generator = torch.Generator().manual_seed(seed)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    enliven(model, generator)
    input_ids = torch.randint(0, VOCAB, (BATCH, SEQ), generator=generator)
    if name == "mixtral":
        check_router(model, input_ids)

    folder = out / name
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    logits, loss = loss_and_gradients(model, input_ids)
    expected = {"input_ids": input_ids.to(torch.int32), "logits": logits, "loss": loss.reshape(1)}
    for weight, gradient in gradients_by_saved_name(model).items():
        expected[f"grad.{weight}"] = gradient
    save_file(expected, folder / "expected.safetensors")
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{name:<11} loss {loss.item():.6f}  {size / 1000:.0f} kB"


def main():
    """Writes all families."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write into, made if missing")
    out = parser.parse_args().out
    # One thread adds in one order: the same files on every run.
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for seed, (name, family) in enumerate(FAMILIES.items(), start=1):
        print(write_family(out, name, family(), seed))


if __name__ == "__main__":
    main()
