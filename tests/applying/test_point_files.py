"""Point files of ANTs and 3D Slicer: where the points lie, and what is kept when they are written again."""

import json
from pathlib import Path

import numpy as np
import pytest

from fire_tf.applying.point_files import read_points
from fire_tf.files.errors import InputError

SHIFT = np.array([5, 6, 7])
RAS = np.array([[10.0, -20, 30], [1.5, 2.25, -3]])

CSV = "x,y,z,t,label,comment\n-10,20,30,0,1,left\n-1.5,-2.25,-3,0,2,right\n"
CSV_2D = "x,y\n-10,20\n-1.5,-2.25\n"
FCSV = """# Markups fiducial file version = 4.11
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,{0},{1},30,0,0,0,1,1,1,0,AC,"front, here",
2,{2},{3},-3,0,0,0,1,1,1,0,PC,,vtkMRML1
"""


def fcsv(system: str, flip: int) -> str:
    return FCSV.format(flip * 10, flip * -20, flip * 1.5, flip * 2.25, system=system)


def markups(system: str | None, flip: int) -> str:
    places = [[flip * 10.0, flip * -20.0, 30.0], [flip * 1.5, flip * 2.25, -3.0]]
    points = [{"label": name, "position": place} for name, place in zip(("AC", "PC"), places, strict=True)]
    points.insert(1, {"label": "later", "position": None, "positionStatus": "undefined"})
    markup = {
        "type": "Fiducial",
        "coordinateUnits": "mm",
        "controlPoints": points,
        "measurements": [{"value": 3}],
    }
    return json.dumps(
        {"@schema": "x", "markups": [markup | ({"coordinateSystem": system} if system else {})]}
    )


FILES = {
    "ants.csv": CSV,
    "semicolons.csv": CSV.replace(",", ";"),
    "0.fcsv": fcsv("0", 1),
    "ras.fcsv": fcsv("RAS", 1),
    "lps.fcsv": fcsv("LPS", -1),
    "lps.mrk.json": markups("LPS", -1),
    "ras.mrk.json": markups("RAS", 1),
}


@pytest.mark.parametrize("name", FILES)
def test_points_lie_where_the_file_says_and_come_back_so(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    found = read_points(path)
    np.testing.assert_allclose(found.points, RAS)
    path.write_text(found.text_of(found.points + SHIFT))
    again = read_points(path)
    np.testing.assert_allclose(again.points, RAS + SHIFT, atol=1e-6)
    assert again.labels == found.labels == (("1", "2") if name.endswith(".csv") else ("AC", "PC"))


def test_what_else_a_file_says_is_kept(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(CSV)
    text = read_points(tmp_path / "p.csv").text_of(RAS)
    assert text.splitlines()[:2] == ["x,y,z,t,label,comment", "-10.000000,20.000000,30.000000,0,1,left"]
    (tmp_path / "p.fcsv").write_text(fcsv("LPS", -1))
    lines = read_points(tmp_path / "p.fcsv").text_of(RAS).splitlines()
    assert lines[:3] == FILES["lps.fcsv"].splitlines()[:3]
    assert lines[3] == '1,-10.000000,20.000000,30.000000,0,0,0,1,1,1,0,AC,"front, here",'
    (tmp_path / "p.mrk.json").write_text(markups("LPS", -1))
    content = json.loads(read_points(tmp_path / "p.mrk.json").text_of(RAS))
    assert content["@schema"] == "x"
    (markup,) = content["markups"]
    assert [point["position"] for point in markup["controlPoints"]] == [
        [-10, 20, 30],
        None,
        [-1.5, -2.25, -3],
    ]
    assert "measurements" not in markup  # of the old places


def test_points_of_a_plane_stay_in_it(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(CSV_2D)
    found = read_points(tmp_path / "p.csv")
    np.testing.assert_allclose(found.points, RAS * [1, 1, 0])
    assert found.text_of(found.points).splitlines()[1] == "-10.000000,20.000000"
    with pytest.raises(InputError, match="leave the plane z = 0"):
        found.text_of(found.points + SHIFT)


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("p.csv", "x,z\n1,2\n", "has no column 'y'"),
        ("p.csv", "x,y,z\n1,2,3\n1,,3\n", "line 3 has no coordinates"),
        ("p.csv", "x,y,z\n1,2,nan\n", "line 2 has no coordinates"),
        ("p.csv", "x,y,z\n", "holds no points"),
        ("p.fcsv", fcsv("2", 1), "coordinates are 2, expected RAS or LPS"),
        ("p.fcsv", fcsv("RAS", 1).replace("# Coord", "# coord"), "coordinates are not named"),
        ("p.fcsv", "# CoordinateSystem = RAS\n1,2,3\n", "names no columns x, y and z"),
        ("p.fcsv", fcsv("RAS", 1) + "3,4\n", "line 6 has fewer cells"),
        ("p.mrk.json", markups(None, 1), "coordinates are not named"),
        ("p.mrk.json", markups("RAS", 1).replace('"mm"', '"um"'), "coordinates are in um"),
        ("p.mrk.json", "[1, 2]", "cannot be read as Slicer's markups"),
        ("p.mrk.json", "{", "cannot be read as Slicer's markups"),
        ("p.txt", CSV, "points are read from .csv, .fcsv, .json"),
    ],
)
def test_what_is_no_point_file_is_said_in_one_line(
    name: str, content: str, cause: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}: .*{cause}"):
        read_points(tmp_path / name)
