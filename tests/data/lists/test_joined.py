"""Data sets that are joined by the names of their classes."""

import os
import shutil

import pytest

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.columns import VideoColumns, as_columns
from uniformer_video.data.lists.joined import concatenate, same_files, without_shared
from uniformer_video.data.lists.records import VideoList, VideoRecord
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.runs.build_clips import build_train_loader
from uniformer_video.runs.build_data import build_data


@pytest.fixture
def sets(tmp_path, place):
    """A function: folders of lists with these texts, `{folder: {list: text}}`, and files for videos."""

    def make(**folders):
        for folder, lists in folders.items():
            for name, text in lists.items():
                place({f"{folder}/{name}": text})
                for line in text.splitlines() if name.endswith(".csv") else ():
                    video = tmp_path / folder / line.partition(",")[0]
                    if video.suffix == ".mp4" and not video.exists():
                        video.write_bytes(f"{folder}/{video.name}".encode() * len(video.name))
        return [str(tmp_path / folder) for folder in folders]

    return make


@pytest.fixture
def read(monkeypatch):
    """A function: the data of these folders and settings; nothing is decoded."""
    monkeypatch.setattr("uniformer_video.runs.build_data.try_decoder", lambda *_: None)

    def build(places, *words, **settings):
        values = {"DATA.PATH_TO_DATA_DIR": places, "TEST.ENABLE": False}
        values |= {key.replace("__", "."): value for key, value in settings.items()}
        return build_data(load_config(None, words, **values))

    return build


A = {"train.csv": "a1.mp4,run\na2.mp4,walk\n", "val.csv": "a3.mp4,run\n"}
B = {"train.csv": "b1.mp4,jump\nb22.mp4,walk\n", "val.csv": "b3.mp4,walk\n"}


def test_classes_are_one_by_name_and_the_sets_are_counted(sets, read, tmp_path):
    a, b = places = sets(A=A, B=B)
    data = read(places, DATA__JOIN_WEIGHTS=[1, 0.5])
    assert data.class_names == ["run", "walk", "jump"]
    assert [(r.name, r.label, r.weight) for r in data.train] == [
        ("a1.mp4", 0, 1.0),
        ("a2.mp4", 1, 1.0),
        ("b1.mp4", 2, 0.5),
        ("b22.mp4", 1, 0.5),
    ]
    assert [(r.name, r.label, r.weight) for r in data.val] == [
        ("a3.mp4", 0, 1.0),
        ("b3.mp4", 1, 1.0),
    ]
    notes = "\n".join(data.notes)
    assert (
        f"The joined data sets differ in their classes: 3 in all, 1 of them in every set; only {a} has run; "
        f"only {b} has jump." in notes
    )
    assert (
        f"The train list joins {a}: 2 videos of 2 classes, 66.7% (weight 1); {b}: 2 videos of 2 classes, "
        "33.3% (weight 0.5)." in notes
    )
    assert (
        f"The val list joins {a}: 1 video of 1 class, 50.0%; {b}: 1 video of 1 class, 50.0%."
        in notes
    )
    assert [r.name for r in read([b, a]).train][:2] == ["b1.mp4", "b22.mp4"]


def test_the_weights_reach_the_epoch(sets, read):
    data = read(sets(A=A, B=B), DATA__JOIN_WEIGHTS=[3, 1])
    cfg = load_config(None, **{"TRAIN.BATCH_SIZE": 1, "DATA_LOADER.NUM_WORKERS": 0})
    plan = build_train_loader(cfg, data, Ranks(0, 1, "cpu")).plan
    drawn = [int(i) for epoch in range(200) for i in plan.order(epoch)]
    assert sum(i < 2 for i in drawn) / len(drawn) == pytest.approx(0.75, abs=0.02)


def test_a_class_that_is_never_drawn_is_told(sets, read):
    notes = read(sets(A=A, B=B), DATA__JOIN_WEIGHTS=[1, 0]).notes
    assert (
        "1 class of which all train videos have the weight 0, so that training never sees them: jump."
        in notes
    )


def test_the_setting_is_a_text_or_a_list(sets, read):
    places = sets(A=A, B=B)
    for words in (f"[{places[0]}, {places[1]}]", f" ['{places[0]}', \"{places[1]}\"]"):
        cfg = load_config(overrides=["DATA.PATH_TO_DATA_DIR", words])
        assert places == cfg.DATA.PATH_TO_DATA_DIR
    assert load_config(overrides=["DATA.PATH_TO_DATA_DIR", "[x]"]).DATA.PATH_TO_DATA_DIR == "x"
    assert load_config(overrides=["DATA.PATH_TO_DATA_DIR", "a,b"]).DATA.PATH_TO_DATA_DIR == "a,b"
    for wrong in ("[a, [b]]", "[a, 3]", "[a, '']"):
        with pytest.raises(ConfigError, match=r"PATH_TO_DATA_DIR is .*a folder, or a list of them"):
            load_config(overrides=["DATA.PATH_TO_DATA_DIR", wrong])
    with pytest.raises(ConfigError, match="names a twice"):
        load_config(overrides=["DATA.PATH_TO_DATA_DIR", "[a, b, a]"])
    with pytest.raises(ConfigError, match=r"\[1.0\] holds 1 weights and .* 2 folders"):
        load_config(overrides=["DATA.PATH_TO_DATA_DIR", "[a, b]", "DATA.JOIN_WEIGHTS", "[1]"])
    with pytest.raises(DataError, match="all weights of the training list are 0"):
        read(places, DATA__JOIN_WEIGHTS=[0, 0])


def test_bare_numbers_are_no_classes_to_join_by(sets, read, place):
    places = sets(A={"train.csv": "a.mp4,0\nb.mp4,1\n", "val.csv": "c.mp4,1\n"}, B=B)
    with pytest.raises(
        DataError, match=r"by the names of their classes, and \S*A has bare numbers"
    ):
        read(places)
    place({"A/classes.txt": "walk\nrun\n"})
    assert read(places).class_names == ["walk", "run", "jump"]


@pytest.mark.parametrize("names", ["run\nwalk\n", "walk\nrun\n"])
@pytest.mark.parametrize("label", [2, -1])
def test_a_label_that_its_own_set_does_not_name_is_none_of_another_set(sets, read, names, label):
    """The third class of all is one that this set does not know."""
    own = {
        "classes.txt": names,
        "train.csv": f"a1.mp4,0\na2.mp4,{label}\n",
        "val.csv": "a3.mp4,1\n",
    }
    places = sets(B=B, A=own)
    with pytest.raises(
        DataError,
        match=rf"A/train.csv:2: label {label} of a2.mp4 is outside 0..1; .* its 2 class names",
    ):
        read(places)


def test_a_video_of_two_sets_counts_once_and_links_and_copies_are_the_same(sets, read, tmp_path):
    again = {"train.csv": "copy.mp4,run\nlink.mp4,walk\nb1.mp4,jump\n", "val.csv": "b3.mp4,walk\n"}
    places = sets(A=A, B=again)
    (tmp_path / "B" / "copy.mp4").unlink()
    shutil.copy(tmp_path / "A" / "a1.mp4", tmp_path / "B" / "copy.mp4")
    (tmp_path / "B" / "link.mp4").unlink()
    (tmp_path / "B" / "link.mp4").symlink_to(tmp_path / "A" / "a2.mp4")
    data = read(places)
    assert [r.name for r in data.train] == ["a1.mp4", "a2.mp4", "b1.mp4"]
    assert (
        "2 videos of the joined train lists stand there twice and count once: copy.mp4, link.mp4."
        in data.notes
    )
    (tmp_path / "B" / "b3.mp4").write_bytes((tmp_path / "A" / "a1.mp4").read_bytes())
    (tmp_path / "B" / "val.csv").write_text("b3.mp4,run\n")
    assert "1 of 2 val videos are train videos too." in read(places).notes
    (tmp_path / "B" / "train.csv").write_text("copy.mp4,walk\n")
    with pytest.raises(
        DataError, match=r"copy\.mp4 is 'walk', and the same video, a1\.mp4 in .* is 'run'"
    ):
        read(places)


def test_classes_that_differ_in_spelling_alone_are_asked_about(sets, read):
    other = {"train.csv": "b1.mp4,Run\nb22.mp4,walk\n", "val.csv": "b3.mp4,walk\n"}
    assert "'run' and 'Run' count as two classes; are they one?" in read(sets(A=A, B=other)).notes


def test_a_set_may_lack_a_list_that_another_one_has(sets, read):
    a, b = places = sets(A=A, B={"train.csv": B["train.csv"]})
    data = read(places)
    assert len(data.train) == 4 and len(data.val) == 1
    assert f"{b} has no val list." in data.notes
    assert "has no test list" not in "".join(data.notes)  # neither of them has one
    with pytest.raises(DataError, match=r"no val\.csv in \S*B"):
        read([b, *sets(C={"train.csv": "c1.mp4,run\n"})])
    with pytest.raises(DataError, match="there is no folder nowhere"):
        read([a, "nowhere"])


@pytest.mark.parametrize("seed", range(3))
def test_joined_folders_are_split_together(read, place, tmp_path, seed):
    for i in range(8):
        place({f"A/run/p{i}_a.mp4": f"a{i}", f"A/walk/p{i}_b.mp4": f"b{i}"})
        place({f"B/walk/p{i}_c.mp4": f"c{i}", f"B/jump/p{i}_d.mp4": f"d{i}"})
        place({f"B/walk/p{i}_e.mp4": f"b{i}"})  # as in A
    chosen = {"TRAIN__DATASET": "folder", "DATA__GROUP_PATTERN": r"(p\d)_", "RNG_SEED": seed}
    places = [str(tmp_path / "A"), str(tmp_path / "B")]
    data = read(places, **chosen, DATA__VAL_RATIO=0.25)
    assert len(data.train) == 24 and len(data.val) == 8
    assert not {r.group for r in data.train} & {r.group for r in data.val}
    assert "8 of 32 videos in" in "".join(data.notes) and "has no val" not in "".join(data.notes)
    tested = read(places, **chosen, DATA__VAL_RATIO=0.25, TRAIN__ENABLE=False, TEST__ENABLE=True)
    assert [r.path for r in tested.test] == [r.path for r in data.val]
    place({"C/train/run/x.mp4": "x", "C/train/walk/y.mp4": "y", "C/val/run/z.mp4": "z"})
    mixed = read([*places, str(tmp_path / "C")], **{**chosen, "DATA__GROUP_PATTERN": ""})
    assert "z.mp4" in {r.name[-5:] for r in mixed.val} and {"x.mp4", "y.mp4"} <= {
        r.name[-5:] for r in mixed.train
    }
    paths = [{r.path for r in part} for part in (mixed.train, mixed.val)]
    assert not paths[0] & paths[1] and len(paths[0] | paths[1]) == 35


def test_folds_of_joined_sets_keep_copies_together(sets, read, tmp_path):
    lines = "".join(f"v{i:02d}.mp4,{'run' if i % 2 else 'walk'}\n" for i in range(10))
    places = sets(A={"train.csv": lines}, B={"train.csv": lines.replace("v", "w")})
    for i in range(4):
        shutil.copy(tmp_path / "A" / f"v{i:02d}.mp4", tmp_path / "B" / f"w{i:02d}.mp4")
    tested = []
    for fold in range(4):
        data = read(places, TEST__ENABLE=True, DATA__FOLDS=4, DATA__FOLD=fold)
        names = [{r.path for r in part} for part in (data.train, data.val, data.test)]
        assert not names[2] & (names[0] | names[1]) and not names[0] & names[1]
        tested += [r.path for r in data.test]
    assert len(tested) == len(set(tested)) == 16


def test_lists_are_joined_as_columns_and_a_group_is_that_of_all_copies():
    def listed(**groups):
        records = [VideoRecord(f"/{name}.mp4", name, (0,), group=g) for name, g in groups.items()]
        return VideoList(as_columns(records), ["run"])

    lists = {"A": listed(v="", w="one", x=""), "B": listed(v="two", w="", y="", z="three")}
    kept, notes = without_shared(lists, "the lists")
    found = {owner: [(r.name, r.group) for r in one.records] for owner, one in kept.items()}
    assert found == {
        "A": [("v", "two"), ("w", "one"), ("x", "")],
        "B": [("y", ""), ("z", "three")],
    }
    assert notes == ["2 videos of the lists stand there twice and count once: v, w."]
    joined = concatenate(kept).records
    assert isinstance(joined, VideoColumns) and [r.name for r in joined] == [*"vwxyz"]
    assert len(joined.path.data) < 2 * sum(len(one.records.path.data) for one in lists.values())


def listed_files(folder, **contents):
    """A list of files with these contents."""
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_text(content)
    return as_columns([VideoRecord(str(folder / name), name, (0,)) for name in contents])


def test_only_files_of_one_size_in_two_sets_are_looked_into(tmp_path, monkeypatch):
    sets = {
        "A": listed_files(
            tmp_path / "A", a="same", b="other", c="longer text", again="longer text"
        ),
        "B": listed_files(tmp_path / "B", a="size", b="same", d="a text of its own"),
    }
    (tmp_path / "B" / "link").symlink_to(tmp_path / "A" / "a")
    linked = VideoRecord(str(tmp_path / "B" / "link"), "link", (0,))
    looked_at, realpath = [], os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: looked_at.append(path) or realpath(path))
    first = str(tmp_path / "A" / "a")
    same = same_files({**sets, "B": sets["B"] + [linked]})
    assert same == {str(tmp_path / "B" / name): first for name in ("b", "link")}
    assert {path[-3:] for path in looked_at if path.startswith(str(tmp_path))} == {
        "A/a",
        "B/a",
        "B/b",
        "ink",
    }


def test_empty_files_are_copies_of_nothing_and_odd_names_no_files(tmp_path):
    sets = {owner: listed_files(tmp_path / owner, a="", b="text") for owner in "AB"}
    odd = [VideoRecord(name, name, (0,)) for name in ("/nul\0", "/lone\ud800", str(tmp_path))]
    sets["A"] = sets["A"] + odd
    assert same_files(sets) == {str(tmp_path / "B" / "b"): str(tmp_path / "A" / "b")}


def test_a_file_that_goes_while_sets_are_compared_is_no_file(tmp_path, monkeypatch):
    sets = {owner: listed_files(tmp_path / owner, a="text") for owner in "AB"}
    look = os.stat

    def stat(path, *args, **kwargs):
        try:
            return look(path, *args, **kwargs)
        finally:
            (tmp_path / "B" / "a").unlink(missing_ok=True)

    monkeypatch.setattr(os, "stat", stat)
    assert same_files(dict(reversed(sets.items()))) == {}
