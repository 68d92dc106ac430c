"""Edits of a translator: what is asked, what is recorded, and that only the edit is to blame."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import editors
from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from benchmarks.translation import bleu
from benchmarks.translation.batches import previous_tokens, rows
from benchmarks.translation.decoding import encode, translate
from benchmarks.translation.divergence import token_kl
from benchmarks.translation.metrics import TRANSLATIONS
from benchmarks.translation.parts import split
from benchmarks.translation.perturbations import perturbed
from benchmarks.translation.requests import as_asked, draw_requests, load_requests, save_requests
from benchmarks.translation.scoring import TranslationScorer
from tests.benchmarks.translation.conftest import translated_by_fairseq
from tests.optional import needs

LAYERS = "decoder.layers.2"


@pytest.fixture
def requests(translator, small_corpus):
    return list(draw_requests(translator, small_corpus, "test", 6, 0, "tests", alternatives=5))


@pytest.fixture
def scorer(translator, small_corpus, requests):
    return TranslationScorer(translator, "last_decoder_layer", small_corpus, requests)


def test_loss_agrees_with_fairseqs_scores_of_the_same_hypotheses(translator, requests):
    one = requests[0]
    hypotheses = translated_by_fairseq(translator, one.source, 5)
    assert [other.tolist() for other in one.alternatives] == [other["tokens"].tolist() for other in hypotheses]
    for score, name in (("sum", "positional_scores"), ("token_average", "score")):
        theirs = torch.stack([other[name].sum() for other in hypotheses])
        asked = as_asked(translator, split(translator, LAYERS)[0], one, score)
        logits = split(translator, LAYERS)[1](*asked.inputs)
        ours = asked.constraint.scores(logits)
        torch.testing.assert_close(ours[1:], theirs, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            asked.constraint(logits), (theirs.max() - ours[0]).clamp(min=0), rtol=1e-4, atol=1e-4
        )


def test_requests_come_back_as_they_were_saved(small_corpus, requests, tmp_path):
    path = tmp_path / "requests.jsonl"
    save_requests(path, small_corpus, requests)
    for one, again in zip(requests, load_requests(path, small_corpus), strict=True):
        assert (one.sentence, one.seed) == (again.sentence, again.seed)
        assert torch.equal(one.target, again.target)
        assert all(map(torch.equal, one.alternatives, again.alternatives))
    assert json.loads(path.read_text("utf-8").splitlines()[1])["edit"] == 1
    path.write_text(path.read_text("utf-8").replace('"target": "', '"target": "unheardof '), "utf-8")
    with pytest.raises(InputError, match="belongs to a vocabulary of another run"):
        load_requests(path, small_corpus)


def test_requests_are_sentences_without_repetition_and_the_same_each_time(translator, small_corpus, requests):
    assert len({one.sentence for one in requests}) == 6
    again = draw_requests(translator, small_corpus, "test", 6, 0, "tests", alternatives=5)
    assert all(torch.equal(one.target, other.target) for one, other in zip(requests, again, strict=True))
    with pytest.raises(InputError, match="the number of edits must be 1 to 12, the test sentences, not 13"):
        next(draw_requests(translator, small_corpus, "test", 13, 0))


def test_success_is_decided_by_the_constraint_and_by_translating_again(
    translator, small_corpus, requests, scorer, strong
):
    edits, _ = scorer.edit(strong, range(len(requests)))
    encoded = encode(translator, small_corpus.test.source_numbers)
    records = [scorer.record(row, edit) for row, edit in enumerate(edits)]
    for one, edit, record in zip(requests, edits, records, strict=True):
        patched = edit.apply(translator)
        found = translate(patched, encoded, range(len(small_corpus.test.source)))[one.sentence][0]
        assert record.decoded is (found.tolist() == one.target.tolist())
        assert record.after == small_corpus.words(found)
        asked = as_asked(patched, split(patched, LAYERS)[0], one, "sum")
        scores = asked.constraint.scores(split(patched, LAYERS)[1](*asked.inputs))
        assert record.succeeded is bool(scores[0] >= scores[1:].max())
        assert record.steps == edit.steps > 0
    assert any(record.succeeded for record in records)


def test_a_record_counts_what_the_edit_changed(translator, small_corpus, requests, scorer, strong):
    import sacrebleu

    edit = scorer.edit(strong, [0])[0][0]
    record = scorer.record(0, edit)
    patched, sentences = edit.apply(translator), small_corpus.test
    before, after = (
        [one[0] for one in translate(model, encode(model, sentences.source_numbers), range(12))]
        for model in (translator, patched)
    )
    words = [small_corpus.words(one) for one in after]
    expected = sacrebleu.corpus_bleu(words, [list(sentences.target)], lowercase=True).score
    assert record.bleu_after == pytest.approx(expected, abs=1e-9)
    assert record.changed == sum(not torch.equal(*pair) for pair in zip(before, after, strict=True)) > 0
    other = sentences.source.index(record.other_source)
    assert other != record.sentence
    assert (record.other_before, record.other_after) == (small_corpus.words(before[other]), words[other])
    divergences = []
    for source, target in zip(sentences.source_numbers, sentences.target_numbers, strict=True):
        previous = torch.tensor([[small_corpus.target.end, *target[:-1].tolist()]])
        p, q = (model(source.long()[None], previous).double().log_softmax(-1) for model in (translator, patched))
        divergences += F.kl_div(q, p, log_target=True, reduction="none").sum(-1)[0].tolist()
    assert record.tokens == len(divergences)
    assert record.kl == pytest.approx(np.mean(divergences), rel=1e-4)


def test_generality_asks_the_same_of_sentences_near_the_edited_one(translator, small_corpus, requests, scorer, strong):
    edits, _ = scorer.edit(strong, range(len(requests)))
    counted = np.zeros(3, dtype=int)
    for row, (one, edit) in enumerate(zip(requests, edits, strict=True)):
        record = scorer.record(row, edit)
        near = perturbed(one.source, small_corpus.source, 5, one.seed)
        held = [
            sum(_prefers(model, source, one.target, one.alternatives) for source in near)
            for model in (translator, edit.apply(translator))
        ]
        assert (record.views, record.views_before, record.views_after) == (len(near), *held)
        counted += (record.views, record.views_before, record.views_after)
        assert scorer.record(row, edit, generality=False).views == 0
    assert counted[0] > counted[2] > counted[1]


def test_an_edit_with_views_holds_for_sentences_near_its_own_which_are_others_than_those_looked_at(
    translator, small_corpus, requests, scorer
):
    careful = editors.build("rmsprop", lr=1e-3, max_steps=100)
    asking = TranslationScorer(translator, "last_decoder_layer", small_corpus, requests, views=3)
    followed = {"with": 0, "without": 0, "asked": 0}
    for row, one in enumerate(requests[:4]):
        near = perturbed(one.source, small_corpus.source, 8, one.seed)
        looked_at, asked = near[:5], near[5:]
        assert not {tuple(source.tolist()) for source in asked} & {tuple(source.tolist()) for source in looked_at}
        (edit,), _ = asking.edit(careful, [row])
        assert edit.succeeded
        for source in (one.source, *asked):
            assert _prefers(edit.apply(translator), source, one.target, one.alternatives)
        (other,), _ = scorer.edit(careful, [row])
        records = {"with": asking.record(row, edit), "without": scorer.record(row, other)}
        assert {record.views for record in records.values()} == {len(looked_at)}
        for name, record in records.items():
            followed[name] += record.views_after
        followed["asked"] += len(asked)
    assert followed["asked"] > 6
    assert followed["with"] > followed["without"]


def test_views_that_do_not_follow_do_not_make_an_edit_fail(translator, small_corpus, requests):
    asking = TranslationScorer(translator, "last_decoder_layer", small_corpus, requests, views=3)
    whole, _ = asking.edit(editors.build("rmsprop", lr=2e-3, max_steps=60), range(len(requests)))
    found, held = [], []
    for row, (one, enough) in enumerate(zip(requests, whole, strict=True)):
        for steps in {max(1, enough.steps - few) for few in (1, 6)}:  # too few for all of its sentences
            (edit,), _ = asking.edit(editors.build("rmsprop", lr=2e-3, max_steps=steps), [row])
            assert edit.steps == steps
            found.append((bool(edit.succeeded), bool(edit.loss <= 0)))
            held.append((_prefers(edit.apply(translator), one.source, one.target, one.alternatives),) * 2)
    assert found == held
    assert {succeeded for succeeded, _ in found} == {True, False}


def test_an_edit_whose_own_sentence_needed_none_is_trivial_whatever_views_needed(translator, small_corpus, requests):
    wanted = []
    for one in requests:
        pairs = [(best, (other,)) for best in one.alternatives for other in one.alternatives if best is not other]
        liked = [pair for pair in pairs if _prefers(translator, one.source, *pair)]
        wanted += [replace(one, target=target, alternatives=others) for target, others in liked]
    hasty = editors.build("rmsprop", lr=1e-3, max_steps=3)
    trivial = []
    for asked in (wanted, requests):
        scorer = TranslationScorer(translator, "last_decoder_layer", small_corpus, asked, views=3)
        edits, _ = scorer.edit(hasty, range(len(asked)))
        assert any(edit.steps for edit in edits)  # for the views alone, where all are trivial
        trivial.append([scorer.record(row, edit, generality=False).trivial for row, edit in enumerate(edits)])
    already = [_prefers(translator, one.source, one.target, one.alternatives) for one in requests]
    assert trivial == [[True] * len(wanted), already]
    assert not all(already)


def _prefers(model, source, target, alternatives) -> bool:
    """Whether the model gives ``target`` a higher probability than each alternative, one by one and without padding."""
    scores = []
    for answer in (target, *alternatives):
        previous = torch.tensor([[model.target.end, *answer[:-1].tolist()]])
        with torch.no_grad():
            log_p = model(source.long()[None], previous).double().log_softmax(-1)
        scores.append(float(log_p[0].gather(1, answer.long()[:, None]).sum()))
    return scores[0] >= max(scores[1:]) - 1e-6


def test_padding_changes_no_divergence(translator):
    source = torch.Generator().manual_seed(0)
    before, after = (torch.randn(2, 5, 7, generator=source) for _ in range(2))
    target = torch.tensor([[4, 5, 2, 1, 1], [4, 5, 6, 3, 2]])
    once = token_kl(before, after, target, pad=1)
    before[0, 3:], after[0, 3:] = 99 * torch.randn(2, 2, 7, generator=source)
    torch.testing.assert_close(token_kl(before, after, target, pad=1), once, rtol=0, atol=0)
    assert (once > 0).tolist() == target.ne(1).tolist()


def test_each_edit_is_scored_on_a_subset_of_its_own(translator, small_corpus, requests, strong):
    scorer = TranslationScorer(translator, LAYERS, small_corpus, requests, control_size=4)
    edits, _ = scorer.edit(strong, range(6))
    records = [scorer.record(row, edit) for row, edit in enumerate(edits)]
    assert {record.control_size for record in records} == {4}
    assert len({record.tokens for record in records}) > 1
    whole = [TranslationScorer(translator, LAYERS, small_corpus, requests).record(0, edits[0])]
    assert whole[0].tokens == sum(map(len, small_corpus.test.target_numbers))


def test_covariances_are_of_the_training_sentences_with_their_references(translator, small_corpus, requests):
    scorer = TranslationScorer(translator, "last_feed_forward", small_corpus, requests)
    editor = editors.build("covariance", damping=0.1)
    known = scorer.statistics(editor)
    assert set(known.moments) == {"decoder.layers.2.fc1.weight", "decoder.layers.2.fc2.weight"}
    seen = []
    hook = translator.decoder.layers[2].fc1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    train, pad = small_corpus.train, translator.pad
    with torch.no_grad():
        source, target = (rows(side, pad) for side in (train.source_numbers, train.target_numbers))
        translator.eval()(source, previous_tokens(target, small_corpus.target.end, pad))
    hook.remove()
    inputs = seen[0].transpose(0, 1)[target.ne(pad)]  # (B, T, C) without padding
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)  # the bias is edited as well
    expected = inputs.T @ inputs / len(train)
    torch.testing.assert_close(known.moments["decoder.layers.2.fc1.weight"], expected, rtol=1e-4, atol=1e-4)
    edits, _ = scorer.edit(editor.informed(known), range(len(requests)))
    assert any(edit.steps and edit.succeeded for edit in edits)
    assert scorer.statistics(editors.build("rmsprop")) is None


def test_an_edit_of_no_steps_changes_nothing(translator, small_corpus, requests, scorer):
    edit = scorer.edit(editors.build("gd", max_steps=0), [1])[0][0]
    record = scorer.record(1, edit)
    assert (record.steps, record.changed, record.kl, record.succeeded, record.trivial) == (0, 0, 0.0, False, False)
    assert record.bleu_before == record.bleu_after
    assert record.before == record.after


def test_an_edit_that_diverges_is_recorded(translator, scorer):
    edit = scorer.edit(editors.build("gd", lr=1e30, max_steps=2), [0])[0][0]
    record = scorer.record(0, edit)
    assert not record.succeeded
    assert record.changed > 0


def test_editors_that_change_no_weights_are_refused(scorer):
    with pytest.raises((InputError, editors.EditError)):
        scorer.edit(editors.build("lookup_cache"), [0])


@needs("sacrebleu")
def test_bleu_of_kept_counts_is_sacrebleus():
    import sacrebleu

    source = ["the dog sees the cat.", "a man reads a book in the garden.", "she sleeps."]
    target = ["The dog sees a cat.", "A man is reading a book in the garden.", "She is asleep."]
    table = bleu.counts(source, target)
    assert table.shape == (3, 10)
    assert bleu.bleu(table) == pytest.approx(sacrebleu.corpus_bleu(source, [target], lowercase=True).score, abs=1e-9)
    estimate = bleu.estimate(table)
    assert estimate.low <= estimate.value <= estimate.high
    assert bleu.difference(table, table, "none") == Estimate(0.0, 0.0, 0.0)
    worse = bleu.counts(["the dog.", "a man reads.", "she."], target)
    difference = bleu.difference(table, worse, "some")
    assert difference.value == pytest.approx(bleu.bleu(table) - bleu.bleu(worse))
    assert 0 <= difference.low < difference.value <= difference.high
    assert "case:lc" in bleu.signature()
    assert f"version:{sacrebleu.__version__}" in bleu.signature()


def test_drawdown_is_signed(translator, scorer, strong):
    record = asdict(scorer.record(0, scorer.edit(strong, [0])[0][0]))
    table = pd.DataFrame(
        [record | {"bleu_before": 70.0, "bleu_after": after, "trivial": after == 70} for after in (69.0, 72.0, 70.0)]
    )
    summary = TRANSLATIONS.summarise(table)
    assert summary["bleu_drawdown"].value == pytest.approx(-1 / 3)
    assert summary["bleu_drawdown_nontrivial"].value == pytest.approx(-1 / 2)
