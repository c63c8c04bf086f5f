"""Causal language models in Hugging Face directories, as `heddle generate` and a `heddle.Session` take them.

The model stays as transformers has it: the compiler makes a cache of the attention that it finds in its plain forward.
Text goes through tokenizer.json where there is one; else a prompt is ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from heddle.layers import HeddleError
from heddle.pretrained import library, load
from torch import Tensor, nn

_TOKENIZER = "tokenizer.json"


class Logits(nn.Module):
    """ids (1, T) int64 → logits (1, T, vocabulary), of a model that returns them with other things."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids, use_cache=False).logits


@dataclass
class CausalModel:
    """A directory as a language model: `model` is its plain forward; text is what its tokenizer makes of it."""

    name: str
    module: Any
    tokenizer: Any = None
    stop: frozenset[int] = field(default_factory=frozenset)  # ids that end a text
    small: bool = False  # a cache for its whole context may be a burden

    @property
    def context(self) -> int:
        """The longest sequence that its configuration allows."""
        config = self.module.config.get_text_config()
        return getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None) or 1024

    def model(self) -> nn.Module:
        """ids → logits."""
        return Logits(self.module).eval()

    def encode(self, text: str) -> list[int]:
        """Raises ValueError for a text that is none of ids, where there is no tokenizer."""
        if self.tokenizer is not None:
            return self.tokenizer.encode(text).ids
        vocabulary = self.module.config.get_text_config().vocab_size
        try:
            ids = [int(word) for word in text.split()]
        except ValueError:
            raise ValueError(f'without a {_TOKENIZER} a prompt must be ids, such as "17 4 23", not {text!r}') from None
        for each in ids:
            if not 0 <= each < vocabulary:
                raise ValueError(f"ids must be from 0 to {vocabulary - 1}, not {each}")
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of these ids; without a tokenizer the ids themselves."""
        if self.tokenizer is not None:
            return self.tokenizer.decode(ids)
        return "".join(f" {each}" for each in ids)


def read(path: str) -> CausalModel:
    """The model of a directory: causal, or an encoder–decoder (seq2seq.py). Raises HeddleError for one that is neither,
    and as `pretrained.load` does."""
    module, folder, transformers = load(path), Path(path), library()
    causal = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.values()
    answers = [*transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING.values(),
               *transformers.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING.values()]  # fmt: skip
    kind = CausalModel
    if type(module) in answers:
        kind = import_module("heddle.seq2seq").Seq2SeqModel
    elif type(module) not in causal:
        raise HeddleError(f"{path} has a {type(module).__name__}, which is no causal language model and no "
                          f"encoder–decoder with a head: name the class of one in architectures of config.json, such "
                          f"as LlamaForCausalLM")  # fmt: skip
    ends = module.generation_config.eos_token_id if module.generation_config else None
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    return kind(folder.resolve().name, module, _tokenizer(folder / _TOKENIZER), frozenset(ends))


def _tokenizer(path: Path) -> Any:
    """None where there is no file."""
    if not path.is_file():
        return None
    tokenizers = import_module("tokenizers")  # which transformers comes with
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # its own, which is no class of its own
        raise HeddleError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
