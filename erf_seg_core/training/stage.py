"""One stage of a training: optimisation steps, α, learning rates, saving and resuming."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..checkpoint import build_from_checkpoint
from ..errors import ErfSegError
from ..grouping import GradualGrouping, apply_moves
from ..models import STRIDE
from .dataset import ViewOrder, Views
from .ema import WeightAverage
from .interruption import Interruption
from .losses import WEIGHT_OFFSETS, LabelLoss, class_weights, distillation_loss
from .recipe import Stage
from .sources import union_members
from .tasks import (
    ClassifiedViews,
    EncoderClassifier,
    EncoderWithHead,
    hidden_channels,
    parameter_groups,
    recalibrate_norms,
)

if TYPE_CHECKING:
    from .trainer import Training


class StageRun:
    """One stage: its network with head, optimizer, α, average and place in the schedule."""

    def __init__(self, training: Training, index: int, stage: Stage) -> None:
        """Prepare stage number `index` of a training, at its first step."""
        self.training, self.index, self.stage = training, index, stage
        recipe, processes = training.recipe, training.processes
        torch.manual_seed(recipe.seed * 1000 + index)
        self.task, self.loss, views, repeats = prepare_task(training, index)
        self.task.to(training.device, memory_format=training.memory_format)
        self.loss.to(training.device)
        self.order = ViewOrder(
            repeats,
            stage.batch_size,
            stage.accumulate,
            (recipe.seed, index),
            processes.rank,
            processes.world,
        )
        self.views = views
        self.total_steps = stage.epochs * self.order.steps
        self.grouping = self._attach_grouping()
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[stage.optimizer]
        self.optimizer = kind(parameter_groups(self.task, stage.lr, stage.weight_decay))
        self.average = WeightAverage(self.task, stage.ema) if stage.ema else None
        half = recipe.precision == "float16" and training.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(training.device.type, enabled=half)
        self.teacher = _load_teacher(stage, training)
        self.epoch = self.step_in_epoch = 0
        self.loss_sum = 0.0
        self.wrapped: nn.Module = self.task
        if processes.world > 1:
            ids = [training.device.index] if training.device.type == "cuda" else None
            self.wrapped = DistributedDataParallel(self.task, device_ids=ids)

    def run(self, state: dict[str, Any]) -> None:
        """Train to the end of the stage and leave the network averaged and folded."""
        self._resume(state)
        stage = self.stage
        clock = self.training.clock
        last_save = clock.start()
        bar = tqdm(
            desc=f"stage {self.index + 1}/{len(self.training.recipe.stages)} {stage.task}",
            total=self.total_steps,
            initial=self.step,
            disable=self.training.quiet,
            mininterval=2,
        )
        # Of several processes, those that stopped at another step would wait for this one for ever.
        alone = self.training.processes.world == 1
        with bar, Interruption(alone, self.training.say_it_will_stop) as interruption:
            while self.epoch < stage.epochs:
                for parts in self._batches():
                    self.loss_sum += self._optimise(parts)
                    self.step_in_epoch += 1
                    now = clock.tick()
                    bar.update()
                    if now - last_save > 60 * self.training.recipe.save_minutes:
                        self._save()
                        last_save = now
                    self._stop_if_asked(interruption)
                self._end_epoch(bar)
                self._stop_if_asked(interruption)
        self._end_stage()

    @property
    def step(self) -> int:
        """Optimisation steps taken in this stage."""
        return self.epoch * self.order.steps + self.step_in_epoch

    def _attach_grouping(self) -> GradualGrouping | None:
        settings, training = self.stage.grouping, self.training
        if settings is None:
            return None
        schedule = settings.alpha(self.total_steps)
        places = hidden_channels(training.net) if settings.permute else ()
        return GradualGrouping(training.net, training.targets, schedule, settings.permute, places)

    def _batches(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """The forward passes of each optimisation step that is left in this epoch."""
        loader = DataLoader(
            self.views,
            batch_sampler=list(self.order.epoch(self.epoch, self.step_in_epoch)),
            num_workers=self.training.recipe.workers,
            # Forked workers share the images in memory; Python 3.14 would copy them to each.
            multiprocessing_context="fork" if self.training.recipe.workers else None,
            pin_memory=self.training.device.type == "cuda",
        )
        parts = []
        for part in loader:
            parts.append(part)
            if len(parts) == self.stage.accumulate:
                yield parts
                parts = []

    def _optimise(self, parts: list[tuple[Tensor, Tensor]]) -> float:
        """One optimisation step; returns its loss."""
        processes = self.training.processes
        self.wrapped.train()
        self._set_learning_rates()
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for i, (images, targets) in enumerate(parts):
            last = i == len(parts) - 1
            wait = processes.world > 1 and not last
            self._seed_dropout(i * processes.world + processes.rank)
            with self.wrapped.no_sync() if wait else nullcontext():
                loss = self._loss(images, targets) / len(parts)
                self.scaler.scale(loss).backward()
            total += loss.item()
        self._refuse_nan(total)
        if self.stage.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.task.parameters(), self.stage.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        moves = self.grouping.step(self.optimizer) if self.grouping else []
        if self.average:
            apply_moves(self.average.tensors, moves)
            self.average.update(self.task)
        return total

    def _seed_dropout(self, part: int) -> None:
        """By the place in the training only: a resumed run, or more processes, repeat it."""
        key = (self.training.recipe.seed, self.index, self.step, part)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def _loss(self, images: Tensor, targets: Tensor) -> Tensor:
        training = self.training
        images, targets = training.prepare(images), targets.to(training.device)
        with training.autocast():
            outputs = self.wrapped(images)
        loss = self.loss(outputs.float(), targets)
        if self.teacher is not None:
            with torch.no_grad(), training.autocast():
                expected = self.teacher(images)
            settings = self.stage.distillation
            loss = loss + settings.weight * distillation_loss(
                outputs, expected, settings.temperature
            )
        return loss

    def _set_learning_rates(self) -> None:
        """Poly decay `(1 − (e − 1)/E)^power` with e growing by the step, after the warm-up."""
        stage = self.stage
        rate = stage.lr * (1 - self.step / self.total_steps) ** stage.poly_power
        if self.step < stage.warmup_steps:
            rate *= (self.step + 1) / stage.warmup_steps
        frozen = self.epoch < stage.freeze_epochs
        for group in self.optimizer.param_groups:
            group["lr"] = stage.frozen_lr if frozen and group["encoder"] else rate

    def _refuse_nan(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise ErfSegError(
                f"the loss is {loss} at step {self.step} of stages.{self.index}: try a lower lr, "
                "warmup_steps, clip_norm or precision float32, and run again with --restart or "
                "another --output"
            )

    def _end_epoch(self, bar: tqdm) -> None:
        training, stage = self.training, self.stage
        self.epoch, self.step_in_epoch = self.epoch + 1, 0
        row: dict[str, Any] = {
            "stage": self.index,
            "task": stage.task,
            "epoch": self.epoch,
            "step": self.step,
            "lr": float(self.optimizer.param_groups[-1]["lr"]),
            "alpha": self.grouping.alpha if self.grouping else None,
            "loss": self.loss_sum / self.order.steps,
            "minutes": training.clock.wall / 60,
        }
        self.loss_sum = 0.0
        due = self.epoch % training.recipe.validate_every == 0 or self.epoch == stage.epochs
        if training.processes.first:
            if stage.task != "classify" and due:
                row.update(self._validation_scores())
            training.log.add(row)
            bar.set_postfix({k: v for k, v in row.items() if k in ("epoch", "loss", "alpha")})

    def _validation_scores(self) -> dict[str, float]:
        """Score every validation set, with the averaged weights where there are any."""
        own = None
        if self.average:
            own = {k: v.clone() for k, v in self.task.state_dict().items()}
            self.task.load_state_dict(self.average.tensors)
        scores = self.training.scores(self.task)
        if own is not None:
            self.task.load_state_dict(own)
        return {f"miou {name}": s["miou"] for name, s in scores.items()}

    def _end_stage(self) -> None:
        if self.average:
            self.task.load_state_dict(self.average.tensors)
        if self.stage.recalibrate_batches:
            self._recalibrate()
        if self.grouping:
            self.grouping.fold()
        self.training.processes.barrier()
        self.training.save_state(self.index + 1, {"between_stages": self.training.net.state_dict()})

    def _recalibrate(self) -> None:
        """All processes measure on the same views, those of the epochs after the last."""
        order = ViewOrder(self.order.repeats, self.stage.batch_size, 1, self.order.seed)
        views = chain.from_iterable(order.epoch(epoch) for epoch in count(self.stage.epochs))
        chosen = list(islice(views, self.stage.recalibrate_batches))
        loader = DataLoader(self.views, batch_sampler=chosen)
        recalibrate_norms(self.task, (self.training.prepare(images) for images, _ in loader))

    def _stop_if_asked(self, interruption: Interruption) -> None:
        if interruption.asked:
            self._save()
            interruption.act()

    def _save(self) -> None:
        state = {
            "net": self.training.net.state_dict(),
            "task": self.task.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "loss_sum": self.loss_sum,
        }
        self.training.save_state(self.index, state)

    def _resume(self, state: dict[str, Any]) -> None:
        if "task" not in state:
            return
        self.training.net.load_state_dict(state["net"])
        self.task.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.epoch, self.step_in_epoch = state["epoch"], state["step_in_epoch"]
        self.loss_sum = state["loss_sum"]


def prepare_task(
    training: Training, index: int
) -> tuple[nn.Module, nn.Module, Dataset, np.ndarray]:
    """Network, loss, views and how often an epoch shows each image, for stage number `index`."""
    stage = training.recipe.stages[index]
    height, augmentation = training.recipe.input_size[0], stage.augmentation
    if stage.task == "classify":
        images = training.data.classified(stage.images)
        task = EncoderClassifier(training.net, len(images.names))
        views = ClassifiedViews(images, height, augmentation)
        return task, nn.CrossEntropyLoss(), views, np.ones(len(images.files))
    classes, unions = training.class_set.num_classes, union_members(training.class_set)
    weights = None
    if stage.class_weights:
        offset = WEIGHT_OFFSETS[stage.task]
        weights = class_weights(training.images.pixels(index), classes, len(unions), offset)
    loss = LabelLoss(classes, unions, weights, stage.ohem_fraction)
    alone = stage.task == "encoder"
    task = EncoderWithHead(training.net, training.net.num_classes) if alone else training.net
    stride = STRIDE if alone else 1
    views = Views(training.images, height, augmentation, stride)
    return task, loss, views, training.images.repeats(index)


def _load_teacher(stage: Stage, training: Training) -> nn.Module | None:
    if stage.distillation is None:
        return None
    teacher, _ = build_from_checkpoint(stage.distillation.teacher)
    teacher.requires_grad_(False)
    return teacher.to(training.device, memory_format=training.memory_format)
