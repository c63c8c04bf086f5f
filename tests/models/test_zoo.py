"""Models of the zoo: what their papers say of them, in PyTorch alone."""

import pytest
import torch
from heddle.models import bert_pretraining, components, experts, letters, mae, moco, sparse, token_merging, vit
from heddle.models.self_supervised import TINY, called, followed, unit
from heddle.models.train_transformer import answers, trained


def test_the_encoder_decoder_reverses_and_sorts():
    sources, expected = letters.held_out(20)
    assert torch.equal(answers(trained(), sources, expected.shape[1]), expected)
    assert letters.encode("sort", "heddleloom")[:3] == [3, 11, 8]
    assert letters.decode([*letters.encode("sort", "heddleloom")[1:], letters.END, 9]) == "heddleloom"
    with pytest.raises(ValueError, match="10 letters a to z, not sort 'short'"):
        letters.encode("sort", "short")


def test_a_queue_wraps():
    queue, keys = torch.zeros(5, 2), torch.tensor([[1.0, 1], [2, 2]])
    assert moco.enqueued(queue, keys, torch.tensor([4]))[:, 0].tolist() == [2, 0, 0, 0, 1]
    assert moco.enqueued(queue, keys, torch.tensor([1]))[:, 0].tolist() == [0, 1, 2, 0, 0]


def test_a_momentum_encoder_follows():
    (found,) = followed(0.75, [torch.tensor([4.0])], [torch.tensor([8.0])])
    assert found.tolist() == [5.0]
    model, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
    assert torch.equal(called(model, [each.detach() for each in model.parameters()], x), model(x).detach())
    assert unit(x).norm(dim=-1).tolist() == pytest.approx([1] * 4)


def test_no_pair_is_merged_where_r_is_none():
    torch.manual_seed(0)
    model, images = vit.Vit(TINY).eval(), torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(token_merging.MergingVit(model, 0)(images), model(images))


def test_tokens_that_are_alike_are_merged_to_their_mean():
    x = torch.tensor([[[9.0, 9], [1, 0], [0, 5], [0, 1], [4, 0]]])  # of [CLS] and four, the second even one is like 1
    found, size = token_merging.merge(x, torch.ones(1, 5, 1), x, 1)
    assert size.sum() == 5 and found.shape == (1, 4, 2) and found[0, 0].tolist() == [9, 9]
    assert sorted(found[0].tolist()) in ([[0, 1], [0, 5], [2.5, 0], [9, 9]], [[0, 3], [1, 0], [4, 0], [9, 9]])


def test_experts_are_the_weighted_sum_of_their_swiglus():
    torch.manual_seed(0)
    layer, x = experts.Experts(experts.ExpertsConfig(shared=1, scale=2.5, sigmoid=True)), torch.randn(1, 3, 32)
    affinity = torch.sigmoid(layer.router.scores(x[0]))  # (3, E)
    for token, scores in zip(x[0], affinity, strict=True):
        best = scores.topk(2)
        y = layer.shared(token)
        for weight, place in zip(best.values / best.values.sum(), best.indices, strict=True):
            gate, up = (layer.up[place] @ token).chunk(2)
            y = y + 2.5 * weight * (layer.down[place] @ (torch.nn.functional.silu(gate) * up))
        torch.testing.assert_close(layer(x)[0, (x[0] == token).all(-1)][0], y)


def test_padding_is_not_seen():
    torch.manual_seed(0)
    model = bert_pretraining.PairClassifier(bert_pretraining.BertConfig()).eval()
    short, long = (bert_pretraining.pair([5, 6], [7], tokens) for tokens in (6, 16))
    torch.testing.assert_close(model(*short), model(*long))
    with pytest.raises(ValueError, match="take 6 tokens, not 4"):
        bert_pretraining.pair([5, 6], [7], 4)


def test_patches_of_a_masked_autoencoder_are_its_pixels():
    model = mae.Mae(mae.MaeConfig())
    images = torch.arange(64.0).view(1, 1, 8, 8)
    assert model.patches(images)[0, 1].tolist() == [2, 3, 10, 11]
    seen, places = mae.shuffled(16, 0.25, 0)
    assert seen.shape == (1, 4) and places[0, seen[0]].tolist() == [0, 1, 2, 3]


def test_patterns_see_what_their_papers_say():
    assert sparse.window(256)[0].sum() == 128 and sparse.window(256)[100].sum() == 192
    bird = sparse.big_bird(1024)
    assert bird[500, :128].all() and bird[:128].all()  # global
    blocks = bird[512].view(16, 64).any(-1).sum()
    assert 5 <= blocks <= 8  # 3 in the window, 2 global, 3 random, of which some may be the same
    assert sparse.strided(256)[200].sum() == 64 + 3 and not sparse.strided(256).triu(1).any()
    assert sparse.fixed(256)[130].nonzero()[:, 0].tolist() == [*range(48, 64), *range(112, 128), 128, 129, 130]
    assert sparse.dilated(1024)[512].sum() == 65 and sparse.live_blocks(sparse.causal(64)) == 10


def test_rotary_embeddings_are_one_rotation_in_three_spellings():
    x, (cos, sin) = torch.randn(1, 2, 5, 8), components.rotary_tables(5, 8, 10000.0)
    turned = components.interleaved(x, cos, sin)
    torch.testing.assert_close(components.as_complex(x, cos, sin), turned)
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # halves
    torch.testing.assert_close(components.rotate(x[..., order], cos, sin), turned[..., order])
