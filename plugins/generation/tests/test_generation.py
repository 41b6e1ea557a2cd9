"""The generation task against transformers' own pipeline and generate."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_generation.lens import layers_of
from lmkit_generation.task import Generation

import lmkit
from lmkit.api import Grid, Table, TokenChoices, Tree
from lmkit.errors import FieldError, ModelError, WrongModelKindError
from lmkit.work import Work, doing
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_t5

PROMPT = "the film moves you , and the plot"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> lmkit.Kit:
    return lmkit.load(str(tiny_llama(tmp_path_factory.mktemp("llama"))))


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> lmkit.Kit:
    return lmkit.load(str(tiny_t5(tmp_path_factory.mktemp("t5"))))


def write(kit: lmkit.Kit, prompt: str = PROMPT, **values: Any) -> Any:
    return kit.run("generation", prompt, template="plain", **{"max_new_tokens": 12, **values})


def ids_of(analysis: Any) -> list[int]:
    return list(analysis.attention.trace.sequence)


def reference(kit: lmkit.Kit, prompt: str = PROMPT, **options: Any) -> Any:
    loaded = kit.loaded("generation")
    inputs = loaded.tokenizer(prompt, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    return loaded.model.generate(
        **inputs,
        **{"max_new_tokens": 12, "do_sample": False, **options},
        return_dict_in_generate=True,
        output_logits=True,
    )


def test_greedy_is_the_pipelines_text_with_its_scores(llama: lmkit.Kit) -> None:
    from transformers import pipeline

    loaded = llama.loaded("generation")
    pipe = pipeline("text-generation", model=loaded.model, tokenizer=loaded.tokenizer)
    said = pipe(PROMPT, max_new_tokens=12, do_sample=False, return_full_text=False)
    made = write(llama)
    assert made.text == said[0]["generated_text"]
    output = reference(llama)
    assert ids_of(made) == output.sequences[0].tolist()
    for one, logits in zip(made.results[0].tokens, output.logits, strict=True):
        log_p = logits[0].float().log_softmax(-1)
        top = log_p.exp().topk(10).values.tolist()
        assert one.rank == 0
        assert one.probability == pytest.approx(float(log_p.max().exp()), abs=1e-5)
        bits = float(-(log_p.exp() * log_p).sum() / math.log(2))
        assert one.entropy == pytest.approx(bits, abs=1e-4)
        assert [a.probability for a in one.alternatives] == pytest.approx(top, abs=1e-5)


def test_sampling_is_generate_with_the_same_seed_and_leaves_the_users_alone(
    llama: lmkit.Kit,
) -> None:
    settings = {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.05}
    penalty = {"repetition_penalty": 1.2}
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    made = write(llama, strategy="sample", seed=5, **settings, **penalty)
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        wanted = reference(llama, do_sample=True, **settings, **penalty).sequences[0]
    assert ids_of(made) == wanted.tolist()


@pytest.mark.parametrize("strategy", ["greedy", "sample"])
def test_a_branch_is_a_fresh_run_with_that_beginning(llama: lmkit.Kit, strategy: str) -> None:
    made = write(llama, strategy=strategy, seed=3)
    place = 4
    other = made.results[0].tokens[place].alternatives[2]
    assert other.change is not None
    begin = json.loads(other.change.values["begin"])
    assert begin[:place] == ids_of(made)[-12 : -12 + place]
    # The first is over the cache of the text before; that has then gone, and all is done afresh.
    branch = llama.run("generation", **other.change.values)
    assert branch.attention.trace.released
    sequence, choices = ids_of(branch), branch.results[0]
    assert sequence[: len(sequence) - 12 + place + 1][-place - 1 :] == begin
    assert choices.tokens[place].forced
    attention = branch.attention[1, 0]
    assert attention.shape[0] == len(sequence) - 1
    made.attention.trace.release()
    branch.attention.trace.release()
    fresh = llama.run("generation", **other.change.values)
    assert not fresh.attention.trace.released
    assert ids_of(fresh) == sequence
    for one, two in zip(choices.tokens, fresh.results[0].tokens, strict=True):
        assert one.probability == pytest.approx(two.probability, abs=1e-5)
        assert one.rank == two.rank
    assert abs(fresh.attention[1, 0] - attention).max() < 1e-5


def test_beams_are_those_of_generate_and_their_tree_ends_in_them(llama: lmkit.Kit) -> None:
    made = write(llama, strategy="beams", beams=3)
    wanted = reference(llama, num_beams=3, num_return_sequences=3, output_scores=True)
    assert ids_of(made) == wanted.sequences[0].tolist()
    tree = made.results[1]
    assert isinstance(tree, Tree)
    best = [node for node in tree.nodes if node.best]
    assert len(best) == 12
    length = len(best)
    assert best[-1].score is not None
    assert best[-1].score / length == pytest.approx(float(wanted.sequences_scores[0]), abs=1e-4)
    children = {node.parent for node in tree.nodes}
    leaves = [n for at, n in enumerate(tree.nodes) if n.kept and at not in children]
    assert len(leaves) == 3


@pytest.mark.parametrize("begun", [False, True])
def test_a_node_of_the_tree_is_written_on_from(llama: lmkit.Kit, begun: bool) -> None:
    made = write(llama, strategy="beams", beams=3)
    prompt = len(ids_of(made)) - 12
    first: tuple[int, ...] = ()
    if begun:  # a search that itself goes on from two tokens
        first = tuple(ids_of(made)[prompt : prompt + 2])
        made = write(llama, strategy="beams", beams=3, begin=json.dumps(first))
    tree = made.results[1]
    assert isinstance(tree, Tree)
    node = next(one for one in tree.nodes if not one.kept and one.parent is not None)
    assert node.change is not None
    begin = json.loads(str(node.change.values["begin"]))
    assert tuple(begin[: len(first)]) == first
    on = write(llama, **node.change.values)
    assert ids_of(on)[prompt : prompt + len(begin)] == begin
    said = llama.loaded("generation").tokenizer.decode([begin[-1]])
    assert node.text == said
    assert on.results[0].tokens[len(begin) - 1].forced


@pytest.mark.parametrize("begun", [False, True])
def test_an_alternative_of_a_beam_is_gone_on_from_greedily(llama: lmkit.Kit, begun: bool) -> None:
    made = write(llama, strategy="beams", beams=3)
    prompt = len(ids_of(made)) - 12
    first: tuple[int, ...] = ()
    if begun:
        first = tuple(ids_of(made)[prompt : prompt + 2])
        made = write(llama, strategy="beams", beams=3, begin=json.dumps(first))
    place = 5
    token = made.results[0].tokens[place]
    other = next(one for one in token.alternatives if one.text != token.token.text)
    assert other.change is not None
    assert other.change.values["strategy"] == "greedy"
    begin = json.loads(other.change.values["begin"])
    assert begin[:-1] == ids_of(made)[prompt : prompt + place]
    on = llama.run("generation", **other.change.values)
    assert ids_of(on)[prompt : prompt + len(begin)] == begin
    assert on.results[0].tokens[place].forced
    loaded = llama.loaded("generation")
    given = torch.tensor([[*ids_of(made)[:prompt], *begin]])
    wanted = loaded.model.generate(
        given,
        attention_mask=torch.ones_like(given),
        do_sample=False,
        max_new_tokens=12 - len(begin),
    )
    assert ids_of(on) == wanted[0].tolist()


@pytest.mark.parametrize("strategy", ["greedy", "beams"])
def test_a_long_prompt_is_not_in_every_alternative(llama: lmkit.Kit, strategy: str) -> None:
    prompt = "the plot is thin . " * 6_000
    made = write(llama, prompt, strategy=strategy, max_new_tokens=4)
    other = made.results[0].tokens[1].alternatives[2].change
    assert len(json.dumps(other.values)) < 1_000
    branch = llama.run("generation", prompt, **other.values)
    assert branch.results[0].tokens[1].forced


def test_an_encoder_decoder_model_writes_and_does_not_score(t5: lmkit.Kit) -> None:
    made = write(t5, preset="summary")
    loaded = t5.loaded("generation")
    wanted = reference(t5, f"summarize: {PROMPT}").sequences[0].tolist()
    assert ids_of(made) == wanted
    assert made.text == loaded.tokenizer.decode(wanted[1:], skip_special_tokens=True)
    with pytest.raises(ModelError, match="gives no probability to a text alone"):
        write(t5, mode="score")


def test_perplexity_is_exp_of_the_loss(llama: lmkit.Kit) -> None:
    made = write(llama, mode="score")
    choices, table = made.results
    assert isinstance(choices, TokenChoices)
    assert isinstance(table, Table)
    loaded = llama.loaded("generation")
    ids = torch.tensor([made.attention.trace.input_ids])
    with torch.no_grad():
        loss = float(loaded.model(input_ids=ids, labels=ids).loss)
    assert table.rows[0][0] == pytest.approx(math.exp(loss), rel=1e-5)
    mean = sum(-math.log(one.probability) for one in choices.tokens[1:]) / (ids.shape[1] - 1)
    assert mean == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_the_last_layer_through_the_lens_is_the_logits(family: str, tmp_path: Path) -> None:
    make = {"llama": tiny_llama, "gpt2": tiny_gpt2, "t5": tiny_t5}[family]
    kit = lmkit.load(str(make(tmp_path)))
    made = write(kit)
    trace: Any = made.attention.trace
    rows = list(range(len(trace.sequence) - 1))
    layers = layers_of(trace.model, trace.sequence[:-1], rows, trace)
    assert layers.deviation < 1e-5
    chosen = trace.sequence[trace.generated :]
    written = layers.logits(-1).argmax(-1)[trace.generated - 1 :].tolist()
    assert tuple(written) == tuple(chosen)
    (one,) = made.attention.view("logit-lens", tokens=[trace.generated - 1], top=3)
    (many,) = made.attention.view("logit-lens")
    assert isinstance(one, Grid)
    assert len(one.columns) == 3
    assert len(one.rows) == len(many.rows) == len(layers)
    shown = made.results[0].tokens[0].probability
    assert one.cells[-1][0].shade == pytest.approx(shown, abs=1e-5)


def test_a_softcap_and_a_logit_scale_are_honoured() -> None:
    from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM

    size = {
        "vocab_size": 150, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    models = (
        Gemma2ForCausalLM(Gemma2Config(**size, final_logit_softcapping=0.5)).eval(),
        CohereForCausalLM(CohereConfig(**size, logit_scale=0.3)).eval(),
    )
    for model in models:

        class Loaded:
            name = "made"

        Loaded.model = model  # type: ignore[attr-defined]
        ids = list(range(5, 20))
        layers = layers_of(Loaded, ids, range(len(ids)))
        with torch.no_grad():
            wanted = model(torch.tensor([ids])).logits[0].float()
        assert torch.allclose(layers.logits(-1), wanted, atol=1e-5)
        assert not torch.allclose(layers.logits(1), wanted, atol=1e-3)


def test_a_stop_keeps_what_was_written(llama: lmkit.Kit) -> None:
    shown: list[Any] = []
    work = Work(on_results=lambda found: shown.append(found))
    loaded = llama.loaded("generation")
    values = {field.name: field.default for field in Generation.fields}
    values |= {"prompt": PROMPT, "template": "plain", "max_new_tokens": 40}
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 5:
            work.cancel()

    handle = loaded.model.register_forward_hook(count)
    try:
        with doing(work):
            (choices,) = Generation().run(loaded, **values)
    finally:
        handle.remove()
    assert len(choices.tokens) == 5
    assert shown
    assert all(one.streaming for (one,) in shown)
    whole = write(llama, max_new_tokens=40)
    same = zip(choices.tokens, whole.results[0].tokens, strict=False)
    assert all(one.token.raw == two.token.raw for one, two in same)
    assert whole.text.startswith(choices.text)


def test_training_mode_and_attention_implementation_are_restored(llama: lmkit.Kit) -> None:
    model = llama.loaded("generation").model
    implementation = model.config._attn_implementation
    model.train()
    try:
        write(llama, strategy="sample")
        write(llama).attention.view("logit-lens")
        assert all(module.training for module in model.modules())
    finally:
        model.eval()
    assert model.config._attn_implementation == implementation


def test_stop_sequences_end_the_text(llama: lmkit.Kit) -> None:
    whole = write(llama, max_new_tokens=20)
    stop = next(c for c in whole.text if c.isascii() and c.isalpha())
    made = write(llama, max_new_tokens=20, stop_at=stop)
    wanted = reference(
        llama,
        max_new_tokens=20,
        stop_strings=[stop],
        tokenizer=llama.loaded("generation").tokenizer,
    )
    assert ids_of(made) == wanted.sequences[0].tolist()
    assert len(ids_of(made)) < len(ids_of(whole))
    made.attention.trace.release()
    assert made.attention[0, 0].shape[0] == len(ids_of(made)) - 1


def test_bad_input(llama: lmkit.Kit, tmp_path: Path) -> None:
    with pytest.raises(FieldError, match="Prompt is empty"):
        write(llama, "  \n")
    with pytest.raises(FieldError, match="list of token ids"):
        write(llama, begin="[1, true]")
    with pytest.raises(FieldError, match="whole numbers from 0"):
        write(llama, begin="[1000000000]")
    with pytest.raises(FieldError, match="to begin with"):
        write(llama, begin="[5, 6, 7]", max_new_tokens=2)
    with pytest.raises(FieldError, match="needs a chat"):
        write(llama, system="Be brief.")
    with pytest.raises(ModelError, match="no chat template"):
        llama.run("generation", PROMPT, template="chat")
    long = write(llama, "the plot is thin . " * 55_000, max_new_tokens=2)
    assert any("left out" in one for one in long.warnings)
    wrong = lmkit.load(str(tiny_bert(tmp_path)))
    with pytest.raises(WrongModelKindError, match="continues text"):
        write(wrong)


def test_closing_frees_cache_and_capture(llama: lmkit.Kit) -> None:
    made = write(llama)
    trace = made.attention.trace
    assert trace.nbytes > 0
    made._session.views.close(made.view.id)
    assert trace.nbytes == 0
    assert trace.branch((*trace.sequence[:-1], 5))[0] is None


def test_the_starters_chat_answers() -> None:
    kit = lmkit.load("starter:chat")
    made = kit.generate("What is the capital of France?", max_new_tokens=8)
    assert "Paris" in made.text
    roles = [role for role, *_ in made.attention.trace.turns]
    assert roles == ["system", "user", "assistant"]
