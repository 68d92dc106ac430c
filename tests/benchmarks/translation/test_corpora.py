"""Corpora that are read from files, and what is said about files that are not as they should be."""

import codecs
import gzip
import io
import sys
import tarfile
from pathlib import Path

import pytest

from benchmarks.errors import InputError
from benchmarks.files import file_hash
from benchmarks.translation import corpora, corpus, text
from benchmarks.translation.corpora.iwslt14 import TESTS
from tests.optional import PREPARING, needs

# The package has functions of the same names.
module, talks = (sys.modules[f"benchmarks.translation.corpora.{name}"] for name in ("multi30k", "iwslt14"))
WORDS = "eins zwei drei vier fünf sechs"


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    for stem, count in (("train", 5), ("val", 2), ("test_2016_flickr", 3)):
        (tmp_path / f"{stem}.de").write_text("".join(f"Ein Hund, Nummer {n}.\n" for n in range(count)), "utf-8")
        packed = gzip.compress("".join(f"A dog, number {n}.\n" for n in range(count)).encode())
        (tmp_path / f"{stem}.en.gz").write_bytes(packed)
    return tmp_path


@needs("sacremoses")
def test_multi30k_is_read_packed_or_not(captions):
    texts = corpora.make("multi30k", folder=str(captions))
    assert (len(texts.train), len(texts.valid), len(texts.test)) == (5, 2, 3)
    assert texts.test.source[2] == "Ein Hund, Nummer 2."
    assert texts.test.target_tokens[2] == "a dog , number 2 ."


def test_lines_are_those_that_an_editor_shows(captions):
    """A mark of byte order, carriage returns before ends of lines, and one inside a line, which ends none."""
    (captions / "train.de").write_bytes(codecs.BOM_UTF8 + "Ein Hund.\r\nEine\rKatze.\r\nÜ\u2028.\n".encode())
    assert module._lines(captions, "train.de") == ["Ein Hund.", "Eine Katze.", "Ü\u2028."]


def test_a_file_of_zeros_without_end_is_refused(captions, monkeypatch):
    monkeypatch.setattr(module, "_LARGEST", 1000)
    (captions / "train.de.gz").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(InputError, match=r"train\.de\.gz cannot be read as text \(more than 1000 bytes\)"):
        module._lines(captions, "train.de")


@pytest.mark.parametrize("merges", [-1, 1.5, "ten", True])
def test_merges_are_a_whole_number(merges):
    with pytest.raises(InputError, match="merges must be a whole number >= 0, not"):
        text.learn_codes(["a b"], merges)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "train.de").unlink(), r"train\.de is missing \(or train\.de\.gz\)"),
        pytest.param(lambda folder: (folder / "val.de").unlink(), r"val\.de is missing", marks=needs("sacremoses")),
        (lambda folder: (folder / "train.de").write_text("\n\n"), r"train\.de is empty"),
        (lambda folder: (folder / "train.de").write_text("Ein Hund.\n"), "there are 1 and 5 lines"),
        (lambda folder: (folder / "train.en.gz").write_bytes(b"no gzip"), r"train\.en\.gz cannot be read as text"),
    ],
)
def test_bad_files_of_multi30k_are_one_sentence(captions, spoil, message):
    spoil(captions)
    with pytest.raises(InputError, match=message):
        corpora.make("multi30k", folder=str(captions))


@needs("sacremoses")
def test_multi30k_is_downloaded_and_checked(captions, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for path in list(captions.glob("*.*")):
        content = path.read_bytes() if path.suffix == ".gz" else gzip.compress(path.read_bytes())
        (mirror / f"{path.name.removesuffix('.gz')}.gz").write_bytes(content)
    known = {path.name: file_hash(path, "md5") for path in mirror.iterdir()}
    assert known.keys() == module.MD5.keys()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "SOURCE", mirror.as_uri())
    with pytest.raises(
        InputError, match=r"train\.de\.gz could not be downloaded.*MD5.*; give a folder that has Multi30k"
    ):
        corpora.make("multi30k")
    monkeypatch.setattr(module, "MD5", known)
    assert corpora.make("multi30k").test == corpora.make("multi30k", folder=str(captions)).test


def _archive(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content.encode())
            archive.addfile(entry, io.BytesIO(content.encode()))
    return path


def _official(lines: int) -> dict[str, str]:
    """The layout of the published archive: one talk in train.tags, and test sets of 1, 2, 3, 4 and 5 segments."""
    training = {
        "de": ["<url>http://x</url>", "<keywords>a, b</keywords>", "<talkid>1</talkid>", "<title>Ein Titel</title>"],
        "en": ["<url>http://x</url>", "<keywords>a, b</keywords>", "<talkid>1</talkid>", "<title>A title</title>"],
    }
    unequal = ("eins zwei drei vier", "one two three four five six seven")  # 7 > 1.5 · 4
    just_equal = ("eins zwei drei vier", "one two three four five six")  # 6 = 1.5 · 4
    for german, english in (
        ("<description>TED, ein Vortrag</description>", "<description>TED, a talk</description>"),
        unequal,
        just_equal,
        ("", "nothing"),
        ("ja " * 176, "yes " * 176),
        ("ja " * 175, "yes " * 175),
        *((f"{WORDS} {n}", f"one two three four five six {n}") for n in range(lines)),
    ):
        training["de"].append(german)
        training["en"].append(english)
    files = {f"de-en/train.tags.de-en.{language}": "\n".join(text) + "\n" for language, text in training.items()}
    for count, name in enumerate(TESTS, start=1):
        for language, word in (("de", "Ja’s"), ("en", "Yes’s")):
            segments = "\n".join(f'<seg id="{n}"> {word} {name} {n} </seg>' for n in range(1, count + 1))
            files[f"de-en/IWSLT14.{name}.de-en.{language}.xml"] = f'<doc docid="1">\n{segments}\n</doc>\n'
    return files


@needs("sacremoses")
def test_iwslt14_is_cleaned_and_split_as_counted_by_hand(tmp_path):
    texts = corpora.make("iwslt14", archive=str(_archive(tmp_path / "de-en.tgz", _official(lines=46))))
    # Kept are title, description, the pair of ratio 1.5, the one of 175 tokens, and 46 more: 50. Of these, the 23rd
    # and the 46th are for validation.
    assert (len(texts.train), len(texts.valid), len(texts.test)) == (48, 2, 1 + 2 + 3 + 4 + 5)
    assert texts.train.source_tokens[0] == "ein titel"
    assert texts.train.target_tokens[1] == "ted , a talk"
    assert [line.split()[-1] for line in texts.valid.source] == ["18", "41"]
    assert texts.test.source[0] == "Ja's TED.dev2010 1"
    assert texts.test.target[-1] == "Yes's TED.tst2012 5"
    assert not any("nothing" in line or "seven" in line for line in (*texts.train.target, *texts.valid.target))


@needs(*PREPARING)
def test_iwslt14_becomes_numbers_and_comes_back_from_files(tmp_path):
    texts = corpora.make("iwslt14", archive=str(_archive(tmp_path / "de-en.tgz", _official(lines=46))))
    assert texts.merges == 10_000  # the paper's, and the default
    made = corpus.prepare(texts)
    corpus.save(made, tmp_path / "prepared")
    again = corpus.load(tmp_path / "prepared")
    assert (len(again.train), len(again.valid), len(again.test)) == (48, 2, 15)
    assert again.fingerprint == made.fingerprint
    assert again.origin == "IWSLT'14 German-English, cleaned to 50 training and validation pairs."
    for split, pairs in (("train", texts.train), ("valid", texts.valid), ("test", texts.test)):
        sentences = getattr(again, split)
        for numbers, tokens in zip(sentences.source_numbers, pairs.source_tokens, strict=True):
            units = again.source.units(numbers)
            assert text.join_units(units) == tokens or "<unk>" in units
            assert numbers[-1] == again.source.end
        assert sentences.source == pairs.source
        assert sentences.target == pairs.target
    merged = again.codes.splitlines()[1:]  # the first line says the version; pairs that occur once are not merged
    assert 0 < len(merged) < 10_000
    symbols = again.source.dictionary.symbols
    assert "vier" in symbols  # of merges: it stands in most pairs
    assert len(symbols) % 8 == 0
    assert not any("ted.dev2010" in symbol for symbol in symbols)  # test sentences are not counted


@needs("sacremoses")
def test_iwslt14_is_downloaded_and_checked(tmp_path, monkeypatch):
    archive = _archive(tmp_path / "official.tgz", _official(lines=46))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(talks, "MIRRORS", ((tmp_path / "gone.tgz").as_uri(), archive.as_uri()))
    with pytest.raises(InputError, match=r"de-en\.tgz could not be downloaded.*MD5.*give its path"):
        corpora.make("iwslt14", md5="0" * 32)
    assert not Path("data/downloads/de-en.tgz").exists()
    downloaded = corpora.make("iwslt14", md5=file_hash(archive, "md5"))
    assert downloaded.train == corpora.make("iwslt14", archive=str(archive)).train
    assert Path("data/downloads/de-en.tgz").read_bytes() == archive.read_bytes()
    archive.unlink()  # what lies there with the right MD5 is used again
    assert corpora.make("iwslt14", md5=file_hash(Path("data/downloads/de-en.tgz"), "md5")).test == downloaded.test


def test_iwslt14_says_what_is_wrong_with_an_archive(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.tgz is missing: give IWSLT'14's de-en\.tgz"):
        corpora.make("iwslt14", archive=str(tmp_path / "nowhere.tgz"))
    with pytest.raises(InputError, match="downloads only what it can check: give the option 'md5'"):
        corpora.make("iwslt14")
    broken = tmp_path / "broken.tgz"
    broken.write_bytes(b"nothing packed")
    with pytest.raises(InputError, match="cannot be unpacked"):
        corpora.make("iwslt14", archive=str(broken))
    files = _official(lines=3)
    files["de-en/train.tags.de-en.de"] += "Eine Zeile zu viel\n"
    with pytest.raises(InputError, match="line n must translate line n, but there are 11 and 10 lines"):
        corpora.make("iwslt14", archive=str(_archive(tmp_path / "unequal.tgz", files)))


@needs("sacremoses")
def test_an_archive_without_all_test_sets_is_not_iwslt14(tmp_path):
    files = _official(lines=3)
    del files["de-en/IWSLT14.TED.tst2011.de-en.en.xml"]
    with pytest.raises(InputError, match=r"no readable de-en/IWSLT14\.TED\.tst2011"):
        corpora.make("iwslt14", archive=str(_archive(tmp_path / "other.tgz", files)))


def test_an_archive_cannot_write_elsewhere(tmp_path):
    archive = _archive(tmp_path / "de-en.tgz", {"../../evil.txt": "x"})
    with pytest.raises(InputError, match="cannot be unpacked"):
        corpora.make("iwslt14", archive=str(archive))
