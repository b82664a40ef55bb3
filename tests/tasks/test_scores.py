"""From the logits of views to video scores, probabilities and predictions, of both built-in tasks."""

import numpy as np
import pytest

from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.prediction import Prediction
from uniformer_video.tasks.single_label import SingleLabel


def softmax(row):
    return np.exp(row) / np.exp(row).sum()


def sigmoid(row):
    return 1 / (1 + np.exp(-row))


@pytest.mark.parametrize(
    ("task", "score", "alone"),
    [(SingleLabel(), "softmax", softmax), (MultiLabel(), "sigmoid", sigmoid)],
)
def test_views_to_video_scores_to_probabilities(task, score, alone):
    logits = np.random.default_rng(0).normal(size=(4, 3, 5))
    assert set(task.view_scores) == {"logits", score}
    means = task.video_scores(logits, "logits")
    assert means == pytest.approx(np.array([np.mean(video, axis=0) for video in logits]))
    assert task.probabilities(means, "logits") == pytest.approx(np.array([*map(alone, means)]))
    shares = task.video_scores(logits, score)
    expected = [np.mean([alone(view) for view in video], axis=0) for video in logits]
    assert shares == pytest.approx(np.array(expected))
    assert task.probabilities(shares, score) is shares


def test_one_confident_view_outweighs_in_logits_and_not_in_probabilities():
    logits = np.array([[9.0, 0.0], [0.0, 3.0], [0.0, 3.0]], np.float32)
    task = SingleLabel()
    assert task.video_scores(logits, "logits").argmax() == 0
    assert task.video_scores(logits, "softmax").argmax() == 1


def test_a_prediction_is_of_the_video_scores():
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    prediction = MultiLabel().predict("a.mp4", logits, "logits", ("sit", "run"))
    assert prediction.probabilities == pytest.approx(sigmoid(np.array([1.0, 0.5])))
    assert (prediction.path, prediction.class_names) == ("a.mp4", ("sit", "run"))


def test_top_above_lines_and_data():
    prediction = Prediction("a.mp4", np.array([0.5, 0.2, 0.9]), ("sit", "run", "eat"))
    assert prediction.top(2) == [("eat", 0.9), ("sit", 0.5)]
    assert prediction.above() == [("eat", 0.9), ("sit", 0.5)]
    assert prediction.above(0.95) == []
    assert [name for name, _ in prediction.above(0.0)] == ["eat", "sit", "run"]
    assert prediction.lines(1) == [" 90.0%  eat"]
    assert prediction.to_dict(1) == {"top": [{"class": "eat", "score": 0.9}]}
