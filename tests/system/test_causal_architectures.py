"""Causal models of Hugging Face with a cache: each architecture of the table that has a head for it, a prompt and then
token by token, against its plain forward in PyTorch."""

from dataclasses import replace

import heddle
import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
from heddle.architectures import architectures  # noqa: E402
from heddle.causal import Logits  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL  # noqa: E402

SQNR_DB = 30  # of every token's logits together: keys and values are int8 in the cache
PROMPT, TOKENS = 16, 20
# What mixes tokens in another way than by products and a window: a part of what is said.
REFUSED = {
    "mamba": "mixes the tokens", "rwkv": "mixes the tokens",  # states instead of attention
}
NAMES = [name for name, entry in architectures().items() if name in CAUSAL and entry["kind"] in ("decoder", "experts")]


def model_of(name):
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(name, **architectures()[name]["sizes"])
    return Logits(transformers.AutoModelForCausalLM.from_config(config)).eval()


def decoded(model, ids):
    """Logits (T, V) of a chunk, and then of single tokens."""
    config = replace(heddle.get_config("base"), value_format="float32", vector_format="float32")
    session = heddle.Session(model, config, heddle.CachePlan(32), chunk=PROMPT,
                             options={"precision": "w16a16", "tiling": heddle.Tiling()})  # fmt: skip
    return np.concatenate([run.logits for run in session.feed(ids)])


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_it_decodes(name):
    model = model_of(name)
    vocabulary = model.model.config.get_text_config().vocab_size
    ids = torch.randint(3, vocabulary, (1, TOKENS), generator=torch.Generator().manual_seed(2))
    if name in REFUSED:
        with pytest.raises(heddle.HeddleError, match=REFUSED[name]):
            decoded(model, ids[0].tolist())
        return
    with torch.no_grad():
        golden = model(ids)[0].numpy()
    found = decoded(model, ids[0].tolist())
    assert found.shape == golden.shape
    assert 10 * np.log10((golden**2).sum() / ((golden - found) ** 2).sum()) > SQNR_DB
