"""The package from Python: train, test, results, predictions; it speaks through logging and reads no argv."""

import logging
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from tiny_run import tiny_overrides

import uniformer_video as uv
from uniformer_video import api


@pytest.fixture(scope="module")
def trained(demo, tmp_path_factory):
    """(config, path of the best weights, what was printed) of a training through the package."""
    folder = tmp_path_factory.mktemp("api") / "run"
    cfg = uv.load_config(None, tiny_overrides(demo, folder), **{"LOG_PERIOD": 5})
    return cfg, uv.train(cfg)


def test_train_then_test_then_predict(trained, demo, capsys, monkeypatch):
    cfg, best = trained
    monkeypatch.setattr(sys, "argv", ["a-notebook", "--strange"])
    assert best.is_file() and not (best.parent / "results.json").exists()
    results = uv.run(cfg)
    assert results.folder == best.parent and (best.parent / "report.html").is_file()
    assert len(results.videos) == 8 and results.scores.shape == (8, 2, 8)
    assert results.protocol.num_clips == 2 and results.protocol.sampling.num_frames == 4
    assert results.summary["top1"]["of"] == 8 and results.class_names[0] in str(results.class_names)
    assert "top1" in repr(results) and len(repr(results)) < 300
    other = uv.evaluate(uv.load_config(None, _words(cfg, demo, best.parent / "other")), best)
    assert other.summary == results.summary
    predictor = uv.Predictor.from_checkpoint(best)
    prediction = predictor(results.videos[0]["path"])
    assert prediction.top(1)[0][0] in results.class_names
    assert len(repr(predictor)) < 200 and len(repr(prediction)) < 200
    assert repr(predictor).startswith("<Predictor: uniformer_s, ")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def _words(cfg, demo, folder):
    return tiny_overrides(demo, folder, TEST__NUM_ENSEMBLE_VIEWS=2)


def test_it_prints_where_asked_to_and_leaves_logging_as_it_was(trained, capsys):
    cfg, _ = trained
    log = logging.getLogger("uniformer_video")
    before = (log.level, log.propagate, [*log.handlers])
    uv.train(cfg, progress=True)
    assert "Training is finished" in capsys.readouterr().err
    assert (log.level, log.propagate, [*log.handlers]) == before


def test_what_is_said_goes_through_logging(trained, caplog):
    with caplog.at_level(logging.INFO, "uniformer_video"):
        uv.train(trained[0])
    assert "Training is finished" in caplog.text


def test_a_notebook_is_known_by_its_kernel(monkeypatch):
    assert not api._is_notebook()
    shell = type("Shell", (), {"kernel": None})()
    module = type("IPython", (), {"get_ipython": staticmethod(lambda: shell)})
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert api._is_notebook()


def test_in_another_thread_no_signal_is_touched(demo, tmp_path):
    cfg = uv.load_config(None, tiny_overrides(demo, tmp_path, LOG_PERIOD=5))
    found = []
    thread = threading.Thread(target=lambda: found.append(uv.train(cfg)))
    thread.start()
    thread.join()
    assert found == [tmp_path / "best.pt"]


def test_errors_are_those_of_the_commands(demo, tmp_path, trained):
    with pytest.raises(uv.UserError, match=r"SOLVER\.BASE_LR is -1\.0; it must be a number from 0"):
        uv.load_config(None, **{"SOLVER.BASE_LR": -1})
    with pytest.raises(uv.UserError, match=r"unknown setting SOLVER\.BASE_LRR .*did you mean"):
        uv.load_config(None, **{"SOLVER.BASE_LRR": 1})
    empty = uv.load_config(None, tiny_overrides(demo, tmp_path / "run"))
    with pytest.raises(uv.UserError, match=r"there is no best\.pt to test"):
        uv.evaluate(empty)
    with pytest.raises(uv.UserError, match="no results at"):
        uv.Results.load(tmp_path)
    assert issubclass(uv.UserError, ValueError)


def test_a_table_of_the_videos_where_pandas_is_there(trained, monkeypatch):
    cfg, best = trained
    results = uv.run(cfg)
    made = []
    pandas = type("pandas", (), {"DataFrame": staticmethod(made.append)})
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    results.to_frame()
    assert made == [results.videos]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(uv.UserError, match="needs pandas"):
        results.to_frame()
    (best.parent / "scores.npz").rename(best.parent / "away.npz")
    with pytest.raises(uv.UserError, match="run the test again"):
        _ = uv.Results.load(best.parent).scores
    (best.parent / "away.npz").rename(best.parent / "scores.npz")


def test_models_and_their_mistakes():
    assert uv.list_models("uniformer_x*") == ["uniformer_xxs", "uniformer_xs"]
    assert "x3d_s" in uv.list_models("x3d") and len(uv.list_models()) > 10
    with pytest.raises(
        uv.UserError, match=r"unknown model 'unifromer_s'.*did you mean uniformer_s\?"
    ):
        uv.create_model("unifromer_s", num_classes=4)
    with pytest.raises(uv.UserError, match=r"checkpoint= one of '\w+'"):
        uv.create_model("uniformer_s", num_classes=400, pretrained=True)
    with pytest.raises(uv.UserError, match="no argument pretrained"):
        uv.create_model("x3d_s", num_classes=400, pretrained=True)
    model = uv.create_model("uniformer_xxs", num_classes=4)
    with pytest.raises(ValueError, match=r"as floating point.*got torch\.uint8"):
        model(torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"takes \[B, C, T, H, W\], got a tensor of shape"):
        model(torch.zeros(3, 4, 32, 32))


def test_a_video_has_a_length(make_video):
    with uv.open_video(make_video(frames=12)) as video:
        assert len(video) == video.num_frames == 12


def test_ordinary_values_of_python(tmp_path):
    values = {"DATA.PATH_TO_DATA_DIR": tmp_path, "SOLVER.BASE_LR": np.float64(0.5)}
    cfg = uv.load_config(None, **values, **{"RNG_SEED": torch.tensor(3)})
    assert (str(tmp_path), 0.5, 3) == (cfg.DATA.PATH_TO_DATA_DIR, cfg.SOLVER.BASE_LR, cfg.RNG_SEED)
    for call in (uv.train, uv.evaluate, uv.run):
        with pytest.raises(uv.UserError, match=r"settings come from load_config, .*a\.yaml"):
            call("a.yaml")


def test_a_slip_is_answered_before_what_is_missing():
    with pytest.raises(uv.UserError, match=r"did you mean uniformer_s\?"):
        uv.create_model("uniformer_ss")
    with pytest.raises(uv.UserError, match=r"no option 'num_class'.*did you mean num_classes\?"):
        uv.create_model("uniformer_s", num_class=4)


def test_threads_rest_from_the_first_use_on():
    code = (
        "import os, uniformer_video as uv\n"
        "assert 'OMP_WAIT_POLICY' not in os.environ\n"
        "uv.load_config\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
