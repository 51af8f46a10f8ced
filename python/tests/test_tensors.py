"""Where the tensors of `transformers` lie in khub's flat vector."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import khub
from consortium import run
from khub.ranks import Ranks
from khub.tensors import Tensors

MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=2, n_head=2)),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=16, tie_word_embeddings=False,
        )
    ),
}  # fmt: skip


class Vector:
    """A seat that is nothing but its vectors."""

    def __init__(self, size):
        self.weights = torch.zeros(size)

    def set(self, offset, values):
        self.weights[offset : offset + len(values)] = torch.from_numpy(values)

    def read(self, offset, values):
        torch.from_numpy(values).copy_(self.weights[offset : offset + len(values)])


@pytest.mark.parametrize("family", MODELS)
def test_the_vector_is_the_one_of_khub(family, tmp_path):
    torch.manual_seed(3)
    model = MODELS[family]()
    model.save_pretrained(tmp_path / "theirs")
    run("import", str(tmp_path / "theirs"), "-o", str(tmp_path / "ours"))
    [file] = (tmp_path / "ours").glob("*.safetensors")
    with safe_open(file, "pt") as ours:
        layout = khub.layout(ours.metadata()["config"])
        expected = torch.cat([ours.get_tensor(name).reshape(-1) for name, _, _ in layout])
    tensors = Tensors(model, layout, Ranks())
    seat = Vector(tensors.size)
    tensors.first(seat)
    assert torch.equal(seat.weights, expected)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.zero_()
    tensors.write(seat)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(0.5)
    tensors.trained(seat)
    assert torch.equal(seat.weights, expected * 0.5)


def test_a_model_of_sixteen_bits_moves_from_where_it_began():
    model = torch.nn.Linear(8, 8).bfloat16()
    tensors = Tensors(model, None, Ranks())
    seat = Vector(tensors.size)
    start = torch.linspace(-1, 1, tensors.size)
    seat.weights.copy_(start)
    tensors.write(seat)
    tensors.trained(seat)
    assert torch.equal(seat.weights, start)


def test_names_are_those_without_wrappers_and_each_tensor_counts_once():
    plain = MODELS["gpt2"]()
    wrapped = torch.nn.parallel.DataParallel(torch.compile(plain))
    names = [place.name for place in Tensors(wrapped, None, Ranks()).places]
    assert names == [name for name, _ in plain.named_parameters()]
    assert [place.name for place in Tensors(plain.state_dict(), None, Ranks()).places] == names


def test_what_does_not_fit_is_named():
    layout = [("a.weight", [2, 2], False), ("b.weight", [2], False)]
    with pytest.raises(khub.Error, match="b.weight missing here, c.weight not in the job"):
        Tensors({"a.weight": torch.zeros(2, 2), "c.weight": torch.zeros(2)}, layout, Ranks())
    with pytest.raises(khub.Error, match=r"a.weight is \(4,\) here, and \(2, 2\) in the job's model"):
        Tensors({"a.weight": torch.zeros(4)}, layout, Ranks())


def test_the_data_order_is_a_permutation_that_all_share():
    assert sorted(khub.samples(100, 7, 0, 100)) == list(range(100))
    assert khub.samples(100, 7, 40, 50) == khub.samples(100, 7, 0, 100)[40:50]
    with pytest.raises(khub.Error):
        khub.samples(0, 7, 0, 1)
