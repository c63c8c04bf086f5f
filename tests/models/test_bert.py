"""BERT against PyTorch's own post-norm encoder layer."""

import torch
from heddle.models.bert import BertConfig, EncoderLayer, seeded
from torch import nn


def test_a_layer_is_pytorchs_post_norm_layer():
    config = BertConfig(width=12, heads=3, hidden=20)
    torch.manual_seed(0)
    ours = EncoderLayer(config).eval()
    theirs = nn.TransformerEncoderLayer(12, 3, 20, activation="gelu", batch_first=True, layer_norm_eps=config.epsilon)
    attention = ours.attention
    with torch.no_grad():
        projections = attention.query, attention.key, attention.value
        theirs.self_attn.in_proj_weight.copy_(torch.cat([each.weight for each in projections]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([each.bias for each in projections]))
    for mine, other in (
        (attention.output, theirs.self_attn.out_proj), (ours.up, theirs.linear1), (ours.down, theirs.linear2),
        (ours.norm1, theirs.norm1), (ours.norm2, theirs.norm2),
    ):  # fmt: skip
        other.load_state_dict(mine.state_dict())
    x = torch.randn(2, 7, 12)
    torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


def test_segments_and_positions_count():
    model = seeded(BertConfig())
    ids = torch.full((1, 6), 3)
    plain = model(ids, torch.zeros(1, 6, dtype=torch.int64))
    assert plain.shape == (1, 5)
    assert not torch.allclose(plain, model(ids, torch.ones(1, 6, dtype=torch.int64)))
    rows = model.embeddings(ids, torch.zeros(1, 6, dtype=torch.int64))[0]
    assert not torch.allclose(rows[0], rows[1])


def test_the_seed_decides_and_the_global_generator_does_not():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = seeded(BertConfig(), seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.classifier.weight, seeded(BertConfig(), seed=5).classifier.weight)
    assert not torch.equal(first.classifier.weight, seeded(BertConfig(), seed=6).classifier.weight)
