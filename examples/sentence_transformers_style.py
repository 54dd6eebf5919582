"""The shape of a CrossEncoder. Run: python examples/sentence_transformers_style.py [ENGINE]   (ENGINE scripted is a dry run)."""

import sys
from pathlib import Path

from mmr5 import read_pages
from mmr5.integrations.sentence_transformers import MMR5CrossEncoder

REPORT = Path(__file__).parent / "harbour-report.pdf"
QUESTION = "What does one night in July cost for a boat of 14 metres?"

pages = read_pages(REPORT)
encoder = MMR5CrossEncoder("mini", engine=sys.argv[1] if len(sys.argv) > 1 else "transformers")
for line in encoder.rank(QUESTION, pages, top_k=3):
    print(f"p. {pages[line['corpus_id']].number:<3} {line['score']:7.3f}")
print("pairs:", encoder.predict([(QUESTION, pages[7]), (QUESTION, pages[3])]))
