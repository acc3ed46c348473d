"""The process that runs local models, `python -m aletheia.adapters.local.model ANSWERS THREADS`.

Requests come in on stdin, answers go out on the file descriptor ANSWERS, as `model_wire` says;
stdout and stderr are free for what libraries print.

A model is loaded by sentence-transformers. On a CPU two things are then tried on it, each kept
only if the vectors of some probe texts stay the same:

- *unpadded*: the texts of a batch run as one sequence without padding, attention within each text;
- *packed*: oneDNN's matrix kernels on weights laid out for them, where that is also faster.
"""

import ctypes
import gc
import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from tokenizers import Tokenizer
from torch import nn
from transformers import AttentionInterface, PreTrainedTokenizerBase
from transformers.activations import GELUActivation
from transformers.utils import logging as transformers_logging

from aletheia.adapters.local.wire import Header, pack_frame, serve, unpack_texts
from aletheia.analysis.ports import LongText
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask

log = logging.getLogger(__name__)

Vectors: TypeAlias = NDArray[np.float32]

TOKENS_PER_PASS: Final = 2048
"""Most tokens in one forward pass, unless one text has more: what keeps its data in the caches."""

TOKENS_ROUNDED_TO: Final = 32
"""Unpadded passes are filled up to a multiple of this.

oneDNN compiles a kernel for each number of rows, in about 1 ms, and keeps it, in about 0.7 MB.
"""

TEXTS_PER_PADDED_PASS: Final = 8
"""Padding grows with the number of texts, and so does its cost."""

SAME_WITHIN: Final = 1e-5
"""Largest difference of one component, of vectors scaled to length 1, that counts as the same."""

PROBE_TOKENS: Final = 512
"""Length of the longest probe text; long enough to notice attention that is only local."""

SPLIT_SLACK: Final = 2
"""Tokens left free in a window: its first word may be read differently without what precedes."""

UNPADDED: Final = "aletheia_unpadded"
"""Name of `unpadded_attention` in transformers."""

PACK: Final = "_reorder_linear_weight"
MULTIPLY: Final = "_linear_pointwise"
"""Operators of oneDNN in PyTorch, the ones its own compiler uses for frozen weights."""


@dataclass(slots=True)
class Answer:
    """What became of the texts of one request.

    Attributes:
        vectors: `(n, d)` by index; the rows of texts that failed mean nothing.
        tokens: tokens the model read, by index.
        truncated: indices of texts whose end was left out.
        failed: why there is no vector, by index.
    """

    vectors: Vectors
    tokens: list[int]
    truncated: list[int] = field(default_factory=list[int])
    failed: dict[int, AletheiaError] = field(default_factory=dict[int, AletheiaError])


@dataclass(frozen=True, slots=True)
class _Window:
    """What the model reads in one go: a text, or a part of a long one, and its token ids."""

    index: int
    text: str
    ids: list[int]


class LocalModel:
    """A sentence-transformers model, ready to embed.

    Args:
        model: the loaded model.
        long_text: what happens to a text longer than it reads.

    Attributes:
        dimensions: length of its vectors.
        max_tokens: most tokens it reads of a text; `None` if there is no limit.
        kernels: which of `unpadded` and `packed` are in use.
    """

    def __init__(self, model: SentenceTransformer, long_text: LongText = "truncate") -> None:
        self._model: Any = model.eval()  # its own types are known in part only
        self._long_text: LongText = long_text
        self._tokenizer: Any = model.tokenizer
        self._is_fast = isinstance(self._tokenizer, PreTrainedTokenizerBase) and bool(
            self._tokenizer.is_fast
        )
        if long_text == "chunk" and not self._is_fast:
            raise ValueError("LONG_TEXT=chunk needs a fast tokenizer, which this model has not")
        name = model.default_prompt_name
        self._prompt: str = (model.prompts.get(name) if name else None) or ""
        self._first_position = _first_position(model)
        self._filler = int(getattr(self._tokenizer, "pad_token_id", None) or 0)
        self._is_unpadded = False
        self.max_tokens = _max_tokens(model)
        self.kernels: list[str] = []
        self.dimensions = self._forward([self._window(0, "probe")]).shape[1]

    @classmethod
    def load(cls, path: Path, long_text: LongText = "truncate") -> "LocalModel":
        """Load the model in a directory, from safetensors only and without code of its own."""
        model = SentenceTransformer(
            str(path),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
        loaded = cls(model, long_text)
        loaded.tune()
        return loaded

    def tune(self) -> None:
        """Switch on what makes this model faster on this processor and changes nothing else."""
        if self._model.device.type != "cpu":
            return
        probes = [self._window(index, text) for index, text in enumerate(self._probe_texts())]
        expected = self._forward(probes)
        best_s = self._seconds(probes)
        for name, switch_on in (("unpadded", self.use_unpadded), ("packed", self.use_packed)):
            undo = switch_on()
            if undo is None:
                continue
            try:
                is_same = _are_same(self._forward(probes), expected)
                took_s = self._seconds(probes) if is_same else math.inf
            except Exception as error:  # noqa: BLE001 - whatever it is, the model runs without
                log.info("%s cannot be used: %s", name, error)
                took_s = math.inf
            if took_s < best_s:
                best_s = took_s
                self.kernels.append(name)
            else:
                undo()

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
            np.concatenate([one.vectors for one in alone]),
            [one.tokens[0] for one in alone],
            [index for index, one in enumerate(alone) if one.truncated],
            {index: one.failed[0] for index, one in enumerate(alone) if one.failed},
        )

    def _embed(self, texts: Sequence[str]) -> Answer:
        answer = Answer(np.zeros((len(texts), self.dimensions), np.float32), [0] * len(texts))
        windows: list[_Window] = []
        for index, (text, ids) in enumerate(zip(texts, self.tokenise(texts), strict=True)):
            if self.max_tokens is None or len(ids) <= self.max_tokens:
                windows.append(_Window(index, text, ids))
            elif self._long_text == "fail":
                answer.failed[index] = InvalidTask(
                    "input_too_long",
                    f"the text has {len(ids):,} tokens, the model reads {self.max_tokens:,}",
                )
            elif self._long_text == "chunk":
                windows.extend(self._window(index, part) for part in self.split(text))
            else:
                windows.append(self._window(index, text))
                answer.truncated.append(index)
        if not windows:
            return answer
        vectors = self._forward(windows)
        for window in windows:
            answer.tokens[window.index] += len(window.ids)
        if len(windows) + len(answer.failed) == len(texts):
            answer.vectors[[window.index for window in windows]] = vectors
        else:
            self._merge(answer, windows, vectors)
        return answer

    def _merge(self, answer: Answer, windows: Sequence[_Window], vectors: Vectors) -> None:
        """Give each text the mean of its windows, weighted by their lengths.

        A text of one window keeps its vector; the mean of several is scaled to length 1.
        """
        overhead = self._overhead
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

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn texts into token ids, with the prompt and what the model adds, not cut off."""
        if isinstance(self._tokenizer, PreTrainedTokenizerBase):
            prompted = [self._prompt + text for text in texts] if self._prompt else list(texts)
            tokenise = cast("Callable[..., Any]", self._tokenizer)
            return tokenise(
                prompted,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )["input_ids"]
        if isinstance(self._tokenizer, Tokenizer):
            return [encoded.ids for encoded in self._tokenizer.encode_batch(list(texts))]
        return [list(range(len(text.split()))) for text in texts]

    def _window(self, index: int, text: str) -> _Window:
        """Tokenise one text, cut off at what the model reads."""
        if self.max_tokens is None or not isinstance(self._tokenizer, PreTrainedTokenizerBase):
            return _Window(index, text, self.tokenise([text])[0])
        tokenise = cast("Callable[..., Any]", self._tokenizer)
        ids = tokenise(self._prompt + text, truncation=True, max_length=self.max_tokens)
        return _Window(index, text, ids["input_ids"])

    @property
    def _overhead(self) -> int:
        """Tokens that every window has beside those of its text."""
        return len(self.tokenise([""])[0])

    def split(self, text: str) -> Iterator[str]:
        """Cut a long text into parts that the model reads whole, between words where possible."""
        assert self.max_tokens is not None
        room = max(1, self.max_tokens - self._overhead - SPLIT_SLACK)
        encoded = self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        starts = [start for start, _ in encoded["offset_mapping"]]
        words = encoded.word_ids(0)
        first = 0
        while len(starts) - first > room:
            cut = first + room
            while cut > first + 1 and words[cut] is not None and words[cut] == words[cut - 1]:
                cut -= 1
            if cut == first + 1:
                cut = first + room
            yield text[starts[first] : starts[cut]]
            first = cut
        yield text[starts[first] :]

    def _forward(self, windows: Sequence[_Window]) -> Vectors:
        """Run windows through the model, of like length together; `(len(windows), d)`."""
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

    def _padded_features(self, windows: Sequence[_Window]) -> dict[str, Any]:
        """Prepare windows as `SentenceTransformer.encode` does."""
        texts = [window.text for window in windows]
        features = self._model.preprocess(texts, prompt=self._prompt or None)
        return {
            name: value.to(self._model.device) if isinstance(value, torch.Tensor) else value
            for name, value in features.items()
        }

    def _unpadded_features(self, windows: Sequence[_Window]) -> dict[str, Any]:
        """Prepare windows as one sequence, in which positions start again with each window.

        What fills it up is one more window, whose vector comes last.
        """
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

    def use_unpadded(self) -> Callable[[], None] | None:
        """Switch to unpadded attention; returns how to switch back, or `None` if it cannot be."""
        first, encoder = self._model[0], self._model.transformers_model
        if (
            not self._is_fast
            or self._prompt
            or encoder is None
            or not isinstance(first, Transformer)
            or set(first.modality_config) != {"text"}
        ):
            return None
        before = encoder.config._attn_implementation  # noqa: SLF001
        encoder.set_attn_implementation(UNPADDED)
        self._is_unpadded = True

        def undo() -> None:
            encoder.set_attn_implementation(before)
            self._is_unpadded = False

        return undo

    def use_packed(self) -> Callable[[], None] | None:
        """Pack the weights of linear layers; returns how to undo it, or `None` if it cannot be."""
        if not torch.backends.mkldnn.is_available():
            return None
        replaced: list[tuple[nn.Module, str, nn.Module]] = []

        def replace(parent: nn.Module, name: str, new: nn.Module) -> None:
            replaced.append((parent, name, getattr(parent, name)))
            setattr(parent, name, new)

        def undo() -> None:
            for parent, name, old in replaced:
                setattr(parent, name, old)

        try:
            for parent in list(self._model.modules()):
                has_gelu = _is_gelu(getattr(parent, "intermediate_act_fn", None))
                for name, child in list(parent.named_children()):
                    if type(child) is nn.Linear and child.weight.dtype is torch.float32:
                        is_followed = has_gelu and name == "dense"
                        replace(parent, name, PackedLinear(child, with_gelu=is_followed))
                        if is_followed:
                            replace(parent, "intermediate_act_fn", nn.Identity())
        except (RuntimeError, AttributeError, NotImplementedError):
            undo()
            return None
        return undo if replaced else None

    def _probe_texts(self) -> list[str]:
        words = [
            "the",
            "quick",
            "brown",
            "fox",
            "jumps",
            "over",
            "a",
            "lazy",
            "dog,",
            "doesn't",
            "it?",
            "Yes.",
        ]
        longest = min(self.max_tokens or PROBE_TOKENS, PROBE_TOKENS)
        return [
            "a",
            " ".join(words[:5]),
            " ".join(words),
            " ".join(words * 4),
            " ".join(words * (longest // len(words) + 1)),
        ]

    def _seconds(self, windows: Sequence[_Window]) -> float:
        """Measure the processor time of a pass; other processes are busy loading, too."""
        times: list[float] = []
        for _ in range(3):
            start = time.process_time()
            self._forward(windows)
            times.append(time.process_time() - start)
        return min(times)


class PackedLinear(nn.Module):
    """A linear layer whose weights are laid out once for oneDNN's matrix kernels.

    PyTorch multiplies float32 matrices with MKL, which leaves half of some processors unused.

    Args:
        linear: the layer it stands for.
        with_gelu: whether it applies the activation that follows, while the data is at hand.
    """

    def __init__(self, linear: nn.Linear, *, with_gelu: bool = False) -> None:
        super().__init__()
        pack = getattr(torch.ops.mkldnn, PACK)
        self._packed = pack(linear.weight.detach())
        self._bias = linear.bias
        self._after: tuple[str, list[Any], str] = (
            ("gelu", [], "none") if with_gelu else ("none", [], "")
        )
        self._multiply: Callable[..., torch.Tensor] = getattr(torch.ops.mkldnn, MULTIPLY)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply, `(…, in)` to `(…, out)`."""
        return self._multiply(rows, self._packed, self._bias, *self._after)


def unpadded_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    window_lengths: list[int],
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Let each window of a sequence attend to itself, for `AttentionInterface`.

    Args:
        module: the attention layer.
        query: `(1, heads, tokens, d)`; key and value alike.
        key: see `query`.
        value: see `query`.
        attention_mask: must be `None`.
        window_lengths: tokens of each window, in order; their sum is `tokens`.
        scaling: of the products of query and key.
        sliding_window: must be `None`.

    Returns:
        `(1, tokens, heads, d)`, and no weights.
    """
    if attention_mask is not None or sliding_window or getattr(module, "is_causal", False):
        raise NotImplementedError("only full attention within a text")
    parts = zip(
        torch.split_with_sizes(query, window_lengths, 2),
        torch.split_with_sizes(key, window_lengths, 2),
        torch.split_with_sizes(value, window_lengths, 2),
        strict=True,
    )
    attended = [nn.functional.scaled_dot_product_attention(*p, scale=scaling) for p in parts]
    return torch.cat(attended, 2).transpose(1, 2), None


def _load(models: dict[str, LocalModel], header: Header) -> bytes:
    started, before = time.monotonic(), resident_bytes()
    try:
        model = models.get(header["model"])
        if model is None:
            model = LocalModel.load(Path(header["path"]), header["long_text"])
            models[header["model"]] = model
    except Exception as error:
        log.exception("loading %s failed", header["path"])
        return pack_frame({"op": "failed", "reason": f"{type(error).__name__}: {error}"[:1000]})
    return pack_frame(
        {
            "op": "loaded",
            "dimensions": model.dimensions,
            "max_tokens": model.max_tokens,
            "kernels": model.kernels,
            "load_s": time.monotonic() - started,
            "memory_bytes": max(0, resident_bytes() - before),
            "resident_bytes": resident_bytes(),
        }
    )


def unload(models: dict[str, LocalModel], header: Header) -> bytes:
    """Let go of a model, and answer as the wire says."""
    models.pop(header["model"], None)
    gc.collect()  # a model holds references to itself
    give_back_memory()
    return pack_frame({"op": "unloaded", "resident_bytes": resident_bytes()})


def give_back_memory() -> None:
    """Return freed memory to the system at once, where the C library can be told to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _embed(models: dict[str, LocalModel], header: Header, body: bytes) -> bytes:
    started = time.monotonic()
    answer = models[header["model"]].embed(unpack_texts(header["lengths"], body))
    good = [index for index in range(len(answer.tokens)) if index not in answer.failed]
    return pack_frame(
        {
            "op": "embedded",
            "tokens": answer.tokens,
            "truncated": answer.truncated,
            "failed": [
                (index, type(error).__name__, error.code, str(error)[:1000])
                for index, error in answer.failed.items()
            ],
            "compute_s": time.monotonic() - started,
            "resident_bytes": resident_bytes(),
        },
        np.ascontiguousarray(answer.vectors[good], "<f4").tobytes(),
    )


def resident_bytes() -> int:
    """Measure this process's resident memory; where there is no /proc, its peak so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def _max_tokens(model: SentenceTransformer) -> int | None:
    limit = cast("float | None", model.max_seq_length)
    # Tokenizers say "no limit" with infinity or with 10^30.
    return None if limit is None or not math.isfinite(limit) or limit > 2**31 else int(limit)


def _first_position(model: SentenceTransformer) -> int:
    """Number of the first position; the RoBERTa family counts on from its padding's number."""
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


def _is_gelu(activation: object) -> bool:
    """Whether it is the exact one, not one of its approximations."""
    return isinstance(activation, GELUActivation) or (
        isinstance(activation, nn.GELU) and activation.approximate == "none"
    )


def _are_same(found: Vectors, expected: Vectors) -> bool:
    norms = np.linalg.norm(expected, axis=1, keepdims=True)
    return bool((np.abs(found - expected) <= SAME_WITHIN * norms).all())


def _failure(dimensions: int, error: Exception) -> Answer:
    """Answer for one text. What a tokenizer cannot read, it will not be able to read later."""
    said = f"{type(error).__name__}: {error}"[:500]
    reason: AletheiaError = (
        InvalidTask("unreadable_text", f"the model's tokenizer cannot read the text ({said})")
        if isinstance(error, (UnicodeError, TypeError))
        else ComputeFailed("compute_failed", f"the model failed on the text ({said})")
    )
    return Answer(np.zeros((1, dimensions), np.float32), [0], failed={0: reason})


def main(arguments: Sequence[str]) -> None:
    """Serve on stdin and the given file descriptor with the given number of threads."""
    answers, threads = arguments
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(int(threads))
    models: dict[str, LocalModel] = {}

    def answer(header: Header, body: bytes) -> bytes:
        match header["op"]:
            case "load":
                return _load(models, header)
            case "unload":
                return unload(models, header)
            case _:
                return _embed(models, header, body)

    serve(sys.stdin.fileno(), int(answers), answer)


cast("Any", AttentionInterface).register(UNPADDED, unpadded_attention)

if __name__ == "__main__":
    main(sys.argv[1:])
