import pytest
from wordindex import Index, words


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Queries of a user's DAY", ["query", "user", "day"]),
        ("glass, bus & shoes", ["glass", "bus", "shoe"]),
        ("", []),
    ],
)
def test_words_are_folded_and_stemmed(text, terms):
    assert list(words(text)) == terms


def test_the_document_with_more_of_a_rare_word_comes_first():
    index = Index()
    index.add("often", "zebra zebra crossing")
    index.add("once", "zebra crossing road")
    index.add("never", "crossing road street")
    assert [hit.document for hit in index.search("zebras")] == ["often", "once"]


def test_a_name_is_taken_once():
    index = Index()
    index.add("one", "text")
    with pytest.raises(ValueError, match="already"):
        index.add("one", "other text")
