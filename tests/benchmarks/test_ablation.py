import pytest


@pytest.fixture(scope="module")
def ablation(load_benchmark):
    return load_benchmark("ablation")


def test_each_way_answers_the_same_questions(ablation, capsys):
    ablation.main(["13m", "--method", "logits", "--dtype", "float32", "--pages", "2", "--page-tokens", "16", "--rounds", "1"])
    lines = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in capsys.readouterr().out.splitlines()]
    ways = ["shipped", "caches off", "library's own path"]
    assert [(line[2], line[3]) for line in lines] == [(regime, way) for regime in ("first", "again") for way in ways]
    assert all(float(line[4]) >= 0 for line in lines)
    assert {line[5] for line in lines if line[3] == "shipped"} == {"1.00 (1.00-1.00)"}


def test_the_ways_agree_and_only_the_shipped_one_keeps_pages(ablation):
    bench = ablation.Bench(ablation.parse(["13m", "--dtype", "float32", "--pages", "2", "--page-tokens", "16"]))
    first, again = (bench.candidates(1, i) for i in range(2))
    assert [p.image.key for p in first.pages] == [p.image.key for p in again.pages]
    assert first.query != again.query
    scores = []
    for make in bench.ways().values():
        engine = make()
        rankings = [ablation.method("logits")(engine, [c], bench.settings)[0] for c in (first, again)]
        scores.append([s for r in rankings for s in r.scores])
        seen = getattr(getattr(engine._reader, "pages", None), "seen", None)
        assert seen in ({2} if make == bench._engine else {4, None})
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert scores[2] == pytest.approx(scores[0], abs=1e-4)
