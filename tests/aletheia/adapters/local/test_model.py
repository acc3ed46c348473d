from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from torch import nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from aletheia.adapters.local.kernels import PackedLinear, pack_linears
from aletheia.adapters.local.model import SAME_WITHIN, LocalModel
from aletheia.adapters.local.source import packaged_copy
from aletheia.errors import ComputeFailed, InvalidTask

TEXTS = [
    "one",
    "Return a shallow copy of x.",
    "",
    "Two words, then some more of them: 3.14 and naïve café.",
    "A text that is about as long as a sentence usually is, and then goes on for a little while.",
    *(f"Text number {number} of {'many ' * (number % 13)}" for number in range(40)),
]
seed = cast("Any", torch).manual_seed
LONG = " ".join(f"word{number} is not number {number + 1}." for number in range(300))


def packaged() -> Path:
    found = packaged_copy()
    assert found is not None
    return found


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Generator[None]:
    """Keep torch from waiting for cores that other tests are using."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference() -> SentenceTransformer:
    return SentenceTransformer(str(packaged()), device="cpu")


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load(packaged())


def encode(model: SentenceTransformer, texts: Sequence[str]) -> Any:
    return cast("Any", model).encode(list(texts), show_progress_bar=False)


# The default model


def test_vectors_are_those_of_encode(model: LocalModel, reference: SentenceTransformer):
    answer = model.embed([*TEXTS, LONG])

    assert np.abs(answer.vectors - encode(reference, [*TEXTS, LONG])).max() < SAME_WITHIN
    assert answer.failed == {}
    assert answer.truncated == [len(TEXTS)]


def test_a_vector_does_not_depend_on_its_neighbours(model: LocalModel):
    together = model.embed(TEXTS).vectors
    alone = np.concatenate([model.embed([text]).vectors for text in TEXTS])

    assert np.abs(together - alone).max() < SAME_WITHIN


def test_the_model_is_made_faster_and_known_by_its_size(model: LocalModel):
    assert "unpadded" in model.kernels
    assert (model.dimensions, model.max_tokens) == (384, 256)


def test_tokens_are_counted_as_the_model_reads_them(model: LocalModel):
    answer = model.embed(["one two three", LONG])

    assert answer.tokens == [5, 256]


def test_a_text_that_cannot_be_tokenised_fails_alone(
    model: LocalModel, reference: SentenceTransformer
):
    answer = model.embed(["one", "half a \ud800 pair", "two"])

    assert list(answer.failed) == [1]
    assert isinstance(answer.failed[1], InvalidTask)
    assert answer.failed[1].code == "unreadable_text"
    good = encode(reference, ["one", "two"])
    assert np.abs(answer.vectors[[0, 2]] - good).max() < SAME_WITHIN


def test_more_texts_than_fit_one_pass_keep_their_places(
    model: LocalModel, reference: SentenceTransformer
):
    texts = [LONG[start : start + 900] for start in range(12)]

    assert np.abs(model.embed(texts).vectors - encode(reference, texts)).max() < SAME_WITHIN


# Long texts


def test_a_long_text_fails_where_that_is_wanted(reference: SentenceTransformer):
    answer = LocalModel(reference, "fail").embed(["one", LONG])

    assert answer.failed[1].code == "input_too_long"
    assert "the model reads 256" in str(answer.failed[1])
    assert np.abs(answer.vectors[0] - encode(reference, ["one"])[0]).max() < SAME_WITHIN


def test_the_parts_of_a_long_text_are_averaged_by_their_length(reference: SentenceTransformer):
    model = LocalModel(reference, "chunk")
    parts = list(model.tokens.split(LONG))
    tokens = [len(ids) - 2 for ids in reference.tokenizer(parts)["input_ids"]]
    mean = np.average(encode(reference, parts), axis=0, weights=tokens)

    answer = model.embed(["one", LONG])

    assert len(parts) > 2
    assert np.abs(answer.vectors[1] - mean / np.linalg.norm(mean)).max() < SAME_WITHIN
    assert np.linalg.norm(answer.vectors[1]) == pytest.approx(1, abs=1e-6)
    assert answer.tokens == [3, sum(tokens) + 2 * len(parts)]
    assert answer.truncated == []


# Models of other kinds

SIZES: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "bert": (BertModel, BertConfig, SIZES),
    "bert-tanh-gelu": (BertModel, BertConfig, {**SIZES, "hidden_act": "gelu_new"}),
    "roberta": (RobertaModel, RobertaConfig, {**SIZES, "pad_token_id": 0}),
    "mpnet": (MPNetModel, MPNetConfig, SIZES),
    "distilbert": (
        DistilBertModel,
        DistilBertConfig,
        {"vocab_size": 30522, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    ),
    "modernbert": (
        ModernBertModel,
        ModernBertConfig,
        {**SIZES, "pad_token_id": 0, "local_attention": 16},
    ),
}


def build(directory: Path, kind: str, *, pooling: Any = "mean", **settings: Any) -> Path:
    """Write a model of some kind, with few random weights, as a user would have it on disk."""
    seed(1)
    model_class, config_class, sizes = KINDS[kind]
    model_class(config_class(**sizes)).save_pretrained(directory / "hf")
    tokenizer = cast("Any", AutoTokenizer).from_pretrained(str(packaged()))
    tokenizer.save_pretrained(directory / "hf")
    first = Transformer(str(directory / "hf"), max_seq_length=64)
    modules: list[nn.Module] = [
        first,
        Pooling(first.get_embedding_dimension(), pooling),
        Normalize(),
    ]
    model = SentenceTransformer(modules=modules, device="cpu", **settings)
    cast("Any", model).save(str(directory / "st"), create_model_card=False)
    return directory / "st"


@pytest.mark.parametrize("kind", list(KINDS))
def test_models_of_other_kinds_give_the_vectors_of_encode(kind: str, tmp_path: Path):
    path = build(tmp_path, kind)
    texts = [text for text in TEXTS if text] + [LONG]

    answer = LocalModel.load(path).embed(texts)

    expected = encode(SentenceTransformer(str(path), device="cpu"), texts)
    assert np.abs(answer.vectors - expected).max() < SAME_WITHIN
    assert answer.truncated == [len(texts) - 1]


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        ("bert", "mean"),
        ("bert", "cls"),
        ("bert", "max"),
        ("bert-tanh-gelu", "weightedmean"),
        ("roberta", "mean"),
        ("distilbert", "mean"),
    ],
)
def test_running_without_padding_changes_no_vector(kind: str, pooling: str, tmp_path: Path):
    loaded = SentenceTransformer(str(build(tmp_path, kind, pooling=pooling)), device="cpu")
    expected = encode(loaded, [*TEXTS, LONG])
    model = LocalModel(loaded)

    assert model.use_unpadded() is not None

    assert np.abs(model.embed([*TEXTS, LONG]).vectors - expected).max() < SAME_WITHIN


@pytest.mark.parametrize("kind", ["mpnet", "modernbert"])
def test_a_model_that_cannot_run_without_padding_does_not(kind: str, tmp_path: Path):
    assert "unpadded" not in LocalModel.load(build(tmp_path, kind)).kernels


@pytest.mark.parametrize("kind", ["bert", "bert-tanh-gelu", "modernbert"])
def test_packing_changes_no_vector_and_can_be_undone(kind: str, tmp_path: Path):
    loaded = SentenceTransformer(str(build(tmp_path, kind)), device="cpu")
    expected = encode(loaded, TEXTS)
    model = LocalModel(loaded)

    undo = pack_linears(loaded)

    assert undo is not None
    assert any(isinstance(module, PackedLinear) for module in loaded.modules())
    assert np.abs(model.embed(TEXTS).vectors - expected).max() < SAME_WITHIN
    undo()
    assert not any(isinstance(module, PackedLinear) for module in loaded.modules())
    assert np.abs(encode(loaded, TEXTS) - expected).max() == 0


def test_a_default_prompt_is_read_before_every_text(tmp_path: Path):
    prompts = {"query": "search for: ", "passage": ""}
    path = build(tmp_path, "bert", prompts=prompts, default_prompt_name="query")
    model = LocalModel.load(path)

    answer = model.embed(["one", *TEXTS])

    expected = encode(SentenceTransformer(str(path), device="cpu"), ["one", *TEXTS])
    assert np.abs(answer.vectors - expected).max() < SAME_WITHIN
    assert answer.tokens[0] == 6
    parts = list(LocalModel.load(path, "chunk").tokens.split(LONG))
    assert all(len(model.tokens.tokenise([part])[0]) <= 64 for part in parts)


def test_a_model_without_a_transformer_is_run_as_it_is():
    tokenizer = cast("Any", AutoTokenizer).from_pretrained(str(packaged())).backend_tokenizer
    seed(1)
    static = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu"
    )
    model = LocalModel(static)
    model.tune()

    answer = model.embed(["one two", LONG])

    assert np.abs(answer.vectors - encode(static, ["one two", LONG])).max() < SAME_WITHIN
    assert model.max_tokens is None
    assert answer.truncated == []


def test_a_model_that_breaks_on_one_text_gives_the_others_their_vectors(
    reference: SentenceTransformer,
):
    class Brittle(nn.Module):
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            if features["sentence_embedding"].shape[0] > 1 or 4 in features["attention_mask"].sum(
                1
            ):
                raise RuntimeError("out of memory")
            return features

    brittle = SentenceTransformer(modules=[*reference, Brittle()], device="cpu")
    model = LocalModel(brittle)

    answer = model.embed(["one", "two words", "three"])

    assert list(answer.failed) == [1]
    assert isinstance(answer.failed[1], ComputeFailed)
    assert "out of memory" in str(answer.failed[1])
    assert np.linalg.norm(answer.vectors[[0, 2]], axis=1).tolist() == pytest.approx([1, 1])
