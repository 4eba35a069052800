"""Texts become the tokens that the profile demands, by the tokenizer that it names and no other."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from app.errors import BadInput, ConfigError
from app.watermark.tokens import Tokens, sum_of
from detectors.watermark.registry import MarkProfile
from detectors.watermark.words import words


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A byte-pair tokenizer trained on a line, that cuts texts and fills them up as files from training often say."""
    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(special_tokens=["[UNK]", "[PAD]"], vocab_size=60)
    made.train_from_iterator(["the still distils the mash"] * 8, trainer)
    made.enable_truncation(4)
    made.enable_padding(length=9, pad_id=1, pad_token="[PAD]")
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def _profile(profile: MarkProfile, tokenizer: Path) -> MarkProfile:
    return replace(profile, tokenizer=sum_of(tokenizer))


def test_a_text_gets_all_its_tokens_and_no_others(profile: MarkProfile, tokenizer: Path) -> None:
    """Not cut, not filled up, without the marks of beginning and end; an empty text has none, a list stays as it is."""
    library = Tokenizer.from_file(str(tokenizer))
    library.no_truncation()
    library.no_padding()
    texts = ["the still distils the mash the still distils", "mash"]
    made = Tokens(_profile(profile, tokenizer), tokenizer).of(
        [texts[0], "", np.array([7, 8], np.uint32), texts[1]], ["a", "b", "c", "d"]
    )
    assert [one.tolist() for one in made] == [library.encode(texts[0]).ids, [], [7, 8], library.encode(texts[1]).ids]
    assert len(made[0]) >= 8
    assert all(one.dtype == np.uint32 for one in made)


def test_another_tokenizer_is_refused_with_both_sums(profile: MarkProfile, tokenizer: Path) -> None:
    """A byte more in the file is another tokenizer."""
    wanted = _profile(profile, tokenizer)
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    with pytest.raises(ConfigError) as error:
        Tokens(wanted, tokenizer)
    assert wanted.tokenizer in str(error.value)
    assert sha256(tokenizer.read_bytes()).hexdigest() in str(error.value)


def test_a_file_that_is_no_tokenizer_is_refused(profile: MarkProfile, tmp_path: Path) -> None:
    """Even with the right sum."""
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(BadInput, match="is no tokenizer file"):
        Tokens(_profile(profile, path), path)


def test_a_text_without_the_tokenizer_is_refused_where_it_stands(profile: MarkProfile, tokenizer: Path) -> None:
    """The sentence says which file is missing; lists of tokens need none."""
    wanted = _profile(profile, tokenizer)
    with pytest.raises(BadInput, match=rf"^suspect.jsonl: line 7: is a text, .* {wanted.tokenizer} \(--tokenizer\)"):
        Tokens(wanted).of([np.array([1], np.uint32), "mash"], ["suspect.jsonl: line 6", "suspect.jsonl: line 7"])
    assert Tokens(wanted).of([np.array([1], np.uint32)], ["x"])[0].tolist() == [1]


def test_words_need_no_file_and_take_none(profile: MarkProfile, tokenizer: Path) -> None:
    """A profile that counts words reads any text."""
    assert (Tokens(profile).of(["The still."], ["x"])[0] == words("The still.")).all()
    with pytest.raises(ConfigError, match="takes no tokenizer file"):
        Tokens(profile, tokenizer)
