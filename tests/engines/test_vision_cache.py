import pytest
import torch

from mmr5 import prompt
from mmr5.cache import Cache
from mmr5.engines.base import Request
from mmr5.engines.loading import load_model
from mmr5.engines.transformers import TransformersEngine
from mmr5.engines.vision import Features, LeanTower, Patches, Tower, positions
from mmr5.engines.vision_cache import PageFeatures, pack, unpack
from support.tiny import Picture

SIZES = [(84, 112), (30, 200), (500, 333), (56, 56), (333, 500)]
BUDGET = 100_000


@pytest.fixture(scope="module")
def loaded(tiny_vision):
    return load_model(str(tiny_vision), device=torch.device("cpu"), dtype=torch.float32, attention="auto")


@pytest.mark.parametrize("size", SIZES)
def test_patches_are_those_of_the_models_own_processor(loaded, size):
    image = Picture("p", size, mark="red", color="yellow").load()
    theirs = loaded[1].image_processor(images=[image], return_tensors="pt")
    ours, grid = Patches(loaded[1].image_processor, BUDGET)(image)
    assert theirs["image_grid_thw"].tolist() == [[1, *grid]]
    both_frames = theirs["pixel_values"].view(len(ours), 3, 2, -1)
    assert torch.equal(both_frames[:, :, 0], both_frames[:, :, 1])
    assert torch.allclose(ours.view(len(ours), 3, -1), both_frames[:, :, 0], atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_lean_tower_sees_what_the_models_own_tower_sees(loaded, size):
    patches = Patches(loaded[1].image_processor, BUDGET)
    source = Picture("p", size, mark="red", color="yellow")
    with torch.inference_mode():
        ours, theirs = (kind(loaded[0], patches) for kind in (LeanTower, Tower))
        ours, theirs = (tower.see(tower.prepare(source)) for tower in (ours, theirs))
    assert ours.grid == theirs.grid
    assert len(ours) == ours.grid[0] * ours.grid[1]
    assert torch.allclose(ours.states, theirs.states, atol=1e-4)
    assert theirs.states.std() > 0.01


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
