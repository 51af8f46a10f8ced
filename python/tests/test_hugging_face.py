"""Models of a hub, fetched by the Hugging Face Hub's own clients: real `huggingface_hub` and `transformers`."""

import os
import subprocess
import sys

import pytest
import torch
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import LlamaConfig, LlamaForCausalLM

from consortium import run
from cutting import Cutting

MODEL = "gaon-university/korean-small"
LOAD = """
import sys, torch, transformers
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])
transformers.AutoModel.from_pretrained(sys.argv[1])
torch.save(model.state_dict(), sys.argv[2])
"""


@pytest.fixture
def model(consortium, tmp_path):
    """A tiny Llama, saved by transformers and published as restricted."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    (folder / "docs").mkdir()
    (folder / "docs/card.md").write_text("a card\n")
    publish(consortium, folder, "restricted")
    return model, folder


def publish(consortium, folder, label, model=MODEL):
    at = ("--hub", consortium.url, "--folder", str(consortium.folder))
    run("publish", str(folder), "--model", model, "--project", "korean-reviews", "--label", label, *at)


def token(consortium, name):
    return (consortium.folder / "credentials" / name).read_text().strip()


def as_who(consortium, name):
    return {"endpoint": consortium.url, "token": token(consortium, name), "cache_dir": consortium.folder / name}


def test_a_snapshot_is_what_was_published(consortium, model):
    _, saved = model
    fetched = snapshot_download(MODEL, **as_who(consortium, "minji"))
    names = sorted(str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file())
    assert "model.safetensors" in names and "docs/card.md" in names
    for name in names:
        assert (saved / name).read_bytes() == open(f"{fetched}/{name}", "rb").read(), name
    # Under the commit it is the same, whatever is published later.
    api = HfApi(endpoint=consortium.url, token=token(consortium, "minji"))
    first = api.model_info(MODEL).sha
    (saved / "docs/card.md").write_text("another card\n")
    publish(consortium, saved, "restricted")
    assert api.model_info(MODEL).sha != first
    for revision, text in [(first, "a card\n"), ("main", "another card\n")]:
        path = hf_hub_download(MODEL, "docs/card.md", revision=revision, **as_who(consortium, "minji"))
        assert open(path).read() == text
    tree = {entry.path for entry in api.list_repo_tree(MODEL, recursive=True)}
    assert tree == set(names)
    assert api.whoami()["name"] == "person minji"


def test_transformers_loads_it_by_its_name(consortium, model, tmp_path):
    env = os.environ | {
        "HF_ENDPOINT": consortium.url,
        "HF_TOKEN": token(consortium, "minji"),
        "HF_HOME": str(tmp_path / "home"),
    }
    out = tmp_path / "weights.pt"
    done = subprocess.run([sys.executable, "-c", LOAD, MODEL, str(out)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = torch.load(out)
    for name, tensor in model[0].state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_a_download_goes_on_where_it_broke_off(consortium):
    folder = consortium.folder / "large"
    folder.mkdir()
    # Its client writes ten megabytes at a time, and counts what is written.
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 100_000)
    publish(consortium, folder, "restricted", "gaon-university/large")
    proxy = Cutting(consortium.url, after=15_000_000)
    minji = as_who(consortium, "minji") | {"endpoint": proxy.url}
    fetched = hf_hub_download("gaon-university/large", "model.safetensors", **minji)
    assert proxy.is_cut and open(fetched, "rb").read() == (folder / "model.safetensors").read_bytes()
    assert proxy.ranges and all(status == 206 for _, status in proxy.ranges), proxy.ranges
    proxy.shutdown()


def test_a_partner_is_told_that_it_is_gated(consortium, model):
    with pytest.raises(GatedRepoError, match="restricted-stays-closed-to-foreign-partners") as no:
        snapshot_download(MODEL, **as_who(consortium, "ingrid"))
    assert no.value.response.status_code == 403
    with pytest.raises(GatedRepoError):
        hf_hub_download(MODEL, "config.json", **as_who(consortium, "ingrid"))
    with pytest.raises(GatedRepoError):
        HfApi(endpoint=consortium.url, token=token(consortium, "ingrid")).model_info(MODEL, revision="0" * 40)
    # What is open she may have.
    folder = consortium.folder / "open"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    publish(consortium, folder, "open", "gaon-university/open")
    snapshot_download("gaon-university/open", **as_who(consortium, "ingrid"))


def test_what_is_not_there_has_its_own_error(consortium, model):
    minji = as_who(consortium, "minji")
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download("gaon-university/nothing", **minji)
    with pytest.raises(RevisionNotFoundError):
        snapshot_download(MODEL, revision="0" * 40, **minji)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(MODEL, "missing.bin", **minji)
    for forged in ["khub_forged", False]:
        with pytest.raises(HfHubHTTPError) as no:
            snapshot_download(MODEL, **(minji | {"token": forged}))
        assert no.value.response.status_code == 401
