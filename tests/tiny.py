"""Tiny random models with real tokenizers, made in a fraction of a second and the same each time.

Each function writes a folder that ``from_pretrained`` takes and returns its path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmkit.models.quiet import quietly

__all__ = ["TEXT", "tiny_bart", "tiny_bert", "tiny_gpt2", "tiny_llama", "tiny_roberta", "tiny_t5"]

TEXT = "The plot is thin, but I was moved."
_CORPUS = [
    "the plot is thin , but i was moved .",
    "a film that moves you , and a plot that doesn't .",
    "we saw the film in the old cinema by the river .",
    "unbelievable acting , unforgettable music .",
]


def tiny_bert(
    path: Path | str, labels: int = 2, *, head: str = "SequenceClassification", **config: Any
) -> Path:
    """A BERT of 2 layers x 4 heads with an uncased WordPiece tokenizer.

    Args:
        path: Folder to write.
        labels: Classes of its head; with 2 they are called negative and positive.
        head: ``SequenceClassification``, ``TokenClassification``, ``MaskedLM``,
            ``QuestionAnswering``, or empty for the bare encoder.
        config: Further settings of ``BertConfig``.
    """
    import transformers

    names = ("negative", "positive") if labels == 2 else [f"class {i}" for i in range(labels)]
    settings = {
        "vocab_size": 200,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "pad_token_id": 0,
    } | config
    name = f"BertFor{head}" if head else "BertModel"
    return _save(path, name, transformers.BertConfig(**settings), _wordpiece())


def tiny_roberta(path: Path | str, labels: int = 2) -> Path:
    """A RoBERTa, whose positions begin at 2, with byte-level BPE: 66 positions read 64 tokens."""
    import transformers

    config = transformers.RobertaConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
        num_labels=labels,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    tokenizer = _byte_level(("<s>", "<pad>", "</s>", "<unk>", "<mask>"), pair=True)
    return _save(path, "RobertaForSequenceClassification", config, tokenizer)


def tiny_llama(path: Path | str, **config: Any) -> Path:
    """A Llama of 2 layers x 4 heads, 2 of keys and values, with a Llama-style byte-fallback BPE."""
    import transformers

    settings = {
        "vocab_size": 600,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    } | config
    return _save(path, "LlamaForCausalLM", transformers.LlamaConfig(**settings), _byte_fallback())


def tiny_gpt2(path: Path | str, **config: Any) -> Path:
    """A GPT-2 of 2 layers x 4 heads with byte-level BPE and no token at the start."""
    import transformers

    settings = {
        "vocab_size": 400,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 128,
        "bos_token_id": 0,
        "eos_token_id": 0,
    } | config
    tokenizer = _byte_level(("<|endoftext|>",))
    return _save(path, "GPT2LMHeadModel", transformers.GPT2Config(**settings), tokenizer)


def tiny_t5(path: Path | str, head: str = "ConditionalGeneration") -> Path:
    """A T5 of 2 + 2 layers with a Unigram tokenizer, which alone says how long a text may be."""
    import transformers

    config = transformers.T5Config(
        vocab_size=300,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return _save(path, f"T5For{head}", config, _unigram())


def tiny_bart(path: Path | str, labels: int = 3) -> Path:
    """A BART that classifies: its decoder reads the text itself, shifted by one."""
    import transformers

    config = transformers.BartConfig(
        vocab_size=400,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        num_labels=labels,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    tokenizer = _byte_level(("<s>", "<pad>", "</s>", "<unk>", "<mask>"), pair=True)
    return _save(path, "BartForSequenceClassification", config, tokenizer)


def _save(path: Path | str, architecture: str, config: Any, tokenizer: Any) -> Path:
    import torch
    import transformers

    path = Path(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, architecture)(config)
        with torch.no_grad():
            # Wider than at the start of training, so that attention is not flat.
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.2)
    config.architectures = [architecture]
    with quietly():
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    return path


def _wordpiece() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for line in _CORPUS for word in line.replace("'", " ' ").split()})
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = ["##" + c for c in letters] + ["##able", "##ing", "##ly", "##s"]
    vocabulary = list(dict.fromkeys([*specials, *words, *letters, *pieces, "中", "文", "!"]))
    tokenizer = Tokenizer(
        models.WordPiece(
            {token: index for index, token in enumerate(vocabulary)}, unk_token="[UNK]"
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _byte_level(specials: tuple[str, ...], pair: bool = False) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=380,
            special_tokens=list(specials),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    if not pair:
        first = specials[0]
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token=first, eos_token=first, unk_token=first
        )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


def _byte_fallback() -> Any:
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(vocab_size=520, special_tokens=specials, show_progress=False),
    )
    state = json.loads(trained.to_str())["model"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=state["vocab"],
            merges=[tuple(merge) for merge in state["merges"]],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )


def _unigram() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        _CORPUS * 4,
        trainers.UnigramTrainer(
            vocab_size=120,
            special_tokens=["<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )
