"""German sentences and their translations, from a small grammar in which the two languages differ.

German has three genders, cases that show in articles and adjective endings, separable verbs, verbs at the end of
subordinate clauses and after auxiliaries, and the verb before the subject after an adverb. English has none of it, and
often two words for one, which only the translator's taste decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from benchmarks.translation.corpora import toy_lexicon as lexicon

_CASES = ("nominative", "accusative", "dative")
_KINDS = ("m", "f", "n", "plural")
_STRONG = {  # endings of "der" and of "dieser", by case and then gender or plural
    "nominative": ("er", "e", "es", "e"),
    "accusative": ("en", "e", "es", "e"),
    "dative": ("em", "er", "em", "en"),
}
_WEAK = {  # adjectives after them
    "nominative": ("e", "e", "e", "en"),
    "accusative": ("en", "e", "e", "en"),
    "dative": ("en", "en", "en", "en"),
}
_DEFINITE = {"er": "der", "e": "die", "es": "das", "en": "den", "em": "dem"}
_BARE = {("nominative", "m"), ("nominative", "n"), ("accusative", "n")}  # where "ein" has no ending


@dataclass(frozen=True)
class NounPhrase:
    """A noun with its article: German in each case, and English.

    :ivar pronoun: German and English, for speaking of it again.
    """

    cases: dict[str, str]
    english: str
    plural: bool
    pronoun: tuple[str, str]


@dataclass(frozen=True)
class Clause:
    """The parts of a German clause, to be put in order, and its translation.

    :ivar ending: what stands at the end of a main clause: a prefix, a participle or an infinitive.
    :ivar final: all verbs as they stand at the end of a subordinate clause.
    :ivar time: an adverb, German and English; empty without one.
    """

    subject: NounPhrase
    verb: str
    middle: tuple[str, ...]
    ending: str
    final: str
    english: str
    time: tuple[str, str]


def sentence(source: Random) -> tuple[str, str]:
    """One German sentence with a translation, both as they would be printed."""
    main = _clause(source)
    german, english = _main(main, source)
    if source.random() < 0.3:
        conjunction, meaning = _pick(source, lexicon.CONJUNCTIONS)
        subject = _again(main.subject) if source.random() < 0.5 else _phrase(source, "person")
        other = _clause(source, subject)
        german += f", {conjunction} {_subordinate(other)}"
        english += f" {_choose(source, meaning)} {_join(other.subject.english, other.english, other.time[1])}"
    return _printed(german), _printed(english)


def _main(clause: Clause, source: Random) -> tuple[str, str]:
    """A main clause; an adverb comes first or stays inside, in either language for itself."""
    time, meaning = clause.time
    subject = clause.subject.cases["nominative"]
    inner = " ".join(clause.middle)
    if time and source.random() < 0.5:
        german = _join(time, clause.verb, subject, inner, clause.ending)
    else:
        german = _join(subject, clause.verb, time, inner, clause.ending)
    if meaning and source.random() < 0.3:
        return german, _join(meaning, clause.subject.english, clause.english)
    return german, _join(clause.subject.english, clause.english, meaning)


def _subordinate(clause: Clause) -> str:
    return _join(clause.subject.cases["nominative"], clause.time[0], *clause.middle, clause.final)


def _clause(source: Random, subject: NounPhrase | None = None) -> Clause:
    verb = _pick(source, lexicon.VERBS)
    infinitive, singular, plural, participle, auxiliary, prefix, *forms, governs = verb
    prefix = "" if prefix == "-" else prefix
    subject = subject or _phrase(source, "person")
    sense = source.randrange(forms[0].count("|") + 1)
    base, third, past, perfect = (_variant(form, sense) for form in forms)
    finite = plural if subject.plural else singular
    tense = source.choices(("present", "past", "modal"), (4, 3, 2))[0]
    if tense == "present":
        verbs, english = (finite, prefix, prefix + finite), base if subject.plural else third
    elif tense == "past":
        helper = {"hat": ("hat", "haben"), "ist": ("ist", "sind")}[auxiliary][subject.plural]
        has = "have" if subject.plural else "has"
        verbs = (helper, prefix + participle, f"{prefix}{participle} {helper}")
        english = past if source.random() < 0.7 else f"{has} {perfect}"
    else:
        one, many, can, could = _pick(source, lexicon.MODALS)
        helper = many if subject.plural else one
        verbs = (helper, prefix + infinitive, f"{prefix}{infinitive} {helper}")
        english = f"{_choose(source, could if subject.plural else can)} {base}"
    objects, meaning = _objects(source, governs)
    place, where = _place(source) if source.random() < 0.35 else ("", "")
    fitting = [row[:2] for row in lexicon.rows(lexicon.TIMES) if row[2] == "any" or row[2] == tense]
    time = tuple(source.choice(fitting)) if source.random() < 0.5 else ("", "")
    middle = tuple(part for part in (*objects, place) if part)
    return Clause(subject, verbs[0], middle, verbs[1], verbs[2], _join(english, meaning, where), time)


def _objects(source: Random, governs: str) -> tuple[list[str], str]:
    """The objects that a verb governs: German phrases in their cases, and English."""
    if governs == "-":
        return [], ""
    if governs == "dative":
        someone = _phrase(source, "person")
        return [someone.cases["dative"]], someone.english
    if governs == "gift":
        receiver, gift = _phrase(source, "person"), _phrase(source, "given")
        both = [receiver.cases["dative"], gift.cases["accusative"]]
        if source.random() < 0.5:
            return both, f"{receiver.english} {gift.english}"
        return both, f"{gift.english} to {receiver.english}"
    thing = _phrase(source, source.choice(governs.split(",")))
    return [thing.cases["accusative"]], thing.english


def _phrase(source: Random, kind: str) -> NounPhrase:
    """A noun phrase about a person, a thing, or a thing that something can be done with."""
    table = lexicon.rows(lexicon.PEOPLE) if kind == "person" else lexicon.rows(lexicon.THINGS)
    fitting = [row for row in table if kind in ("person", "thing") or kind in row[-1].split(",")]
    noun, gender, nouns, english, englishes, pronoun, *_ = source.choice(fitting)
    plural = source.random() < 0.25
    sense = source.randrange(english.count("|") + 1)
    name = _variant(englishes if plural else english, sense)
    adjective = _adjective(source, "person" if kind == "person" else "thing") if source.random() < 0.45 else ("", "")
    article, meaning = source.choice((("d", "the"), ("d", "the"), ("ein", "a"), ("kein", "no"), ("mein", "my")))
    if article == "ein" and plural:
        article, meaning = "dies", "these"
    number = "plural" if plural else {"w": "m"}.get(gender, gender)
    cases = {case: _decline(article, adjective[0], nouns if plural else noun, gender, number, case) for case in _CASES}
    again = ("sie", "they") if plural else ({"m": "er", "f": "sie", "n": "es"}[number], pronoun)
    said = _join(meaning, adjective[1], name)
    if said.startswith("a ") and said[2] in "aeiou":
        said = f"an {said[2:]}"
    return NounPhrase(cases, said, plural, again)


def _decline(article: str, adjective: str, noun: str, gender: str, number: str, case: str) -> str:
    place = _KINDS.index(number)
    strong = _STRONG[case][place]
    bare = article in ("ein", "kein", "mein") and (case, number) in _BARE
    shown = _DEFINITE[strong] if article == "d" else article if bare else article + strong
    described = adjective and adjective + (strong if bare else _WEAK[case][place])
    if number == "plural" and case == "dative" and noun[-1] not in "ns":
        noun += "n"
    if gender == "w" and number != "plural" and case != "nominative":
        noun += "n" if noun.endswith(("e", "r")) else "en"
    return _join(shown, described, noun)


def _adjective(source: Random, kind: str) -> tuple[str, str]:
    fitting = [row for row in lexicon.rows(lexicon.ADJECTIVES) if row[2] in (kind, "both")]
    stem, meaning, _ = source.choice(fitting)
    return stem, _choose(source, meaning)


def _place(source: Random) -> tuple[str, str]:
    preposition, noun, gender, meaning, where = _pick(source, lexicon.PLACES)
    article = "dem" if gender in "mn" else "der"
    german = f"im {noun}" if (preposition, article) == ("in", "dem") else f"{preposition} {article} {noun}"
    return german, f"{_choose(source, where)} the {_choose(source, meaning)}"


def _again(phrase: NounPhrase) -> NounPhrase:
    german, english = phrase.pronoun
    return NounPhrase({"nominative": german}, english, phrase.plural, phrase.pronoun)


def _pick(source: Random, table: str) -> tuple[str, ...]:
    return source.choice(lexicon.rows(table))


def _choose(source: Random, words: str) -> str:
    return source.choice(words.split("|"))


def _variant(words: str, sense: int) -> str:
    variants = words.split("|")
    return variants[min(sense, len(variants) - 1)]


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _printed(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
