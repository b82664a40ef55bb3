"""Lists with a header line: columns, segments, weights, and what a bad one says."""

import pytest

from uniformer_video.data.lists import records as lists
from uniformer_video.data.lists.remap import remap_list
from uniformer_video.errors import DataError


def write(path, text):
    path.write_bytes(text.encode())
    return path


def read(tmp_path, text, **options):
    return lists.read_csv(write(tmp_path / "t.csv", text), **options)


def facts(records):
    return [(r.name, r.label, r.start, r.end, r.weight) for r in records]


def test_all_columns(tmp_path):
    records = read(
        tmp_path,
        "path,label,start,end,weight\na.mp4,3,1.5,4,2\nb.mp4,0,,,\nsub/c.mp4,1,2,,0.5\nd.mp4,1,,7,0\n",
    )
    assert facts(records) == [
        ("a.mp4#1.5-4", 3, 1.5, 4.0, 2.0),
        ("b.mp4", 0, 0.0, None, 1.0),
        ("sub/c.mp4#2-", 1, 2.0, None, 0.5),
        ("d.mp4#0-7", 1, 0.0, 7.0, 0.0),
    ]
    assert records[0].path == str(tmp_path / "a.mp4")
    assert records[2].source == f"{tmp_path / 't.csv'}:4"


@pytest.mark.parametrize(
    "text",
    [
        "label,path\n3,a b.mp4\n",
        "\ufeffLabel, Path\r\n\r\n 3 , a b.mp4 \r\n",
        '"path";"label"\n"a b.mp4";"3"\n',
        "weight\tpath\tlabel\n\ta b.mp4\t3\n",
        "\n\npath,label\na b.mp4,3",
    ],
)
def test_any_order_and_any_separator(tmp_path, text):
    assert facts(read(tmp_path, text)) == [("a b.mp4", 3, 0.0, None, 1.0)]


def test_a_given_separator(tmp_path):
    (record,) = read(tmp_path, "path|label\na,b.mp4|3\n", separator="|")
    assert (record.name, record.label) == ("a,b.mp4", 3)
    with pytest.raises(DataError, match=r"t\.csv:1: a header line takes"):
        read(tmp_path, "path::label\na.mp4::3\n", separator="::")


def test_any_number_of_blanks_parts_columns_once(tmp_path):
    """As in a table whose columns are lined up by blanks."""
    found = read(
        tmp_path, "path     label  weight\nlong.mp4 3      2\na.mp4    1      1\n", separator=" "
    )
    assert facts(found) == [("long.mp4", 3, 0.0, None, 2.0), ("a.mp4", 1, 0.0, None, 1.0)]


def test_paths_in_quotes_may_hold_the_separator(tmp_path):
    (record,) = read(tmp_path, 'path,label\n"my ""best"", take, 1.mp4",3\n')
    assert record.name == 'my "best", take, 1.mp4'


def test_two_segments_of_a_video_are_two_records(tmp_path):
    first, second = read(tmp_path, "path,label,start,end\na.mp4,0,0,2\na.mp4,1,2,4\n")
    assert first.path == second.path and first.name != second.name
    assert first.segment != second.segment


@pytest.mark.parametrize("text", ["path,3\n", "my label 0\n", "path 1\n", "label.mp4,1\n"])
def test_a_video_is_no_header(tmp_path, text):
    (record,) = read(tmp_path, text)
    assert (record.start, record.end, record.weight) == (0.0, None, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,lable\na,1\n", r"t\.csv:1: unknown column 'lable'; the columns are path, label and"),
        ("path,label,strat\na,1,2\n", "unknown column 'strat'.*start, end, weight"),
        ("path,label,label\na,1,1\n", "label stands there twice"),
        ("path,start\na,1\n", r"t\.csv:1: there is no column label"),
        ("path\na.mp4\n", r"t\.csv:1: a header line takes commas"),
        ("path label\na.mp4 1\n", r"t\.csv:1: a header line takes commas, semicolons or tabs"),
        ("path,label\n", "lists no videos"),
        ("path,label\n\n\n", "lists no videos"),
        ("path,label\na, b.mp4,1\n", r"t\.csv:2: 3 cells below a header of 2.*quotes"),
        ("path,label,start\na.mp4,1\n", r"t\.csv:2: 2 cells below a header of 3"),
        ('path,label\n"a.mp4,1\n', r"t\.csv:2: cannot be read as csv"),
        ("path,label\n,1\n", r"t\.csv:2: the path is empty"),
        (
            "path,label\na.mp4,walk;2\n",
            r"t\.csv:2: the label is 'walk;2'; it must be a whole number",
        ),
        ("path,label\na.mp4,nan\n", r"t\.csv:2: the label is 'nan'.* or a class name"),
        ("path,label\na.mp4,walk;\n", r"t\.csv:2: the label is 'walk;'"),
        ("path,label\na.mp4,1.5\n", r"t\.csv:2: the label is '1\.5'"),
        ("path,label,start\na.mp4,1,x\n", r"t\.csv:2: start is 'x'; it must be a number from 0"),
        ("path,label,end\na.mp4,1,nan\n", "end is 'nan'"),
        ("path,label,weight\na.mp4,1,-2\n", "weight is '-2'"),
        ("path,label,weight\na.mp4,1,inf\n", "weight is 'inf'"),
        (
            "path,label,start,end\na.mp4,1,3,3\n",
            r"t\.csv:2: the segment ends at 3 s and starts at 3",
        ),
    ],
)
def test_bad_tables_name_the_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_the_digest_knows_segments_and_weights(tmp_path):
    texts = (
        "a.mp4,0\n",
        "path,label,start\na.mp4,0,1\n",
        "path,label,end\na.mp4,0,1\n",
        "path,label,weight\na.mp4,0,2\n",
    )
    digests = [lists.list_digest(read(tmp_path, text)) for text in texts]
    assert len(set(digests)) == 4
    bare = read(tmp_path, "path,label,start,weight\na.mp4,0,,1\n")
    assert lists.list_digest(bare) == digests[0]


def test_the_labels_of_a_table_can_be_counted_in_another_order(tmp_path):
    source = write(tmp_path / "a.csv", '\r\nlabel;path;end\r\n0;"a;1.mp4";2\r\n\r\n1;b.mp4;')
    assert remap_list(source, tmp_path / "b.csv", ["u", "v"], ["v", "u"]) == (2, 2)
    assert (tmp_path / "b.csv").read_bytes().decode() == (
        '\r\nlabel;path;end\r\n1;"a;1.mp4";2\r\n\r\n0;b.mp4;'
    )
    with pytest.raises(DataError, match=r"a\.csv:5: label 1 of b\.mp4 is outside 0\.\.0"):
        remap_list(source, tmp_path / "c.csv", ["u"], ["u"])
