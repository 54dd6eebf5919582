import pytest
import torch

from mmr5 import prompt
from mmr5.engines.loading import load_model
from mmr5.engines.protocol import Request
from mmr5.engines.runtime.vision import Features, PageFeatures, Tower, pack, positions, unpack
from mmr5.engines.transformers import TransformersEngine
from mmr5.storage.cache import Cache
from support.tiny import Picture

SIZES = [(84, 112), (30, 200), (500, 333), (56, 56), (333, 500)]
BUDGET = 100_000


@pytest.fixture(scope="module")
def loaded(tiny_vision):
    return load_model(str(tiny_vision), device=torch.device("cpu"), dtype=torch.float32, attention="auto")


def test_pages_seen_one_by_one_are_those_seen_together(loaded):
    model, processor = loaded[0], loaded[1].image_processor
    sources = [Picture("p", size, mark="red", color="yellow") for size in SIZES]
    together = processor(images=[s.load() for s in sources], return_tensors="pt")
    tower = Tower(model, processor, BUDGET)
    with torch.inference_mode():
        theirs = model.get_image_features(**together).pooler_output
        ours = [tower.see(tower.prepare(source)) for source in sources]
    assert [(1, 2 * rows, 2 * columns) for rows, columns in (o.grid for o in ours)] == [
        tuple(grid) for grid in together["image_grid_thw"].tolist()
    ]
    for alone, expected in zip(ours, theirs, strict=True):
        assert len(alone) == alone.grid[0] * alone.grid[1]
        assert torch.allclose(alone.states, expected, atol=1e-4)
        assert expected.std() > 0.01


def test_what_features_depend_on_is_told(loaded):
    model, processor = loaded[0], loaded[1].image_processor
    same, other = (Tower(model, processor, budget).settings for budget in (BUDGET, BUDGET + 1))
    assert same != other
    processor.image_mean, kept = [0.5, 0.5, 0.5], processor.image_mean
    assert Tower(model, processor, BUDGET).settings != same
    processor.image_mean = kept
    assert Tower(model, processor, BUDGET).settings == same


def test_positions_are_those_of_the_model(loaded):
    model = loaded[0].model
    image = loaded[0].config.image_token_id
    grids = [(2, 3), (4, 1), (1, 1)]
    ids = [1, 2, 3, *[image] * 6, 4, *[image] * 4, 5, 6, image, 7]
    ours, after = positions(ids, image, grids)
    thw = torch.tensor([[1, 2 * h, 2 * w] for h, w in grids])
    theirs, _ = model.get_rope_index(
        torch.tensor([ids]), image_grid_thw=thw, mm_token_type_ids=torch.tensor([[int(i == image) for i in ids]])
    )
    assert torch.equal(ours, theirs[:, 0])
    assert after == int(ours.max()) + 1


class Counting(Tower):
    def __init__(self):
        self.device, self.calls = torch.device("cpu"), []

    def prepare(self, source):
        return source.key

    def see(self, prepared):
        self.calls.append(prepared)
        return Features(torch.full((4, 2), float(len(self.calls))), (2, 2))


def test_a_page_is_seen_once_while_there_is_room():
    pages = PageFeatures(Counting(), max_bytes=64, identity="i")
    a, b, c = Picture("a"), Picture("b"), Picture("c")
    first = pages.get([a, b, a])
    assert torch.equal(first[0].states, first[2].states)
    assert pages._tower.calls == ["a", "b"]
    pages.get([c, a])  # room for two: b, which was asked for least lately, goes
    assert pages._tower.calls == ["a", "b", "c"]
    pages.get([a, b])
    assert pages._tower.calls == ["a", "b", "c", "b"]
    assert pages.memory.size == 64
    assert pages.tokens(a) == 4
    assert pages.tokens(c) is None


def test_features_are_kept_on_disk_for_the_same_checkpoint_alone(tmp_path):
    store = Cache(tmp_path)
    one = PageFeatures(Counting(), max_bytes=0, identity="model 1", store=store)
    seen = one.get([Picture("a")])[0]
    again = PageFeatures(Counting(), max_bytes=0, identity="model 1", store=Cache(tmp_path))
    found = again.get([Picture("a")])[0]
    assert torch.equal(found.states, seen.states)
    assert found.grid == seen.grid
    assert again.seen == 0
    other = PageFeatures(Counting(), max_bytes=0, identity="model 2", store=store)
    other.get([Picture("a")])
    assert other.seen == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_features_survive_bytes_to_the_last_bit(dtype):
    given = Features(torch.randn(6, 5).to(dtype), (2, 3))
    found = unpack(pack(given), torch.device("cpu"))
    assert torch.equal(found.states, given.states)
    assert found.states.dtype == dtype
    assert found.grid == (2, 3)


def ask(keys, query="q"):
    pictures = [Picture(k, (84 + 28 * (len(k) % 3), 112), mark=("red", "blue")[len(k) % 2]) for k in keys]
    return Request(prompt.listwise(query, view="image", think=False, images=pictures), "<answer>[")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cached_and_fresh_pages_give_the_same_scores_to_the_last_bit(tiny_vision, dtype):
    options = {"dtype": dtype, "device": "cpu"}
    choices = [["1,", "2,"]]
    cached = TransformersEngine.from_pretrained(str(tiny_vision), **options)
    cached._reader.prefixes.capacity = 0
    cached.score_choices([ask(["bb", "a"], "other"), ask(["ccc", "a"])], choices * 2)
    seen = cached._reader.pages.seen
    found = cached.score_choices([ask(["a", "bb"])], choices)
    assert cached._reader.pages.seen == seen == 3
    fresh = TransformersEngine.from_pretrained(str(tiny_vision), keep_bytes=0, **options)
    assert found == fresh.score_choices([ask(["a", "bb"])], choices)
    assert fresh._reader.pages.seen == 2


def test_an_engine_keeps_features_on_disk_where_it_is_told_to(tiny_vision, tmp_path):
    options = {"dtype": "float32", "device": "cpu", "store": Cache(tmp_path)}
    first = TransformersEngine.from_pretrained(str(tiny_vision), **options)
    expected = first.score_choices([ask(["a", "bb"])], [["1,", "2,"]])
    second = TransformersEngine.from_pretrained(str(tiny_vision), **options)
    assert second.score_choices([ask(["a", "bb"])], [["1,", "2,"]]) == expected
    assert (first._reader.pages.seen, second._reader.pages.seen) == (2, 0)
    smaller = TransformersEngine.from_pretrained(str(tiny_vision), max_pixels=3000, **options)
    smaller.score_choices([ask(["a", "bb"])], [["1,", "2,"]])
    assert smaller._reader.pages.seen == 2
