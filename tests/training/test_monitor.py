import logging

import pytest
import simplejson

from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.training.costs import RunCosts
from uniformer_video.training.monitor import Monitor, keep_lines_until
from uniformer_video.training.timetable import Timetable


def lines(folder):
    return [simplejson.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def step(monitor, number, **values):
    defaults = {"loss": 1.0, "top1": 0.5, "lr": 1e-3, "data_seconds": 0.0, "seconds": 0.1}
    monitor.step(epoch=number / 4, step=number, **{**defaults, **values})


def test_the_figures_of_several_labels_have_their_names(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    monitor = Monitor(tmp_path, 1, 1, 1, MultiLabel.figures)
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
    monitor = Monitor(tmp_path, 1, 1, 2, SingleLabel.figures)
    monitor.validation(1, 4, {"raw": (0.25, 1.5), "ema": (0.5, 1.25)}, 0.1, "top1")
    monitor.close()
    (line,) = lines(tmp_path)
    measured = {"top1": 0.25, "loss": 1.5, "ema_top1": 0.5, "ema_loss": 1.25}
    assert line == {"kind": "val", "epoch": 1, "step": 4, **measured, "seconds": 0.1}
    told = "validation raw top-1 25.0%  loss 1.500  ema top-1 50.0%  loss 1.250"
    assert told in caplog.text


def test_intervals_are_means_in_strict_json(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    monitor = Monitor(tmp_path, 2, 5, 2, SingleLabel.figures)
    for number, loss in enumerate((1.0, 3.0, 2.0, float("nan"), 5.0), start=1):
        step(monitor, number, loss=loss)
    monitor.validation(1, 5, {"raw": (0.25, 1.5)}, 0.1, "top1")
    monitor.close()
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [2, 4, 5, 5]
    assert [line["loss"] for line in found] == [2.0, None, 5.0, 1.5]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert "step 2/5  loss 2.000  top-1 50.0%  lr 1.00e-03" in caplog.text


@pytest.mark.parametrize(
    ("noun", "advice"),
    [
        ("video", "set AUG.ON_DEVICE all, or store the videos at a smaller size"),
        ("image", "set AUG.ON_DEVICE normalise, or store the images at a smaller size"),
    ],
)
def test_waiting_for_data_is_pointed_out_once(tmp_path, caplog, noun, advice):
    caplog.set_level(logging.INFO)
    monitor = Monitor(tmp_path, 1, 9, 2, SingleLabel.figures, noun=noun)
    for number in range(1, 9):
        step(monitor, number, data_seconds=0.05)
    monitor.close()
    assert caplog.text.count("NUM_WORKERS") == caplog.text.count(advice) == 1


def test_a_resumed_log_drops_what_will_come_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    keep_lines_until(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_what_a_run_costs_is_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    costs = RunCosts(
        Timetable(3, 300, eval_steps=30, checkpoint_steps=3),
        devices=8,
        unit="GPU",
        hardware="8 x H100",
    )
    monitor = Monitor(tmp_path, 100, 300, 100, SingleLabel.figures, costs=costs)
    for number in range(1, 31):
        step(monitor, number, seconds=99.0 if number == 1 else 12.0)
    monitor.validation(10, 30, {"raw": (0.25, 1.5)}, 60.0, "top1")
    monitor.close()
    assert caplog.text.count("What this run costs") == 1
    assert (
        "an epoch takes 36.0 s of training; 100 epochs: 1 h 00 min, 8 GPU-hours on 8 x H100, without the "
        "validations and the multi-view test."
    ) in caplog.text


def test_a_validation_after_the_first_epoch_is_among_the_costs():
    costs = RunCosts(Timetable(3, 12, 3, 3), devices=2, unit="core", hardware="2 cores")
    assert [costs.step(number, 600.0) for number in (1, 2, 3)] == ["", "", ""]
    line = costs.validation(900.0)
    assert "30 min 00 s of training and 15 min 00 s for a validation" in line
    assert "4 epochs: 3 h 00 min, 6 core-hours on 2 cores, without the multi-view" in line
    assert not costs.validation(900.0) and not costs.step(6, 600.0)


@pytest.mark.parametrize(
    ("each_epoch", "told"),
    [
        (False, "takes 30.0 s of training; 4 epochs: 2 min 06 s"),
        (True, "takes 36.0 s of training; 4 epochs: 2 min 24 s"),
    ],
)
def test_the_wait_for_the_first_batches_counts_once_or_each_epoch(each_epoch, told):
    timetable = Timetable(3, 12, 0, 3)
    costs = RunCosts(timetable, 2, "core", "2 cores", waits_each_epoch=each_epoch)
    assert not costs.step(1, 70.0, 7.0) + costs.step(2, 10.0, 1.0)
    assert told in costs.step(3, 10.0, 1.0)  # of 70 s only the wait counts, less a usual one
    assert costs.record(0.0)["epoch_seconds"] == (36.0 if each_epoch else 30.0)


def test_a_run_that_may_end_early_costs_so_much_at_most():
    costs = RunCosts(Timetable(1, 9, 0, 1), devices=1, unit="GPU", hardware="a", may_end_early=True)
    assert "; at most 9 epochs: 9.0 s" in costs.step(1, 1.0)


def test_what_a_run_has_cost_is_recorded():
    costs = RunCosts(Timetable(3, 12, 3, 3), devices=2, unit="core", hardware="2 cores")
    own = {"hardware": "2 cores", "devices": 2, "unit": "core"}
    assert costs.record(20.0) == {"spent": [{**own, "seconds": 20.0}]}  # no epoch is done
    for number in (1, 2, 3):
        costs.step(number, 600.0)
    costs.validation(900.0)
    first = costs.record(2700.0)
    assert first == {
        "epoch_seconds": 1800.0,
        "validation_seconds": 900.0,
        "spent": [{**own, "seconds": 2700.0}],
    }
    again = RunCosts(Timetable(3, 12, 3, 3), devices=2, unit="core", hardware="2 cores")
    again.go_on_from(first, 2700.0)  # nothing is measured yet: what was measured before counts
    assert again.record(2800.0) == {**first, "spent": [{**own, "seconds": 2800.0}]}
    gpu = RunCosts(Timetable(3, 12, 3, 3), devices=1, unit="GPU", hardware="1 x H100")
    gpu.go_on_from(first, 2700.0)
    assert [stretch["seconds"] for stretch in gpu.record(2760.0)["spent"]] == [2700.0, 60.0]


def test_costs_from_before_they_were_recorded_are_unknown_not_forgotten():
    costs = RunCosts(Timetable(3, 12, 3, 3), devices=1, unit="GPU", hardware="1 x H100")
    costs.go_on_from({}, 3600.0)
    unknown, own = costs.record(3700.0)["spent"]
    assert (unknown["hardware"], unknown["devices"], unknown["seconds"]) == (
        "not recorded",
        None,
        3600.0,
    )
    assert (own["hardware"], own["seconds"]) == ("1 x H100", 100.0)


def test_without_validations_the_costs_are_told_after_the_steps():
    costs = RunCosts(Timetable(2, 2, 0, 2), devices=1, unit="GPU", hardware="a GPU")
    assert not costs.step(1, 1.0)
    assert costs.step(2, 1.0).endswith("on a GPU, without the multi-view test.")
