"""Parity fixtures: a tiny ESM-2 and a tiny ESMFold, with what `transformers` computes from them.

    python make_folding_fixtures.py OUT

writes folders OUT/esm2 and OUT/esmfold with

    config.json           the model's shape, as `save_pretrained` writes it
    model.safetensors     its weights, f32, under the names `save_pretrained` gives them
    expected.safetensors  what the model says of SEQUENCE: for esm2 the logits and the last hidden state of
                          `<cls> SEQUENCE <eos>` and the contacts; for esmfold backbones, lDDT, errors and states

Weights are lively: a fixed seed draws them with a standard deviation of 0.2, norm gains around 1 and biases
around 0, so that a forgotten bias, gain or rotation shows. What would blow up over blocks is drawn smaller.
"""

import argparse
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

SEQUENCE = "MKTAYIWVGDNLRCHEFPQSXA"
SPREAD = 0.2
LANGUAGE = dict(
    vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=24, num_hidden_layers=3, num_attention_heads=3,
    intermediate_size=40, max_position_embeddings=64, position_embedding_type="rotary", token_dropout=True,
    emb_layer_norm_before=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-5,
)
TRUNK = dict(
    num_blocks=2, sequence_state_dim=24, pairwise_state_dim=16, sequence_head_width=8, pairwise_head_width=4,
    position_bins=6, max_recycles=2, chunk_size=None,
    structure_module=dict(
        sequence_dim=20, pairwise_dim=12, ipa_dim=5, resnet_dim=12, num_heads_ipa=3, num_qk_points=2,
        num_v_points=3, num_blocks=3,
    ),
)


def enliven(model, seed):
    """Draws every weight anew; gains of norms lie around 1, all else around 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            norm = weight.dim() == 1 and name.endswith("weight")
            weight.copy_((1.0 if norm else 0.0) + SPREAD * torch.randn(weight.shape, generator=generator))


def tokens(config):
    """`<cls> SEQUENCE <eos>`."""
    vocab = transformers.models.esm.configuration_esm.get_default_vocab_list()
    return torch.tensor([[0] + [vocab.index(letter) for letter in SEQUENCE] + [2]])


def esm2(seed):
    """ESM-2 with its heads."""
    model = transformers.EsmForMaskedLM(transformers.EsmConfig(**LANGUAGE)).eval()
    model.esm.set_attn_implementation("eager")
    enliven(model, seed)
    ids = tokens(model.config)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        out = model(ids, attention_mask=mask, output_hidden_states=True)
        contacts = model.predict_contacts(ids, mask)
    return model, {
        "input_ids": ids.to(torch.int32), "logits": out.logits, "last_hidden_state": out.hidden_states[-1],
        "contacts": contacts,
    }


def esmfold(seed):
    """ESMFold: the language model, the trunk and the structure module."""
    fold = dict(fp16_esm=False, embed_aa=True, lddt_head_hid_dim=8, trunk=TRUNK)
    config = transformers.EsmConfig(**LANGUAGE, is_folding_model=True, esmfold_config=fold)
    model = transformers.EsmForProteinFolding(config).eval()
    enliven(model, seed)
    with torch.no_grad():
        # Far updates of frames would leave nothing but huge distances.
        model.trunk.structure_module.bb_update.linear.weight *= 0.3
        model.trunk.recycle_disto.weight[0] = 0
        out = model.infer(SEQUENCE)
    backbone = out.positions[-1][0, :, :5]
    return model, {
        "backbone": backbone, "plddt": out.plddt[0, :, 1], "error": out.predicted_aligned_error[0],
        "ptm": out.ptm.reshape(1), "distogram_logits": out.distogram_logits[0], "s_s": out.s_s[0],
        "s_z": out.s_z[0],
    }


def main():
    """Writes both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write into, made if missing")
    out = parser.parse_args().out
    # One thread adds in one order: the same files on every run.
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for seed, make in enumerate((esm2, esmfold), start=1):
        model, expected = make(seed)
        folder = out / make.__name__
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        expected = {name: value.contiguous() for name, value in expected.items()}
        save_file(expected, folder / "expected.safetensors")
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{make.__name__:<8} {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
