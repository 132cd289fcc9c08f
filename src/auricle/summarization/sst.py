"""Speech Summarization Tokens: their embedding, their projections, and a decoder that has both for a while.

No model file is changed: where a decoder layer projects its input to queries, keys and values, a module is put
around the projection that gives the marked tokens, and only those, the SSTs' own.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from auricle.errors import ModelError, WeightsError
from auricle.files import whole
from auricle.key_values import Pairs, no_pairs
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.summarization.layout import Placement

SST_FILE = "sst.safetensors"
PROJECTIONS = ("q_proj", "k_proj", "v_proj")


@final
class SST(nn.Module):
    """What is trained: an embedding, and query, key and value projections of every layer.

    A full projection is a copy of the model's; one of low rank is added to the model's, and is zero at first. In
    either case an untrained SST reads as the model's own tokens do.
    """

    def __init__(self, decoder: nn.Module, embedding: Float[Tensor, "dim"], rank: int | None = None) -> None:
        """Takes what an SST begins as from a model, which is not changed.

        Args:
            decoder: whose layers have `self_attn` with `q_proj`, `k_proj` and `v_proj`.
            embedding: of an SST at first; the paper's relatives take that of the token that ends a text.
            rank: of what is added to each projection; None copies the projections whole.

        Raises:
            ModelError: the decoder has no such layers.
        """
        super().__init__()
        self.rank = rank
        self.embedding = nn.Parameter(embedding.detach().clone().float())
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: _projection(getattr(attention, name), rank) for name in PROJECTIONS})
            for attention in attentions(decoder)
        )


def new_sst(lm: HuggingFaceSpeechLM, rank: int | None = None, placement: Placement = "recall") -> SST:
    """Untrained SSTs of a Speech LLM.

    Args:
        lm: the Speech LLM.
        rank: see `SST`.
        placement: "anchor" and "recall" begin as the LLM reads speech, others as the token that ends an answer.

    Raises:
        ModelError: the Speech LLM cannot summarize.
    """
    check(lm)
    decoder: Any = lm.model.get_decoder()
    none = placement in ("anchor", "recall")
    embedding = torch.zeros(decoder.config.hidden_size) if none else lm.embed(lm.answer_ids("")[-1:])[0]
    return SST(decoder, embedding, rank)


def save_sst(sst: SST, folder: Path, about: object) -> None:
    """Writes SSTs in bfloat16, whole or not at all, with a note of how they were trained to summarize."""
    said = {"rank": str(sst.rank or ""), "trained": json.dumps(vars(about))}
    tensors = {name: weight.detach().cpu().bfloat16().contiguous() for name, weight in sst.state_dict().items()}
    with whole(folder / SST_FILE) as part:
        save_file(tensors, part, said)


def load_sst(lm: HuggingFaceSpeechLM, folder: Path) -> tuple[SST, dict[str, Any]]:
    """The SSTs that `save_sst` wrote, and what it noted.

    Raises:
        WeightsError: there are none, they are damaged, or of another decoder.
    """
    path = folder / SST_FILE
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
        sst = new_sst(lm, int(said["rank"]) if said.get("rank") else None)
        sst.load_state_dict(load_file(path))
        trained: dict[str, Any] = json.loads(said.get("trained", "{}"))
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise WeightsError(f"'{path}' holds no Speech Summarization Tokens of '{lm.name}': {error}") from error
    return sst, trained


@final
class LowRank(nn.Module):
    """A linear layer of low rank, zero at first."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        """Draws the first half."""
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.up.weight)

    @override
    def forward(self, states: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens out_dim"]:
        found: Tensor = self.up(self.down(states))
        return found


def _projection(model: nn.Linear, rank: int | None) -> nn.Module:
    if rank is not None:
        return LowRank(model.in_features, model.out_features, rank)
    copy = nn.Linear(model.in_features, model.out_features, bias=model.bias is not None)
    copy.load_state_dict({name: weight.detach().float() for name, weight in model.state_dict().items()})
    return copy


def check(lm: HuggingFaceSpeechLM) -> None:
    """Raises ModelError unless the Speech LLM's decoder can have SSTs."""
    attentions(lm.model.get_decoder())
    if not lm.plain:
        raise ModelError(
            f"'{lm.name}' cannot summarize: its decoder reads speech otherwise than text (a LoRA of its own, or"
            " positions of several axes); expected one as auricle-mini's, Qwen2-Audio's or Voxtral's."
        )


def attentions(decoder: Any) -> list[Any]:  # noqa: ANN401
    """The attention of every layer.

    Raises:
        ModelError: the decoder is not of the standard kind.
    """
    layers = [getattr(layer, "self_attn", None) for layer in getattr(decoder, "layers", ())]
    standard = layers and all(hasattr(layer, name) for layer in layers for name in PROJECTIONS)
    if not standard or not hasattr(decoder, "rotary_emb") or any(hasattr(layer, "k_norm") for layer in layers):
        raise ModelError(
            f"{type(decoder).__name__} cannot summarize; expected a decoder whose layers have self_attn.q_proj,"
            " k_proj and v_proj with plain RoPE and no norms of queries and keys, as those of Llama and Qwen2."
        )
    return layers


@dataclass
class Reader:
    """A decoder that has SSTs; see `installed`.

    Attributes:
        decoder: the decoder.
        marked: which of the tokens being read have the SSTs' projections.
        projected: what came out of each projection, until it is taken.
        queries: of what was read last, before RoPE.
    """

    decoder: Any
    marked: Bool[Tensor, "tokens"] | None = None
    projected: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    queries: Tensor = field(default_factory=lambda: torch.zeros(0))

    def read(
        self, embeds: Float[Tensor, "tokens dim"], past: Pairs, marked: Bool[Tensor, "tokens"] | None = None
    ) -> tuple[Float[Tensor, "tokens dim"], Pairs]:
        """Runs the decoder's layers on what follows some pairs.

        Args:
            embeds: what is read, behind the pairs.
            past: what every token sees besides those before it.
            marked: which of the tokens have the SSTs' projections; None has none.

        Returns:
            The last layer's states, and the pairs of what was read.
        """
        if not len(embeds):
            return embeds, no_pairs(self.decoder)
        self.marked = marked
        at = torch.arange(len(embeds), device=embeds.device)
        try:
            out = self.decoder(
                inputs_embeds=embeds[None],
                position_ids=(len(past) + at)[None],
                past_key_values=past.cache(self.decoder.rotary_emb),
                use_cache=True,
            )
            states: Tensor = out.last_hidden_state[0]
            self.queries = self._heads("q_proj")
            return states, Pairs(self._heads("k_proj"), self._heads("v_proj"))
        finally:
            self.marked = None
            self.projected.clear()

    def _heads(self, name: str) -> Float[Tensor, "layers heads tokens head_dim"]:
        layers = [self.projected[layer, name] for layer in range(len(self.decoder.layers))]
        split = torch.stack(layers).unflatten(-1, (-1, no_pairs(self.decoder).keys.shape[-1]))
        found: Tensor = split.transpose(1, 2)
        return found


@contextmanager
def installed(decoder: Any, sst: SST) -> Iterator[Reader]:  # noqa: ANN401
    """The decoder with SSTs; it is as before afterwards, also after an exception.

    Raises:
        ModelError: the decoder is not of the standard kind, or has other layers than the SST.
    """
    found = attentions(decoder)
    if len(found) != len(sst.layers):
        raise ModelError(f"The SST is for {len(sst.layers)} layers; {type(decoder).__name__} has {len(found)}.")
    reader = Reader(decoder)
    before = [{name: getattr(attention, name) for name in PROJECTIONS} for attention in found]
    try:
        for number, attention in enumerate(found):
            own: Any = sst.layers[number]
            for name in PROJECTIONS:
                setattr(attention, name, _Mixed(getattr(attention, name), own[name], reader, (number, name)))
        yield reader
    finally:
        for attention, projections in zip(found, before, strict=True):
            for name, projection in projections.items():
                setattr(attention, name, projection)


class _Mixed(nn.Module):
    """A projection whose marked tokens go through the SST's; what comes out is remembered."""

    def __init__(self, model: nn.Module, sst: nn.Module, reader: Reader, place: tuple[int, str]) -> None:
        super().__init__()
        self.model, self.sst = model, sst
        self._reader, self._place = reader, place

    @override
    def forward(self, states: Float[Tensor, "1 tokens dim"]) -> Float[Tensor, "1 tokens out_dim"]:
        found: Tensor = self.model(states)
        marked = self._reader.marked
        if marked is not None and bool(marked.any()):
            own = self.sst(states[0, marked].to(next(self.sst.parameters()).dtype)).to(found)
            if isinstance(self.sst, LowRank):
                own = own + found[0, marked]
            found = found.masked_scatter(marked[None, :, None], own)
        self._reader.projected[self._place] = found[0]
        return found
