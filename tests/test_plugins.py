"""Plugins: named in configs or on the command line, or installed; and what becomes of a run without one."""

import sys
from pathlib import Path

import pytest
import yaml
from processes import torchrun
from registries import fresh_process
from toy_folder import PLUGIN, make_toy_folder

import uniformer_video as uv
from uniformer_video import plugins
from uniformer_video.config import rows
from uniformer_video.config.recorded import config_from_text, config_text
from uniformer_video.config.register import register_settings
from uniformer_video.config.setting import Setting, flag, needs, number
from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.check import check_settings
from uniformer_video.runs.folder import LAST_FILE
from uniformer_video.zoo import registry


@pytest.fixture
def plugin(tmp_path, own_registries):
    """A function that writes a plugin `name.py` and returns its path."""

    def write(code, name="my_settings", folder=tmp_path):
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.py"
        path.write_text(
            "from uniformer_video import register_settings\n"
            f"from uniformer_video.config.setting import number\n{code}\n"
        )
        return path

    return write


WIDTH = 'register_settings(number("MYNET.WIDTH", 64, "channels", 1, 4096))'


def test_all_that_files_and_the_command_line_name_is_imported_first(plugin, tmp_path, monkeypatch):
    plugin(WIDTH, "first", tmp_path / "below")
    plugin(WIDTH.replace("WIDTH", "DEPTH"), "second")
    plugin(WIDTH.replace("MYNET", "OTHER"), "third")
    (tmp_path / "below" / "base.yaml").write_text("PLUGINS: [first.py]\nMYNET: {WIDTH: 8}\n")
    config = tmp_path / "mine.yaml"
    config.write_text("_BASE_: below/base.yaml\nPLUGINS: [second.py]\nMYNET: {DEPTH: 9}\n")
    monkeypatch.chdir(tmp_path)
    cfg = load_config(config, ["PLUGINS", "third", "OTHER.WIDTH", "10"])
    assert (cfg.MYNET.WIDTH, cfg.MYNET.DEPTH, cfg.OTHER.WIDTH) == (8, 9, 10)
    paths = [str(tmp_path / "below" / "first.py"), str(tmp_path / "second.py"), "third"]
    assert paths == cfg.PLUGINS
    # what a run records can be loaded from anywhere, again and again
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(config_text(cfg))
    assert load_config(tmp_path / "run" / "config.yaml") == cfg


def test_limits_and_suggestions_are_those_of_any_setting(plugin):
    words = ["PLUGINS", str(plugin(WIDTH))]
    with pytest.raises(
        ConfigError, match=r"MYNET\.WIDTH is 0; it must be a whole number from 1 to"
    ):
        load_config(None, [*words, "MYNET.WIDTH", "0"])
    with pytest.raises(ConfigError, match=r"did you mean MYNET\.WIDTH\?"):
        load_config(None, [*words, "MYNET.WIDHT", "1"])
    registry.register_model("w", _Wide, num_frames=4, settings={"MYNET.WIDTH": "width"})
    with pytest.raises(
        ConfigError, match=r"MYNET\.WIDTH 7 \(uniformer_s has no such setting, .* w\)"
    ):
        check_settings(load_config(None, [*words, "MYNET.WIDTH", "7"]))


class _Wide:
    def __init__(self, num_classes, width=1):
        pass


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import not_there_at_all", r"cannot be imported: No module named 'not_there_at_all'"),
        ("1 / 0", r"cannot be imported: ZeroDivisionError: division by zero"),
        ("def (", r"cannot be imported: SyntaxError"),
        (WIDTH.replace("MYNET.WIDTH", "LOG_PERIOD"), r"'LOG_PERIOD' is no key"),
        (
            WIDTH.replace("MYNET.WIDTH", "SOLVER.BASE_LR"),
            r"there is a setting SOLVER\.BASE_LR already",
        ),
        (WIDTH.replace("MYNET.WIDTH", "SOLVER.BASE_LR.X"), r"a setting and a section at once"),
        (WIDTH.replace("64", "0"), r"MYNET\.WIDTH is 0; it must be"),
        ('register_settings("MYNET.WIDTH")', r"is no row of a setting"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_one_line(plugin, code, said):
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(None, ["PLUGINS", str(plugin(code))])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("not_a_module_of_anybody", "there is no module not_a_module_of_anybody to import"),
        ("gone.py", r"there is no plugin .*gone\.py"),
        ("[3]", "PLUGINS is .3.; it must be a list of module names"),
        ("''", "PLUGINS holds ''"),
    ],
)
def test_a_plugin_that_is_not_there(named, said, own_registries):
    with pytest.raises(ConfigError, match=said):
        load_config(None, ["PLUGINS", named])


def test_a_file_called_like_another_module_is_refused(plugin):
    path = plugin(WIDTH, "json")
    with pytest.raises(ConfigError, match="is called like another module"):
        load_config(None, ["PLUGINS", str(path)])


class _Point:
    """An entry point of an installed package."""

    def __init__(self, module, load):
        self.name, self.module, self.load = "its-name", module, load


def test_installed_plugins_are_known_and_a_broken_one_is_one_warning(
    own_registries, monkeypatch, caplog
):
    def good():
        register_settings(number("GOOD.ONE", 1, "one", 0, 9))

    def broken():
        raise RuntimeError("not today")

    points = [_Point("broken_one", broken), _Point("good_one", good)]
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: points)
    assert load_config(None, ["GOOD.ONE", "3"]).GOOD.ONE == 3
    load_config(None)
    assert caplog.text.count("its-name (broken_one) cannot be used: not today") == 1
    # where a run does not use it, it leaves no trace; where it does, the record names it
    assert "GOOD" not in config_text(load_config(None))
    recorded = yaml.safe_load(config_text(load_config(None, ["GOOD.ONE", "3"])))
    assert recorded["PLUGINS"] == ["good_one"] and recorded["GOOD"] == {"ONE": 3}
    with pytest.raises(ConfigError, match="no module broken_one"):
        load_config(None, ["PLUGINS", "broken_one"])


def test_a_recorded_setting_of_nobody_stops_and_one_that_is_gone_is_named(monkeypatch, caplog):
    text = config_text(load_config(None)) + "MYNET: {WIDTH: 3}\n"
    with pytest.raises(ConfigError, match=r"last\.pt records MYNET\.WIDTH.*name it with --plugins"):
        config_from_text(text, LAST_FILE)
    named = text.replace("PLUGINS: []", "PLUGINS: [my_net]")
    with pytest.raises(ConfigError, match=r"name it: --plugins my_net"):
        config_from_text(named, LAST_FILE)
    assert "my_net" not in sys.modules
    monkeypatch.setitem(rows.REMOVED, "MYNET.WIDTH", "it is always 3")
    config_from_text(text, LAST_FILE)
    assert "settings that are no more: MYNET.WIDTH (it is always 3)" in caplog.text


def test_a_row_that_depends_on_no_setting_is_refused(own_registries):
    with pytest.raises(ConfigError, match=r"depends on MYNET\.ON, which is no setting"):
        register_settings(number("MYNET.WIDTH", 1, "", 0, 9, needs("MYNET.ON")))
    register_settings(
        number("MYNET.WIDTH", 1, "", 0, 9, needs("MYNET.ON")), flag("MYNET.ON", True, "")
    )
    assert isinstance(rows.SETTINGS["MYNET.WIDTH"], Setting)


@pytest.fixture(scope="module")
def toy_folder(demo, tmp_path_factory):
    """A folder of somebody's own, see `make_toy_folder`."""
    folder = tmp_path_factory.mktemp("toy")
    lists = make_toy_folder(folder, demo)
    yield folder
    for path in lists:
        path.unlink()


def test_a_plugin_works_everywhere(toy_folder, call, monkeypatch):
    """It trains, resumes, tests, reports, predicts, exports and is listed; without it, each says so."""
    monkeypatch.chdir(toy_folder)
    with fresh_process():
        status, _, told = call("run", "--cfg", "toy.yaml", "TEST.ENABLE", "False")
        assert status == 0, told
    with fresh_process():
        status, _, told = call("run", "--cfg", "toy.yaml")
        assert status == 0 and "Training is finished" in told, told
    page = Path("run/report.html").read_text()
    assert "8 videos of toy, says the toy" in page and "The toy&#39;s section" in page
    video = yaml.safe_load(Path("run/results.json").read_text())["videos"][0]["path"]
    convert = ["convert", "run/best.pt", "--out"]
    for words, printed in (
        (["predict", video, "--checkpoint", "run/best.pt"], "odd"),
        (["report", "run"], "report.html"),
        (["models", "--filter", "toy"], "toy "),
        ([*convert, "with.pt"], ""),
    ):
        with fresh_process():
            status, out, told = call(*words, "--plugins", "my_toy")
            assert status == 0 and printed in out, told
        if words[:3] == convert:
            words = [*convert, "without.pt"]
        with fresh_process():
            status, _, told = call(*words)
            assert status == 2, words
            assert words[0] == "models" or f"--plugins {toy_folder / 'my_toy.py'}" in told


@pytest.mark.slow
def test_two_processes_and_spawned_workers_know_the_plugin(toy_folder, tmp_path, monkeypatch):
    words = ["-m", "uniformer_video", "run", "--cfg", "toy.yaml", "OUTPUT_DIR", tmp_path / "run"]
    monkeypatch.chdir(toy_folder)
    launch = torchrun(2, [*words, "NUM_GPUS", 2, "DATA_LOADER.NUM_WORKERS", 1], tmp_path / "log")
    try:
        assert launch.wait() == 0, launch.text
    finally:
        launch.kill()
    assert "says the toy" in (tmp_path / "run" / "report.html").read_text()


def test_a_setting_of_a_plugin_that_is_not_named(place):
    folder = place({"a.yaml": "SWING: {WIDTH: 3}\n"})
    with pytest.raises(ConfigError, match=r"unknown setting SWING\.WIDTH .* with --plugins"):
        load_config(folder / "a.yaml")


def test_a_plugin_that_ends_the_process_is_an_error(plugin, own_registries, monkeypatch, caplog):
    with pytest.raises(ConfigError, match="cannot be imported: SystemExit: 3"):
        load_config(None, ["PLUGINS", str(plugin("raise SystemExit(3)"))])
    points = [_Point("leaving", lambda: sys.exit(1))]
    monkeypatch.setattr(plugins, "_looked_for_installed", False)
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: points)
    load_config(None)
    assert "its-name (leaving) cannot be used" in caplog.text


@pytest.mark.parametrize(
    ("register", "given"),
    [
        (uv.register_task, (3,)),
        (uv.register_task, (dict,)),
        (uv.register_format, (3,)),
        (uv.register_format, (uv.ListFormat("mine", None, "nothing"),)),
        (uv.register_format, (uv.ListFormat("two words", print, "nothing"),)),
        (uv.register_decoder, (3,)),
        (uv.register_decoder, (uv.Decoder("mine", None),)),
        (uv.register_report_section, ("x", 3)),
        (uv.register_report_section, ("", print)),
        (uv.register_settings, (3,)),
    ],
)
def test_what_keeps_no_contract_is_refused(own_registries, register, given):
    with pytest.raises(uv.UserError):
        register(*given)


def test_a_model_without_a_name_or_a_function_is_refused(own_registries):
    for name, build in (("", _Wide), ("x", 3), ("two words", _Wide)):
        with pytest.raises(uv.UserError):
            uv.register_model(name, build, num_frames=4)


def test_a_cell_of_a_notebook_may_be_run_again(own_registries):
    code = PLUGIN.read_text()
    for _ in range(2):
        exec(compile(code, str(PLUGIN), "exec"), {"__name__": "__main__", "__file__": str(PLUGIN)})
    another = code.replace("class ToyModel", "class Other").replace("ToyModel, num", "Other, num")
    with pytest.raises(uv.UserError, match="there is a model 'toy' already"):
        exec(compile(another, str(PLUGIN), "exec"), {"__name__": "__main__"})


def test_an_error_in_a_format_names_it(own_registries, tiny):
    def read(root, split):
        raise KeyError("oops")

    uv.register_format(uv.ListFormat("failing", read, "nothing"))
    cfg = load_config(None, tiny(TRAIN__DATASET="failing"))
    with pytest.raises(
        uv.UserError, match=r"the format failing, of \S*test_plugins, fails on the train list"
    ):
        build_data(cfg)
