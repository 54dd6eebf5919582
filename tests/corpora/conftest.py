import pytest

from support.corpora import gates


@pytest.fixture
def pdf_corpus(tmp_path):
    return gates(tmp_path)
