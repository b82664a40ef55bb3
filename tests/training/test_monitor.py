import logging
import sys

import simplejson

from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.training.monitor import Monitor, keep_lines_until


def lines(folder):
    return [simplejson.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def step(monitor, number, **values):
    defaults = {"loss": 1.0, "top1": 0.5, "lr": 1e-3, "data_seconds": 0.0, "seconds": 0.1}
    monitor.step(epoch=number / 4, step=number, **{**defaults, **values})


def test_the_figures_of_several_labels_have_their_names(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    monitor = Monitor(tmp_path, 1, 1, 1, MultiLabel.figures, tensorboard=False)
    values = {"loss": 1.0, "lr": 1e-3, "data_seconds": 0.0, "seconds": 0.1}
    monitor.step(epoch=1, step=1, hit1=0.75, **values)
    monitor.validation(1, 1, {"raw": (0.25, 0.5)}, 0.1, "map")
    monitor.close()
    trained, validated = lines(tmp_path)
    assert trained["hit1"] == 0.75 and validated["map"] == 0.25
    assert not {"top1"} & (trained.keys() | validated.keys())
    assert "hit@1 75.0%" in caplog.text and "validation mAP 25.0%" in caplog.text


def test_a_validation_of_several_weights_names_them(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    monitor = Monitor(tmp_path, 1, 1, 2, SingleLabel.figures, tensorboard=False)
    monitor.validation(1, 4, {"raw": (0.25, 1.5), "ema": (0.5, 1.25)}, 0.1, "top1")
    monitor.close()
    (line,) = lines(tmp_path)
    measured = {"top1": 0.25, "loss": 1.5, "ema_top1": 0.5, "ema_loss": 1.25}
    assert line == {"kind": "val", "epoch": 1, "step": 4, **measured, "seconds": 0.1}
    told = "validation raw top-1 25.0%  loss 1.500  ema top-1 50.0%  loss 1.250"
    assert told in caplog.text


def test_intervals_are_means_in_strict_json(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    monitor = Monitor(tmp_path, 2, 5, 2, SingleLabel.figures, tensorboard=False)
    for number, loss in enumerate((1.0, 3.0, 2.0, float("nan"), 5.0), start=1):
        step(monitor, number, loss=loss)
    monitor.validation(1, 5, {"raw": (0.25, 1.5)}, 0.1, "top1")
    monitor.close()
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [2, 4, 5, 5]
    assert [line["loss"] for line in found] == [2.0, None, 5.0, 1.5]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert "step 2/5  loss 2.000  top-1 50.0%  lr 1.00e-03" in caplog.text


def test_waiting_for_data_is_pointed_out_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    monitor = Monitor(tmp_path, 1, 9, 2, SingleLabel.figures, tensorboard=False)
    for number in range(1, 9):
        step(monitor, number, data_seconds=0.05)
    monitor.close()
    assert caplog.text.count("NUM_WORKERS") == 1


def test_a_resumed_log_drops_what_will_come_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    keep_lines_until(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_without_tensorboard_one_line_says_so(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    Monitor(tmp_path, 1, 1, 1, SingleLabel.figures).close()
    assert "TensorBoard is not installed" in caplog.text
    assert 'pip install "uniformer-video[report]"' in caplog.text
    caplog.clear()
    Monitor(tmp_path, 1, 1, 1, SingleLabel.figures, tensorboard=False).close()
    assert not caplog.text
