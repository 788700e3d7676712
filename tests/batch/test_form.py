"""The form of a grid's file, key by key: what it may hold, how much of it, and what is said."""

import pytest
from toy_batch import write

from ltcl_helpers.batch import form, grid
from ltcl_helpers.errors import ConfigError


def said_of(text, tmp_path):
    path = tmp_path / "g.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        form.load(path)
    return str(caught.value).removeprefix(f"{path}")


WORDS = {
    "": " holds no `key: value` lines; docs/batch.md shows a grid",
    "rows: {a: {}, b: {}, a: {}, b: {}}": " is not YAML: a, b twice in the block of line 1",
    "x:\n  a: 1\n  a: 2": " is not YAML: a twice in the block of line 2",
    "x:\n  ? [a]\n  : 1": " is not YAML: a key of the block of line 2 is a list",
    "rowz: {}\nx: 1": ": rowz is no key of a grid; the keys are title, note, base, cross, rows, "
    "folder, skip, compare, probe, lists, mirrored_pairs, record; x is no key of a grid; the keys "
    "are title, note, base, cross, rows, folder, skip, compare, probe, lists, mirrored_pairs, "
    "record",
    "base: {lr: {a: 1}}": ": base: lr is {'a': 1}; it must be text, a number, true, false, or a "
    "list of these",
    "base: {lr: [[1]]}": ": base: lr is [[1]]; it must be text, a number, true, false, or a list "
    "of these",
    "cross: {seed: {}}": ": cross: seed is {}; it must hold a list",
    "cross: {seed: a}": ": cross: seed is 'a'; it must hold a list",
    "cross: {n: [{a: 1}]}": ": cross: n is [{'a': 1}]; a list there holds lists; name each, e.g. "
    "{first: [1]}",
    "cross: {n: {a: {1: 2}}}": ": cross: n is {'a': {1: 2}}; a name must stand for parameters by "
    "their names",
    "cross: {n: {a: {lr: {b: 1}}}}": ": cross: n is {'a': {'lr': {'b': 1}}}; it must be text, a "
    "number, true, false, or a list of these",
    "cross: {n: [1, '1']}": ": cross: n is [1, '1']; a value is there twice",
    "cross: {n: [2024-01-01]}": ": cross: n is [datetime.date(2024, 1, 1)]; it must be text, a "
    "number, true, false, or a list of these",
    "rows: {a: 1}": ": rows: a is 1; it must hold parameters, {} for none",
    "folder: a//b": ": folder is 'a//b'; it must name a folder of the study, or ../STUDY/NAME",
    "folder: ../a/..": ": folder is '../a/..'; it must name a folder of the study, or "
    "../STUDY/NAME",
    "folder: 'a/ '": ": folder is 'a/ '; it must name a folder of the study, or ../STUDY/NAME",
    'folder: "a\\0"': ": folder is 'a\\x00'; it must name a folder of the study, or "
    "../STUDY/NAME",
    "folder: 3": ": folder is 3; input should be a valid string",
    "rows: {a: {folder: ..}}": ": rows: a: folder is '..'; it must name a folder of the study, or "
    "../STUDY/NAME",
    "title: ''": ": title is ''; string should have at least 1 character",
    f"title: {201 * 'a'}": f": title is '{79 * 'a'}; string should have at most 200 characters",
    f"note: {10_001 * 'a'}": f": note is '{79 * 'a'}; string should have at most 10000 characters",
    "skip: ['']": ": skip: 0 is ''; string should have at least 1 character",
    "compare: [[a]]": ": compare: 0 is ['a']; list should have at least 2 items after validation, "
    "not 1",
    "compare: [[a, b, c]]": ": compare: 0 is ['a', 'b', 'c']; list should have at most 2 items "
    "after validation, not 3",
    "record: 1\nmirrored_pairs: x": ": mirrored_pairs is 'x'; input should be a valid boolean; "
    "record is 1; input should be a valid boolean",
    "probe: {shots: {a: 1}}": ": probe: shots is {'a': 1}; it must be text, a number, true, false, "
    "or a list of these",
    "rows: {a: {lr: {b: 1}}}": ": rows: a: lr is {'b': 1}; it must be text, a number, true, false, "
    "or a list of these",
    b"title: \xff": " is no text (invalid start byte); name a grid",
}  # fmt: skip


@pytest.mark.parametrize("text", WORDS, ids=lambda text: str(text)[:40])
def test_what_is_wrong_with_a_file_is_said_whole(text, tmp_path):
    assert said_of(text, tmp_path) == WORDS[text]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        form.load(tmp_path / "g.yaml")
    said = f"{tmp_path}/g.yaml is not readable (No such file or directory); name a grid"
    assert str(caught.value) == said


def test_a_file_may_hold_what_docs_say(tmp_path):
    text = "title: {}\nnote: {}\nfolder: ../other/{{row}}\nskip: [{}]\ncompare: [[a, b]]\n".format(
        200 * "t", 10_000 * "n", "s"
    )
    text += "rows: {a: {label: A, folder: x/y, lr: [1, 2.5, true, null, b], probe: {shots: 5}}}\n"
    text += "cross: {seed: [0, 1], n: {one: [1, 2], two: {lr: 1}}}\nprobe: {lists: null}"
    path = tmp_path / "g.yaml"
    path.write_text(text)
    found = form.load(path)
    assert list(found) == ["title", "note", "folder", "skip", "compare", "rows", "cross", "probe"]
    assert found["rows"]["a"]["lr"] == [1, 2.5, True, None, "b"]


def test_a_file_has_a_largest_size(tmp_path, monkeypatch):
    assert (form.MOST_BYTES, form.MOST_PARTS, form.MOST_CELLS) == (1_000_000, 50_000, 10_000)
    monkeypatch.setattr(form, "MOST_BYTES", 20)
    path = tmp_path / "g.yaml"
    path.write_text("rows: {}".ljust(20))
    assert form.load(path) == {"rows": {}}
    said = " has 21 bytes; a grid has at most 20"
    assert said_of("rows: {}".ljust(21), tmp_path) == said


def test_values_are_counted_as_often_as_they_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(form, "MOST_PARTS", 6)
    for content, large in (
        ({"a": [1, 2, 3]}, False), ({"a": [1, 2, 3, 4]}, True), ({"a": {"b": 1}}, False),
        ({"a": {"b": {"c": 1}}}, True), ({"a": {"b": 1, "c": 2}}, True), ({"a": (1, 2, 3)}, False),
        ({"a": {1, 2, 3, 4}}, True), ([[[[[]]]]], False), ([[[[[[[]]]]]]], True),
        (list(range(9)), True),
    ):  # fmt: skip
        assert form._is_too_large(content) == large, content
    said = " holds more than 6 values, aliases counted"
    assert said_of("base: {a: [1, 2, 3, 4]}", tmp_path) == said


# --- what a grid makes of it --------------------------------------------------------------------


def refused(tmp_path, settings=None, **changes):
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        grid.read(path, settings)
    return str(caught.value).removeprefix(f"{path}: ")


def test_what_is_wrong_with_a_grid_is_said_whole(tmp_path):
    two = {"a": {}, "b": {}}
    for changes, says in (
        ({"rows": {}}, "rows is missing; name one row or more, each with its parameters"),
        ({"rows": two, "compare": [["a", "c"]]},
         "compare has ['a', 'c']; a pair is [row, row], of a, b"),
        ({"cross": {"seed": [0], "n": [1]}},
         "cross: n is no parameter, and {n} is used nowhere"),
        ({"rows": {str(k): {} for k in range(101)}, "cross": {"seed": list(range(100))}},
         "it has 10,100 cells; allowed are 10,000"),
        ({"cross": {}, "mirrored_pairs": True},
         "mirrored_pairs needs seeds; give cross: seed: [0, 1]"),
        ({"mirrored_pairs": True, "cross": {"seed": [0.5]}},
         "simclr {'seed': 0.5}: mirrored_pairs needs whole numbers as seeds; seed is 0.5"),
        ({"mirrored_pairs": True, "cross": {"seed": [True]}},
         "simclr {'seed': True}: mirrored_pairs needs whole numbers as seeds; seed is True"),
        ({"rows": two, "folder": "x"}, "several cells have the folder x; change `folder`"),
        ({"rows": two, "folder": "{seed}", "cross": {"seed": [0, 1]}},
         "several cells have the folder 0 (and 1 more); change `folder`"),
        ({"skip": ["s*"]}, "no cell is left; lessen `skip`"),
        ({"cross": {}, "rows": {"a": {"lr": -1}}}, "a: lr is -1: input should be greater than 0"),
        ({"folder": "{nmber}"},
         "simclr {'seed': 0}: {nmber} is unknown; allowed are seed, row, lists"),
        ({"probe": {"shotz": 1, "list": 2}},
         "list, shotz is unknown; allowed are shots, protocol, features, lists"),
    ):  # fmt: skip
        assert says in refused(tmp_path, **changes), changes


def test_so_many_cells_are_allowed_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "MOST_CELLS", 4)
    rows = {"a": {}, "b": {}}
    assert len(grid.read(write(tmp_path, rows=rows, cross={"seed": [0, 1]})).cells) == 4
    said = "it has 6 cells; allowed are 4"
    assert refused(tmp_path, rows=rows, cross={"seed": [0, 1, 2]}) == said


def test_a_grid_tells_what_stands_in_its_file(tmp_path):
    path = write(tmp_path, title="T", note="N", record=True, compare=[["b", "a"]],
                 rows={"a": {}, "b": {"label": "B"}}, probe={"shots": ["full", 5]})  # fmt: skip
    found = grid.read(path)
    assert (found.path, found.title, found.note, found.record) == (path, "T", "N", True)
    assert (found.labels, found.pairs) == ({"a": "SimCLR", "b": "B"}, [("b", "a")])
    assert found.axes == {"seed": [0]} and found.study == "toy"
    usual = {"shots": "full,5", "protocol": "bcl", "features": "encoder", "lists": None}
    assert found.probe == usual == found.cells[0].probe
    plain = grid.read(write(tmp_path))
    assert (plain.title, plain.note, plain.record, plain.pairs) == ("toy", "", False, [])


def test_settings_replace_a_list_by_one_of_its_values(tmp_path):
    cross = {"seed": [0, 1], "size": {"few": {"largest_class": 20}, "many": {"largest_class": 30}}}
    path = write(tmp_path, cross=cross)
    for settings, names in (
        ({"seed": "1"}, ["simclr-1-few", "simclr-1-many"]), ({"seed": 7, "size": "few"},
         ["simclr-7-few"]), ({"size": {"largest_class": 30}, "seed": 0}, ["simclr-0-many"]),
    ):  # fmt: skip
        assert [one.name for one in grid.read(path, settings).cells] == names
    [one] = grid.read(path, {"seed": 1, "size": "few", "temperature": 0.5}).cells
    assert (one.config.seed, one.config.largest_class, one.config.temperature) == (1, 20, 0.5)
    assert one.given["temperature"] == 0.5 and one.axes == {"seed": 1, "size": "few"}


def test_a_placeholder_is_filled_in_where_it_stands(tmp_path):
    rows = {"a": {"split": "{lists}/{row}{number}.npy", "probe": {"lists": "{lists}/{number}"}}}
    path = write(tmp_path, rows=rows, cross={"number": [1, 2]})
    first, second = grid.read(path).cells
    assert first.config.split == "data/splits/a1.npy" and second.name == "a-2"
    assert second.probe["lists"] == "data/splits/2"
    assert (
        grid.read(write(tmp_path, rows=rows, cross={"number": [1]}, lists="L"))
        .cells[0]
        .probe["lists"]
        == "L/1"
    )
