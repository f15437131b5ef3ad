"""A vocabulary that is small enough to be read at once."""

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

__all__ = ["write_vocabulary"]


def write_vocabulary(path: Path, texts: list[str]) -> Tokenizer:
    """300 tokens, every byte among them, in Hugging Face's form at `path`."""
    vocabulary = Tokenizer(BPE())
    vocabulary.pre_tokenizer = ByteLevel(add_prefix_space=False)
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    vocabulary.train_from_iterator(texts, trainer)
    vocabulary.save(str(path))
    return vocabulary
