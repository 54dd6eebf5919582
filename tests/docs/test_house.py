"""docs/house.md is a true map: what it names exists, every room is on it, and its layers are those that the gate checks."""

import re
import tomllib

from docs.blocks import ROOT

HOUSE = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "mmr5"
UNNAMED = {"__init__.py", "py.typed", "__pycache__"}


def named():
    """Files and folders on the map; a folder ends with a slash."""
    tree = HOUSE.split("```")[1]
    found = []
    for line in tree.splitlines():
        match = re.match(r"[├└]── (.*)", line)
        if match:
            names = re.split(r"\s{2,}(?=\S)", match[1].strip())
            for part in names:
                words = part.split()
                if all(re.fullmatch(r"[\w.]+(\.py|/)", word) for word in words):
                    found += words
                else:
                    break
    return found


def test_what_the_map_names_exists():
    assert len(named()) > 15
    missing = [
        name
        for name in named()
        if not (PACKAGE / name.rstrip("/")).exists() or name.endswith("/") != (PACKAGE / name.rstrip("/")).is_dir()
    ]
    assert missing == [], f"docs/house.md names what is not in src/mmr5: {missing}"


def test_every_room_is_on_the_map():
    there = {path.name + "/" * path.is_dir() for path in PACKAGE.iterdir()} - UNNAMED - {"__pycache__/"}
    unmapped = sorted(there - set(named()))
    assert unmapped == [], f"docs/house.md does not name {unmapped}"


def test_its_layers_are_those_that_the_gate_checks():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    level = {}
    for depth, layer in enumerate(contract["layers"]):
        for name in re.split(r"[|:]", layer):
            level[name.strip().removeprefix("mmr5.")] = depth
    text = next(part for part in HOUSE.split("```")[1::2] if "cli >" in part)
    chain = [
        [name.strip() for name in re.split(r"[|:]", layer)] for layer in text.split("\n\n")[0].split("render:")[0].split(">")
    ]
    drawn = [name for layer in chain for name in layer]
    tops = {name.split(".")[0] for name in level}
    assert {name.split(".")[0] for name in drawn} == tops, "docs/house.md draws other rooms than pyproject.toml's layers"

    def depths(name):
        return [
            d
            for key, d in level.items()
            if key == name or ("." not in name and key.startswith(name + ".") and key != "engines.protocol")
        ]

    for above, below in zip(chain, chain[1:], strict=False):
        assert max(d for n in above for d in depths(n)) < max(d for n in below for d in depths(n)), (
            f"{above} > {below} is not the gate's order"
        )
