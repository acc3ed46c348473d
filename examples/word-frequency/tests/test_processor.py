"""The task type `word_frequency`."""

import asyncio

from word_frequency.processor import WordFrequency, WordFrequencyInput

from aletheia.analysis.settings import WorkerSettings


def test_words_are_counted():
    processor = WordFrequency(WorkerSettings())
    task_input = WordFrequencyInput(text="The cat and the dog", top=1)
    computed = asyncio.run(processor.compute(task_input))
    assert computed.result.total == 5
    assert computed.result.words[0].word == "the"
