"""All intervals at once give what reading one after the other gives, with its gradients."""

from dataclasses import replace

import pytest
import torch

from auricle.key_values import no_pairs
from auricle.summarization.intervals import cut
from auricle.summarization.parallel import behind, lay, recalled
from auricle.summarization.sst import installed
from auricle.summarization.summarizer import Summarization, interval_pairs
from fakes import random_tokens
from summarizing import MAKE, drawn_sst

OPTIONS = [
    Summarization(interval=7, placement="recall"),
    Summarization(interval=9, placement="recall", silence="read", boundaries="dynamic"),
    Summarization(interval=6, placement="interleave"),
    Summarization(interval=6, placement="interleave", silence="read"),
    Summarization(interval=7, placement="anchor", boundaries="dynamic"),
    Summarization(interval=8, placement="end"),
    Summarization(interval=7, placement="pool"),
    Summarization(interval=7, placement="all"),
]


@pytest.fixture(params=list(MAKE))
def lm(request):
    return MAKE[request.param]()


def recordings(lm, options):
    """Two of other lengths, with silence, one interval of the first being silent; and a ratio for each interval."""
    dim = lm.embed(torch.tensor([1])).shape[1]
    made = [random_tokens(count, dim=dim, seed=seed).embeds for seed, count in enumerate((25, 11))]
    for speech in made:
        speech[2:4] = 0
    made[0][options.interval : 2 * options.interval] = 0
    cuts = [[speech[a:b] for a, b in cut(speech, options.interval, options.boundaries)] for speech in made]
    return cuts, [[(2, 3, 1, 4, 2, 8)[i % 6] for i in range(len(each))] for each in cuts]


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda each: f"{each.placement}-{each.silence}-{each.boundaries}")
def test_all_intervals_at_once_are_one_after_the_other(lm, options, rank):
    decoder, sst = lm.model.get_decoder(), drawn_sst(lm, rank, 0.2)
    cuts, ratios = recordings(lm, options)
    prefix, asked = lm.embed(torch.tensor([3, 4, 5])), lm.embed(torch.tensor([[6, 7, 8, 9], [9, 6, 3, 1]]))
    positions, visible = torch.arange(4).expand(2, -1), torch.ones(2, 4, 4, dtype=torch.bool).tril()

    wanted = []
    with installed(decoder, sst) as reader:
        for number in range(2):
            past = reader.read(prefix, no_pairs(decoder))[1]
            for speech, ratio in zip(cuts[number], ratios[number], strict=True):
                past += interval_pairs(reader, sst, speech, past, replace(options, compression_ratio=ratio))
            wanted.append(reader.read(asked[number], past)[0])
    goal = torch.randn(torch.stack(wanted).shape)
    (torch.stack(wanted) * goal).sum().backward()
    gradients = {name: weight.grad for name, weight in sst.named_parameters()}

    for weight in sst.parameters():
        weight.grad = None
    laid = lay(sst, prefix, cuts, ratios, options)
    recall = options.placement == "recall"
    kept = recalled(decoder, sst, laid) if recall else [laid.kept[:, None]] * len(decoder.layers)
    assert all(torch.equal(each.sum(2), laid.counts.sum(1)[:, None].expand(-1, each.shape[1])) for each in kept)
    found = behind(decoder, sst, laid, kept, asked, positions, visible)
    torch.testing.assert_close(found, torch.stack(wanted), atol=2e-4, rtol=2e-4)
    (found * goal).sum().backward()
    for name, weight in sst.named_parameters():
        if gradients[name] is not None:
            scale = gradients[name].abs().max().clamp(min=1e-3)
            torch.testing.assert_close(weight.grad / scale, gradients[name] / scale, atol=2e-3, rtol=0)
