"""Train in float64 through the trainer, as one of any number of processes.

Called as `train_float64.py OUT KEY VALUE ...`. The main process writes to OUT the weights and buffers, the
losses and the validations.
"""

import sys

import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import join_ranks
from uniformer_video.randomness import seed_torch
from uniformer_video.runs import build_clips, build_model, build_training
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.build_task import build_training_task
from uniformer_video.runs.build_teacher import build_lessons
from uniformer_video.runs.build_token_labels import build_label_maps
from uniformer_video.runs.examination import examination_of
from uniformer_video.runs.score_views import score_records
from uniformer_video.training.objective import LiveDistillation
from uniformer_video.training.precision import autocast_for
from uniformer_video.training.trainer import Trainer


class Log:
    """Takes the place of the monitor."""

    def __init__(self):
        self.losses = []

    def is_due(self, step):
        return True

    def step(self, **values):
        self.losses.append(values["loss"])

    def message(self, text):
        assert text.startswith("BatchNorm's statistics measured"), text


class InFloat64(torch.nn.Module):
    """A float64 model for the test's float32 clips."""

    def __init__(self, model):
        super().__init__()
        self.model, self.num_classes = model, model.num_classes

    def forward(self, clips):
        return self.model(clips.double())


def main(out, *overrides):
    torch.set_num_threads(1)
    cfg = load_config(overrides=overrides)
    data = build_data(cfg)
    data.label_maps = build_label_maps(cfg, data.train, data.class_names)
    with join_ranks(120.0, 0.0) as ranks:
        seed_torch("weights", cfg.RNG_SEED)
        model, _ = build_model.build_model(cfg, data.num_classes)
        model.double()
        loader = build_clips.build_train_loader(cfg, data, ranks)
        finish = loader.finish
        loader.finish = lambda clips: finish(clips).double()
        log, validations = Log(), []

        def validate(steps):
            if task.scoring == "pixels":
                models = {"raw": InFloat64(model)}
                found = examination_of(task).validate(cfg, task, models, data, ranks)
                model.train()
                validations.append(torch.tensor(found.measured["raw"]))
                return {"raw": 0.0}
            scores = score_records(
                cfg,
                InFloat64(model),
                data.val,
                Protocol.from_cfg(cfg).with_views(1, 1),
                ranks,
                show_bars=False,
            )
            model.train()
            validations.append(torch.from_numpy(scores.scores))
            return {"raw": 0.0}

        autocast = autocast_for("fp32", ranks.device)
        task = build_training_task(cfg, data, ranks.device)
        objective = build_lessons(cfg, data, task, ranks, autocast).objective
        objective.output_weights = getattr(model, "output_weights", ())
        if isinstance(objective, LiveDistillation):
            objective.teacher.model.double()
        trainer = Trainer(
            state=build_training.build_train_state(cfg, model, "fp32", ranks),
            loader=loader,
            timetable=build_training.build_timetable(cfg, loader.plan.steps_per_epoch),
            schedule=build_training.build_schedule(cfg, loader.plan.steps_per_epoch),
            ranks=ranks,
            autocast=autocast,
            settings=build_training.build_train_settings(cfg),
            mixup=build_training.build_mixup(cfg),
            task=task,
            monitor=log,
            validate=validate,
            write=lambda *_args: None,
            remedy=str,
            objective=objective,
        )
        trainer.fit()
        if ranks.is_main:
            content = {"state": model.state_dict(), "losses": log.losses, "scores": validations}
            parts = trainer.state.parts
            content["parts"] = {name: part.state_dict() for name, part in parts.items()}
            torch.save(content, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
