"""A sentence-transformers model, run as it is or with kernels that are faster and as exact."""

import logging
import math
import time
import timeit
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from torch import nn

from aletheia.adapters.local.int8 import MIN_MEAN_COSINE, measure_loss, quantise_linears
from aletheia.adapters.local.kernels import UNPADDED, Undo, pack_linears
from aletheia.adapters.local.tokens import Window, WindowTokenizer
from aletheia.analysis.model_manager import QuantisationLoss
from aletheia.analysis.model_settings import Precision
from aletheia.analysis.ports import LongText
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask

log = logging.getLogger(__name__)

Vectors: TypeAlias = NDArray[np.float32]

TOKENS_PER_PASS: Final = 2048
"""Tokens in one forward pass, unless one text has more: its data stays in the caches."""

TOKENS_ROUNDED_TO: Final = 32
"""Unpadded passes are filled up to a multiple of this: oneDNN compiles a kernel for each number of
rows, in about 1 ms, and keeps it, in about 0.7 MB."""

TEXTS_PER_PADDED_PASS: Final = 8
"""Padding grows with the number of texts, and so does its cost."""

SAME_WITHIN: Final = 1e-5
"""Largest difference of one component, of vectors scaled to length 1, that counts as the same."""

PROBE_TOKENS: Final = 512
"""Length of the longest probe text; long enough to notice attention that is only local."""


@dataclass(slots=True)
class Answer:
    """What became of the texts of one request, by index."""

    vectors: Vectors  # `(n, d)`; the rows of texts that failed mean nothing
    tokens: list[int]  # that the model read
    truncated: list[int] = field(default_factory=list[int])
    failed: dict[int, AletheiaError] = field(default_factory=dict[int, AletheiaError])


class LocalModel:
    """A sentence-transformers model, ready to embed."""

    def __init__(self, model: SentenceTransformer, long_text: LongText = "truncate") -> None:
        self._model: Any = model.eval()  # its own types are known in part only
        self._long_text: LongText = long_text
        name = model.default_prompt_name
        self._prompt: str = (model.prompts.get(name) if name else None) or ""
        self.max_tokens = _max_tokens(model)  # that it reads of a text; `None` is no limit
        tokenizer: Any = model.tokenizer
        self.tokens = WindowTokenizer(tokenizer, prompt=self._prompt, max_tokens=self.max_tokens)
        if long_text == "chunk" and not self.tokens.is_fast:
            raise ValueError("LONG_TEXT=chunk needs a fast tokenizer, which this model has not")
        self._first_position = _first_position(model)
        self._filler = int(getattr(tokenizer, "pad_token_id", None) or 0)
        self._is_unpadded = False
        self.kernels: list[str] = []
        self.loss: QuantisationLoss | None = None  # where it is quantised
        self.dimensions = self._forward([self.tokens.window(0, "probe")]).shape[1]

    @classmethod
    def load(
        cls,
        path: Path,
        long_text: LongText = "truncate",
        *,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> "LocalModel":
        """Load the model in a directory, from safetensors only and without code of its own.

        Raises `ValueError` where it cannot be computed in int8, or loses too much by it.
        """
        model = SentenceTransformer(
            str(path),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
        loaded = cls(model, long_text)
        if precision == "int8":
            loaded.tune(may_pack=False)
            loaded.quantise()
        else:
            loaded.tune()
        return loaded

    def quantise(self) -> None:
        """Compute in int8 from now on, and measure what that loses; `ValueError` if too much."""

        def quantise() -> None:
            if not quantise_linears(self._model):
                raise ValueError("it has no linear layers that could be computed in int8")

        try:
            loss = measure_loss(lambda texts: self.embed(texts).vectors, quantise)
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            raise ValueError(f"this machine cannot compute it in int8: {error}") from error
        if not loss.mean_cosine >= MIN_MEAN_COSINE:
            raise ValueError(f"int8 changes its vectors too much: {loss}")
        self.kernels.append("int8")
        self.loss = loss

    def tune(self, *, may_pack: bool = True) -> None:
        """Use the kernels that make this model faster on this processor and change no vector."""
        if self._model.device.type != "cpu":
            return
        texts = _probe_texts(min(self.max_tokens or PROBE_TOKENS, PROBE_TOKENS))
        probes = [self.tokens.window(index, text) for index, text in enumerate(texts)]
        expected = self._forward(probes)
        best_s = self._seconds(probes)
        for name, switch_on in (
            ("unpadded", self.use_unpadded),
            *([("packed", partial(pack_linears, self._model))] if may_pack else []),
        ):
            undo = switch_on()
            if undo is None:
                continue
            try:
                norms = np.linalg.norm(expected, axis=1, keepdims=True)
                is_same = (np.abs(self._forward(probes) - expected) <= SAME_WITHIN * norms).all()
                took_s = self._seconds(probes) if is_same else math.inf
            except Exception as error:  # noqa: BLE001 - whatever it is, the model runs without
                log.info("%s cannot be used: %s", name, error)
                took_s = math.inf
            if took_s < best_s:
                best_s = took_s
                self.kernels.append(name)
            else:
                undo()

    def release(self) -> None:
        """Drop the weights. Their references form a cycle, which Python 3.13.0 does not collect."""
        self._model.__dict__.clear()

    def embed(self, texts: Sequence[str]) -> Answer:
        """Embed texts; one that cannot be embedded fails alone."""
        try:
            return self._embed(texts)
        except Exception as error:  # noqa: BLE001 - a text's fault must not reach its neighbours
            if len(texts) == 1:
                return _failure(self.dimensions, error)
            log.warning("a batch of %d failed, each is tried alone: %r", len(texts), error)
        alone = [self.embed([text]) for text in texts]
        return Answer(
            np.concatenate([answer.vectors for answer in alone]),
            [answer.tokens[0] for answer in alone],
            [index for index, answer in enumerate(alone) if answer.truncated],
            {index: answer.failed[0] for index, answer in enumerate(alone) if answer.failed},
        )

    def _embed(self, texts: Sequence[str]) -> Answer:
        answer = Answer(np.zeros((len(texts), self.dimensions), np.float32), [0] * len(texts))
        windows: list[Window] = []
        for index, (text, ids) in enumerate(zip(texts, self.tokens.tokenise(texts), strict=True)):
            if self.max_tokens is None or len(ids) <= self.max_tokens:
                windows.append(Window(index, text, ids))
            elif self._long_text == "fail":
                answer.failed[index] = InvalidTask(
                    "input_too_long",
                    f"the text has {len(ids):,} tokens, the model reads {self.max_tokens:,}",
                )
            elif self._long_text == "chunk":
                windows.extend(self.tokens.window(index, part) for part in self.tokens.split(text))
            else:
                windows.append(self.tokens.window(index, text))
                answer.truncated.append(index)
        if not windows:
            return answer
        vectors = self._forward(windows)
        for window in windows:
            answer.tokens[window.index] += len(window.ids)
        self._merge(answer, windows, vectors)
        return answer

    def _merge(self, answer: Answer, windows: Sequence[Window], vectors: Vectors) -> None:
        """Set each text's vector to that of its window, or to the weighted unit mean of several."""
        overhead = self.tokens.overhead
        rows: dict[int, list[int]] = {}
        for row, window in enumerate(windows):
            rows.setdefault(window.index, []).append(row)
        for index, own in rows.items():
            if len(own) == 1:
                answer.vectors[index] = vectors[own[0]]
                continue
            weights = np.array([max(1, len(windows[row].ids) - overhead) for row in own])
            mean = np.average(vectors[own].astype(np.float64), axis=0, weights=weights)
            answer.vectors[index] = mean / (np.linalg.norm(mean) or 1.0)

    def _forward(self, windows: Sequence[Window]) -> Vectors:
        """Run the model on windows, similar lengths together; return `(len(windows), d)`."""
        order = sorted(range(len(windows)), key=lambda row: -len(windows[row].ids))
        features = self._unpadded_features if self._is_unpadded else self._padded_features
        is_padded_on_cpu = not self._is_unpadded and self._model.device.type == "cpu"
        limit = TEXTS_PER_PADDED_PASS if is_padded_on_cpu else len(windows)
        done: Vectors | None = None
        with torch.inference_mode():
            for rows in _passes(order, [len(window.ids) for window in windows], limit):
                output = self._model(features([windows[row] for row in rows]))
                found = output["sentence_embedding"][: len(rows)].float().cpu().numpy()
                if done is None:
                    done = np.empty((len(windows), found.shape[1]), np.float32)
                done[rows] = found
        assert done is not None
        return done

    def _padded_features(self, windows: Sequence[Window]) -> dict[str, Any]:
        """Prepare windows as `SentenceTransformer.encode` does."""
        texts = [window.text for window in windows]
        features = self._model.preprocess(texts, prompt=self._prompt or None)
        return {
            name: value.to(self._model.device) if isinstance(value, torch.Tensor) else value
            for name, value in features.items()
        }

    def _unpadded_features(self, windows: Sequence[Window]) -> dict[str, Any]:
        """Prepare windows as one sequence, which one more window fills up."""
        rows = [window.ids for window in windows]
        if rest := -sum(map(len, rows)) % TOKENS_ROUNDED_TO:
            rows.append([self._filler] * rest)
        lengths = [len(row) for row in rows]
        positions = np.concatenate([np.arange(length) for length in lengths])
        return {
            "input_ids": torch.as_tensor(np.concatenate(rows))[None],
            "position_ids": torch.as_tensor(positions + self._first_position)[None],
            "cu_seq_lens_q": torch.as_tensor(np.concatenate(([0], np.cumsum(lengths)))),
            "window_lengths": lengths,
            "modality": "text",
        }

    def use_unpadded(self) -> Undo | None:
        """Switch to unpadded attention; return how to switch back, or `None` if it cannot be."""
        first, encoder = self._model[0], self._model.transformers_model
        if (
            not self.tokens.is_fast
            or self._prompt
            or encoder is None
            or not isinstance(first, Transformer)
            or set(first.modality_config) != {"text"}
        ):
            return None
        before = encoder.config._attn_implementation  # noqa: SLF001 - transformers has no getter
        encoder.set_attn_implementation(UNPADDED)
        self._is_unpadded = True

        def undo() -> None:
            encoder.set_attn_implementation(before)
            self._is_unpadded = False

        return undo

    def _seconds(self, windows: Sequence[Window]) -> float:
        """Return the processor time of a pass; other processes are busy loading, too."""
        clock = timeit.Timer(lambda: self._forward(windows), timer=time.process_time)
        return min(clock.repeat(3, number=1))


def _probe_texts(max_tokens: int) -> list[str]:
    words = "the quick brown fox jumps over a lazy dog, doesn't it? Yes.".split()  # noqa: SIM905 - reads better
    return [
        "a",
        " ".join(words[:5]),
        " ".join(words),
        " ".join(words * 4),
        " ".join(words * (max_tokens // len(words) + 1)),
    ]


def _max_tokens(model: SentenceTransformer) -> int | None:
    limit = cast("float | None", model.max_seq_length)
    # Tokenizers say "no limit" with infinity or with 10^30.
    return None if limit is None or not math.isfinite(limit) or limit > 2**31 else int(limit)


def _first_position(model: SentenceTransformer) -> int:
    """Return the number of the first position; RoBERTa's follow the padding's number."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        table = getattr(module, "position_embeddings", None)
        if isinstance(padding, int) and isinstance(table, nn.Embedding):
            return padding + 1
    return 0


def _passes(order: Sequence[int], lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Cut `order`, longest first, into passes of at most `limit` windows and enough tokens."""
    rows: list[int] = []
    for row in order:
        tokens = lengths[rows[0]] * (len(rows) + 1) if rows else 0
        if len(rows) == limit or tokens > TOKENS_PER_PASS:
            yield rows
            rows = []
        rows.append(row)
    yield rows


def _failure(dimensions: int, error: Exception) -> Answer:
    """Return the answer for one text; what a tokenizer cannot read is the task's fault."""
    said = f"{type(error).__name__}: {error}"[:500]
    reason: AletheiaError = (
        InvalidTask("unreadable_text", f"the model's tokenizer cannot read the text ({said})")
        if isinstance(error, (UnicodeError, TypeError))
        else ComputeFailed("compute_failed", f"the model failed on the text ({said})")
    )
    return Answer(np.zeros((1, dimensions), np.float32), [0], failed={0: reason})
