"""The task without a task: any model, whatever its head, and a model that has no attention."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers as tf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from lmkit.errors import AttentionUnavailableError
from lmkit.host import PluginHost
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.session import Session
from tests.tiny import tiny_bart, tiny_bert

TEXT = "the plot is thin, but i was moved."


@pytest.fixture(scope="module")
def session() -> Session:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "attention"})
    host.discover()
    assert [one.task.name for one in host.tasks] == ["attention"]
    return Session(host, ModelStore(device="cpu"))


@pytest.mark.parametrize("make", [tiny_bert, tiny_bart])
def test_any_model_is_explored(make: object, session: Session, tmp_path: Path) -> None:
    analysis = Kit(session, str(make(tmp_path)), {}).attention(TEXT)  # type: ignore[operator]
    assert analysis.results == ()
    attention = analysis.attention
    np.testing.assert_allclose(attention[0, 1].sum(-1), 1, atol=1e-5)
    assert len(attention.tokens) == attention[0, 1].shape[0]


def test_a_pair_is_read_as_one(session: Session, tmp_path: Path) -> None:
    kit = Kit(session, str(tiny_bert(tmp_path)), {})
    alone, both = kit.attention(TEXT), kit.attention(TEXT, "i was moved.")
    assert len(both.attention.tokens) > len(alone.attention.tokens)
    assert set(both.attention.trace.segments) == {None, 0, 1}


def test_a_model_without_attention_says_so_and_gives_its_output(session: Session) -> None:
    config = tf.MambaConfig(vocab_size=99, hidden_size=16, state_size=4, num_hidden_layers=2)
    words = Tokenizer(WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    analysis = Kit(session, (tf.MambaModel(config), tokenizer), {}).attention("the the the")
    with pytest.raises(AttentionUnavailableError, match="has no attention"):
        _ = analysis.attention
    assert analysis.output.last_hidden_state.shape[-1] == 16
