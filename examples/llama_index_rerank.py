"""LlamaIndex: rerank image nodes. Run: python examples/llama_index_rerank.py [ENGINE]   (ENGINE scripted is a dry run)."""

import sys
from pathlib import Path

from llama_index.core.schema import NodeWithScore

from mmr5 import read_pages
from mmr5.integrations.llama_index import MMR5Postprocessor, to_nodes

REPORT = Path(__file__).parent / "harbour-report.pdf"
QUESTION = "What does one night in July cost for a boat of 14 metres?"

nodes = [NodeWithScore(node=node) for node in to_nodes(read_pages(REPORT))]  # stands for your own retriever
postprocessor = MMR5Postprocessor.from_pretrained("mini", engine=sys.argv[1] if len(sys.argv) > 1 else "transformers", top_n=3)
for item in postprocessor.postprocess_nodes(nodes, query_str=QUESTION):
    found = item.node.metadata
    print(f"p. {found['page']:<3} {item.score:7.3f}  {(found['mmr5_reason'] or found['mmr5_evidence'])[:70]}")
