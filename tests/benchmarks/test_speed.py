import json

import pytest

from mmr5.methods import MethodSettings, method

SMALL = ["--pages", "2", "--tokens", "4", "--batch", "2", "--released", "1", "--singles", "1", "--rounds", "1", "--threads", "1"]


@pytest.fixture(scope="module")
def speed(load_benchmark):
    return load_benchmark("speed")


def test_both_sides_are_timed_in_both_regimes(speed, capsys):
    speed.main([*SMALL, "--page-tokens", "16", "--methods", "reason", "logits", "--clock", "cpu", "--json"])
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert {regime: set(ratios) for regime, ratios in found.items()} == {r: {"reason", "logits"} for r in ("cold", "reused")}
    assert all(ratio > 0 for ratios in found.values() for ratio in ratios.values())
    assert "13.0 M random parameters" in captured.err
    assert captured.err.count("| released |") == 2
    assert "roofline" in captured.err


def test_the_forced_length_is_written_and_pages_are_new_or_the_same(speed):
    bench = speed.Bench(speed.parse([*SMALL, "--page-tokens", "16", "--dtype", "float32"]))
    assert sum(p.numel() for p in bench.model.parameters()) >= 10_000_000
    engine = bench.engine()
    cold = bench.fresh(2)
    keys = {p.image.key for c in cold for p in c.pages}
    assert len(keys) == 4
    assert bench.ours(engine, "reason", cold)[1] == 4
    assert engine._reader.pages.seen == 4
    again = bench.again(2)
    same = {p.image.key for c in again for p in c.pages}
    assert len(same) == 2
    assert again[0].query != again[1].query
    bench.ours(engine, "logits", again)
    assert engine._reader.pages.seen == len(keys | same)


def test_both_sides_write_the_same_tokens(speed):
    bench = speed.Bench(speed.parse([*SMALL, "--page-tokens", "16", "--dtype", "float32"]))
    written, inner = [], bench.model.generate

    def generate(**options):
        out = inner(**options)
        written.append(out[0, options["input_ids"].shape[1] :])
        return out

    bench.model.generate = generate
    candidates = bench.fresh(1)[0]
    bench.released(candidates)
    engine = bench.engine()
    ranking = method("reason")(engine, [candidates], MethodSettings(view="image", max_new_tokens=4, notes=0))[0]
    assert ranking.reply == engine._tokenizer.decode(written[0], skip_special_tokens=True)


def test_our_side_reads_a_share_of_the_visual_tokens_where_told_to(speed):
    bench = speed.Bench(speed.parse([*SMALL, "--page-tokens", "16", "--dtype", "float32", "--keep", "0.5"]))
    engine = bench.engine()
    candidates = bench.fresh(1)
    bench.ours(engine, "logits", candidates)
    tokens = [engine._reader.pages.tokens(p.image) for p in candidates[0].pages]
    kept = [len(places) for places, _ in engine._reader.pruner.remembered._held.values()]
    assert kept == [(n + 1) // 2 for n in tokens]
