"""Summarizing: proofs against plain forwards, and against one forward with all rules of who sees whom by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from auricle.errors import ContextLengthError, MemoryFileError, ModelError, OptionError
from auricle.key_values import Pairs, no_pairs
from auricle.models.fun_asr_nano import FunAsrNano
from auricle.models.granite_speech import GraniteSpeech
from auricle.models.mini.adapter import AuricleMini
from auricle.models.phi4_multimodal import Phi4Multimodal
from auricle.models.qwen2_5_omni import Qwen25Omni
from auricle.summarization import layout
from auricle.summarization.intervals import cut
from auricle.summarization.sst import PROJECTIONS, SST, attentions, installed, new_sst
from auricle.summarization.summarizer import QUESTION, UNTRAINED, Summarization, Summarizer, interval_pairs, load
from fakes import random_tokens
from models import tiny_fun, tiny_granite, tiny_mini, tiny_omni, tiny_phi4
from summarizing import MAKE

OPTIONS = [
    Summarization(2, 6, placement="interleave"),
    Summarization(3, 7, placement="interleave"),
    Summarization(8, 100, placement="interleave"),
    Summarization(3, 7, placement="anchor"),
    Summarization(4, 10, placement="anchor"),
    Summarization(4, 6, placement="end"),
    Summarization(3, 7, placement="pool"),
    Summarization(4, 9, boundaries="dynamic", placement="interleave"),
]


@pytest.fixture(params=list(MAKE))
def lm(request):
    return MAKE[request.param]()


def decoder_of(lm):
    return lm.model.get_decoder()


def dim(lm):
    return lm.embed(torch.tensor([1])).shape[1]


def trained(lm, rank=None, seed=0):
    """SSTs that are not the model's own."""
    torch.manual_seed(seed)
    sst = SST(decoder_of(lm), torch.randn(dim(lm)), rank)
    with torch.no_grad():
        for weight in sst.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return sst


def speech(lm, count, seed=0):
    return random_tokens(count, dim=dim(lm), seed=seed)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("interval", [5, 7, 100])
def test_untrained_and_all_kept_reads_as_a_plain_forward(lm, rank, interval):
    sst = SST(decoder_of(lm), torch.zeros(dim(lm)), rank)
    summarizer = Summarizer(lm, sst, Summarization(interval=interval, placement="all"))
    tokens, query = speech(lm, 23), lm.query("Where is the boat?", ["sea", "bay"])
    prompt = summarizer.prompt(summarizer.summarize(tokens), query)
    plain = lm.prompt(tokens, query)
    assert len(prompt) == len(plain)
    behind = prompt.embeds.shape[1]
    torch.testing.assert_close(lm.logits(prompt), lm.logits(plain)[-behind:], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        lm.loglikelihood(prompt, query.choices), lm.loglikelihood(plain, query.choices), atol=1e-3, rtol=1e-3
    )
    assert lm.generate(prompt, 6) == lm.generate(plain, 6)
    assert torch.equal(prompt.embeds[0, prompt.query], plain.embeds[0, plain.query])


def seen_and_where(part, kept):
    """Which tokens each token sees, at which position it sees them, and its own."""
    seen = torch.zeros(len(part), len(part), dtype=torch.bool)
    at, own = torch.zeros(len(part), len(part)), torch.zeros(len(part))
    for number in part.unique():
        rows, before = (part == number).nonzero()[:, 0], (kept & (part < number)).nonzero()[:, 0]
        own[rows] = len(before) + torch.arange(len(rows)).float()
        for row in rows:
            inside = rows[rows <= row]
            seen[row, before], seen[row, inside] = True, True
            at[row, before], at[row, inside] = torch.arange(len(before)).float(), own[inside]
    return seen, at, own


def turned(vectors, angle):
    a, b = vectors.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def reference(lm, sst, prefix, speech, last, options):
    """One forward of all tokens: the layers by hand, every key turned to where the query sees it."""
    decoder = decoder_of(lm)
    spans = cut(speech, options.interval, options.boundaries)
    none = torch.zeros(0, dtype=torch.bool)
    parts = [(prefix, none.new_zeros(len(prefix)))]
    for a, b in spans:
        at = layout.ends(speech[a:b], layout.ssts(b - a, options.compression_ratio), options.placement)
        parts.append(layout.read(speech[a:b], sst.embedding, at, options.placement))
    parts.append((last, none.new_zeros(len(last))))
    marked = torch.cat([marks for _, marks in parts])
    part = torch.cat([torch.full((len(x),), number) for number, (x, _) in enumerate(parts)])
    seen, at, own = seen_and_where(part, marked | (part == 0))
    states, size = torch.cat([x for x, _ in parts]), no_pairs(decoder).keys.shape[-1]
    turns = decoder.rotary_emb.inv_freq
    for layer, mine in zip(decoder.layers, sst.layers, strict=True):
        x, heads = layer.input_layernorm(states), {}
        for name in PROJECTIONS:
            plain = getattr(layer.self_attn, name)(x)
            summary = mine[name](x) + (plain if sst.rank else 0)
            heads[name] = torch.where(marked[:, None], summary, plain).unflatten(-1, (-1, size)).transpose(0, 1)
        groups = len(heads["q_proj"]) // len(heads["k_proj"])
        keys, values = (heads[name].repeat_interleave(groups, 0) for name in ("k_proj", "v_proj"))
        queries = turned(heads["q_proj"], own[:, None] * turns)
        moved = turned(keys[:, None], at[None, :, :, None] * turns)  # heads, rows, columns, size
        scores = torch.einsum("hrd,hrcd->hrc", queries, moved) / size**0.5
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        states = states + layer.self_attn.o_proj(torch.einsum("hrc,hcd->rhd", weights, values).flatten(1))
        states = states + layer.mlp(layer.post_attention_layernorm(states))
    return lm.model.get_output_embeddings()(decoder.norm(states[part == len(parts) - 1]))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rank", [None, 2])
@torch.no_grad()
def test_windows_are_one_forward_under_the_equivalent_mask(lm, options, rank):
    sst = trained(lm, rank)
    summarizer = Summarizer(lm, sst, options)
    tokens, template = speech(lm, 23), lm.template("Where is the boat?")
    memory = summarizer.summarize(tokens)
    found = lm.logits(summarizer.prompt(memory, lm.query("Where is the boat?")))
    before, behind = lm.embed(template.ids[: template.audio]), lm.embed(template.ids[template.audio + 1 :])
    expected = reference(lm, sst, before, tokens.embeds, behind, options)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-3)
    spans = cut(tokens.embeds, options.interval, options.boundaries)
    assert len(memory) == sum(layout.ssts(b - a, options.compression_ratio) for a, b in spans)


def test_the_model_is_left_as_it_was(lm):
    decoder = decoder_of(lm)
    before = [getattr(attention, name) for attention in attentions(decoder) for name in PROJECTIONS]
    names = list(lm.model.state_dict())
    with pytest.raises(KeyError), installed(decoder, trained(lm)):
        raise KeyError
    summarizer = Summarizer(lm, trained(lm))
    summarizer.prompt(summarizer.summarize(speech(lm, 9)), lm.query("Where?"))
    after = [getattr(attention, name) for attention in attentions(decoder) for name in PROJECTIONS]
    assert all(one is other for one, other in zip(before, after, strict=True))
    assert list(lm.model.state_dict()) == names


def test_gradients_flow_through_earlier_intervals():
    """The last interval's pairs depend on the first interval's speech, but not on what follows them.

    It takes three layers: the pairs of the first one are made of nothing but the SST's embedding.
    """
    lm = AuricleMini(tiny_mini.model(num_hidden_layers=3), tiny_mini.processor(), "auricle-mini")
    options, decoder, sst = Summarization(4, 8, placement="interleave"), decoder_of(lm), trained(lm)
    embeds = speech(lm, 24).embeds.clone().requires_grad_()
    with installed(decoder, sst) as reader:
        pairs = no_pairs(decoder)
        for start in (0, 8, 16):
            pairs += interval_pairs(reader, sst, embeds[start : start + 8], pairs, options)
        pairs.values[-1, :, 4:].square().sum().backward(retain_graph=True)
        assert embeds.grad[:8].abs().sum() > 0
        assert embeds.grad[16:].abs().sum() > 0
        reader.read(speech(lm, 5, seed=1).embeds, pairs)[0].square().sum().backward()
        idle = [name for name, weight in sst.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert idle == ["layers.2.q_proj.weight"]  # what an SST would say is never read
        embeds.grad = None
        interval_pairs(reader, sst, embeds[:8], no_pairs(decoder), options).values.square().sum().backward()
    assert embeds.grad[8:].abs().sum() == 0
    assert not any(weight.requires_grad for weight in lm.model.parameters())


def test_any_length_is_summarized(lm):
    summarizer, told = Summarizer(lm, trained(lm), Summarization(4, 8)), []
    for count, pairs in ((0, 0), (1, 1), (8, 2), (9, 3), (30, 8)):
        memory = summarizer.summarize(speech(lm, count), on_interval=lambda *at: told.append(at))
        assert len(memory) == pairs
        assert memory.about.speech_tokens == count
        assert memory.times.shape == (pairs, 2)
        if count:
            torch.testing.assert_close(memory.times[-1, 1], speech(lm, count).times[-1, 1])
            assert memory.times[0, 0] == 0
    assert told[-4:] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_no_more_is_kept_than_leaves_room_for_a_question(lm):
    """At the limit it can be asked; the ratio that the error names fits, and none below it."""
    summarizer, query, told = Summarizer(lm, trained(lm), Summarization(2, 10)), lm.query("?"), []
    tokens = speech(lm, 105)
    tokens.embeds[:10] = 0  # which keep nothing
    around = len(lm.template("?").ids)

    def context(pairs):
        lm.model.config.get_text_config().max_position_embeddings = around + QUESTION + pairs

    context(48)
    memory = summarizer.summarize(tokens)
    assert len(memory) == 48
    lm.generate(summarizer.prompt(memory, query), QUESTION)
    context(47)
    with pytest.raises(ContextLengthError, match=r"keep 48 pairs, .*; raise the compression ratio to 3") as error:
        summarizer.summarize(tokens, on_interval=lambda *at: told.append(at))
    assert lm.name in str(error.value)
    context(29)  # nine intervals keep three at the ratio 4, and two at 5; the last, of five tokens, two, and one
    with pytest.raises(ContextLengthError, match=r"keep 48 pairs, .*; raise the compression ratio to 4"):
        summarizer.summarize(tokens, on_interval=lambda *at: told.append(at))
    context(28)
    with pytest.raises(ContextLengthError, match=r"keep 29 pairs, .*; raise the compression ratio to 5"):
        summarizer.summarize(tokens, options=summarizer.at(4), on_interval=lambda *at: told.append(at))
    assert len(summarizer.summarize(tokens, options=summarizer.at(5))) == 19
    context(9)
    with pytest.raises(ContextLengthError, match="summarize parts of the recording"):
        summarizer.summarize(tokens, on_interval=lambda *at: told.append(at))
    assert not told  # it was refused before anything was read


def test_silence_is_not_read_and_gives_its_pairs_to_speech(lm):
    tokens = speech(lm, 24)
    tokens.embeds[::2] = 0
    summarizer, options = Summarizer(lm, trained(lm)), Summarization(4, 12)
    memory = summarizer.summarize(tokens, options=options)
    assert len(memory) == 6
    assert memory.about.speech_tokens == 24
    alone = summarizer.summarize(tokens.select(torch.arange(1, 24, 2)), options=Summarization(2, 6))
    torch.testing.assert_close(memory.pairs.keys, alone.pairs.keys)
    torch.testing.assert_close(memory.times, alone.times)
    read = summarizer.summarize(tokens, options=replace(options, silence="read"))
    assert len(read) == 6
    assert not torch.allclose(read.pairs.keys, memory.pairs.keys)
    tokens.embeds[3:] = 0
    assert len(summarizer.summarize(tokens, options=options)) == 1
    tokens.embeds[:] = 0
    assert len(summarizer.summarize(tokens, options=options)) == 0


@pytest.mark.parametrize("name", ["runs/mini/model", "qwen"])
def test_the_packages_ssts_are_for_its_own_model_alone(name):
    """Not for one of the same class, whose LLM was trained elsewhere."""
    other = AuricleMini(tiny_mini.model(), tiny_mini.processor(), name)
    with pytest.raises(OptionError, match=f"no Speech Summarization Tokens for '{name}' in this package"):
        load(other)


def test_untrained_anchors_are_the_models_own_pairs(lm):
    """Of all tokens of an interval, those that are kept, as a plain forward makes them."""
    tokens, maker = speech(lm, 24), load(lm, UNTRAINED)
    every = Summarizer(lm, new_sst(lm), Summarization(interval=24, placement="all")).summarize(tokens)
    memory = maker.summarize(tokens, options=Summarization(4, 24, placement="anchor"))
    load(lm, UNTRAINED).prompt(memory, lm.query("Where?"))  # another untrained one knows it
    kept = layout.ends(tokens.embeds, 6, "anchor") - 1
    torch.testing.assert_close(memory.pairs.keys, every.pairs.keys[:, :, kept])
    torch.testing.assert_close(memory.pairs.values, every.pairs.values[:, :, kept])


@torch.no_grad()
def test_pairs_are_kept_that_a_second_reading_attends_to(lm):
    """Head by head, by the attention weights of one plain forward of prompt, speech and speech again."""
    tokens, maker, count = speech(lm, 12), load(lm, UNTRAINED), 3
    memory = maker.summarize(tokens, options=Summarization(4, 24, placement="recall"))
    before = lm.embed(lm.template("?").ids[: lm.template("?").audio])
    decoder, first = decoder_of(lm), len(before)
    plain = Summarizer(lm, new_sst(lm), Summarization(interval=24, placement="all")).summarize(tokens).pairs
    decoder.set_attn_implementation("eager")
    out = decoder(inputs_embeds=torch.cat([before, tokens.embeds, tokens.embeds])[None], output_attentions=True)
    kv_heads = plain.keys.shape[1]
    for layer, weights in enumerate(out.attentions):
        back = weights[0, :, first + 12 :, first : first + 12].unflatten(0, (kv_heads, -1))
        for head, most in enumerate(back.amax((1, 2))):
            kept = most.topk(count).indices.sort().values
            torch.testing.assert_close(memory.pairs.keys[layer, head], plain.keys[layer, head, kept])
            torch.testing.assert_close(memory.pairs.values[layer, head], plain.values[layer, head, kept])


def test_a_memory_of_another_model_is_refused(lm):
    one = Summarizer(lm, trained(lm))
    memory = one.summarize(speech(lm, 9))
    with pytest.raises(ModelError, match="begins otherwise"):
        one.prompt(replace(memory, about=replace(memory.about, prefix=(1, 2))), lm.query("Where?"))
    with pytest.raises(ModelError, match="other weights of it"):
        Summarizer(lm, trained(lm, seed=1)).prompt(memory, lm.query("Where?"))
    lm.model.get_output_embeddings().weight.data += 0.5
    with pytest.raises(ModelError, match="again with this model"):
        Summarizer(lm, trained(lm)).prompt(memory, lm.query("Where?"))


@pytest.mark.parametrize("axis", [0, 1, 3], ids=["layers", "heads", "numbers"])
def test_a_memory_of_another_shape_is_refused(lm, axis):
    """Though it says that it was made by these weights."""
    maker = Summarizer(lm, trained(lm))
    memory = maker.summarize(speech(lm, 9))
    keys, values = (each.repeat_interleave(2, axis) for each in (memory.pairs.keys, memory.pairs.values))
    with pytest.raises(MemoryFileError, match="summarize the recording again"):
        maker.prompt(replace(memory, pairs=Pairs(keys, values)), lm.query("Where?"))


def test_not_every_decoder_summarizes(lm):
    with pytest.raises(ModelError, match="cannot summarize"):
        SST(nn.Linear(2, 2), torch.zeros(2))
    sst = trained(lm)
    del sst.layers[-1]
    with pytest.raises(ModelError, match="layers"):
        Summarizer(lm, sst)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Qwen25Omni(tiny_omni.thinker(), tiny_omni.processor()),
        lambda: GraniteSpeech(*tiny_granite.tiny_granite()),
        lambda: Phi4Multimodal(*tiny_phi4.tiny_phi4()),
        lambda: FunAsrNano(*tiny_fun.tiny_fun_asr_nano()),
    ],
)
def test_decoders_that_read_speech_otherwise_are_refused(make):
    with pytest.raises(ModelError, match="cannot summarize"):
        new_sst(make())


@pytest.mark.parametrize(
    "wrong",
    [{"compression_ratio": 0}, {"interval": 0}],
)
def test_options_are_checked(wrong):
    with pytest.raises(OptionError):
        Summarization(**wrong)
