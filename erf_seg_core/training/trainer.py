"""Training by recipe: stages, optimisation steps, saving and resuming."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..checkpoint import CheckpointInfo, find_checkpoint, read_info, save_checkpoint
from ..class_sets import load_class_set
from ..devices import existing_device, parse_device
from ..errors import ErfSegError, refuse_undecodable, refuse_unwritable
from ..grouping import GradualGrouping, densify
from ..models import build_model, parse_model_name
from ..output_lock import output_lock
from .clock import Clock
from .logbook import Logbook, draw_predictions
from .processes import Processes, joined_processes
from .recipe import TRAINING, Recipe, Stage
from .run_data import RunData
from .saved_state import STATE_FILE, load_state, write_state
from .sources import LabelledSet
from .stage import StageRun
from .starting_weights import load_starting_weights, named_briefly
from .validation import network_predictor, validate


def train(recipe: Recipe, restart: bool = False, quiet: bool = False) -> Path:
    """Train by a recipe and return the final checkpoint's path.

    The run's folder (`recipe.output_folder`) receives `recipe.json`, `log.csv`, a TensorBoard log,
    `state.pt` (for resuming), pictures, `metrics.json` and the checkpoint. A folder with the state
    of the same recipe is resumed exactly, unless `restart`. Under torchrun, all processes call it.

    Raises `ErfSegError` for data or recipes that cannot be used, for a folder that holds another
    recipe's run, and when the loss is no longer a number.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    device = existing_device(parse_device(recipe.device))
    with joined_processes(device) as processes:
        if device.type == "cuda":
            if processes.world > 1:
                device = torch.device("cuda", processes.local_rank)
            torch.cuda.set_device(device)
        return Training(recipe, device, processes, restart, quiet).run()


class Training:
    """One run on one process."""

    def __init__(
        self, recipe: Recipe, device: torch.device, processes: Processes, restart: bool, quiet: bool
    ) -> None:
        """Read the data, build the network; nothing is written yet."""
        self.recipe, self.device, self.processes = recipe, device, processes
        self.restart = restart
        self.quiet = quiet or not processes.first
        self.folder = recipe.output_folder
        self.final = self.folder / f"{parse_model_name(recipe.model)}.safetensors"
        self.class_set = load_class_set(recipe.class_set)
        self.outputs = self.class_set.num_classes + recipe.void_output
        _check_device(recipe, device)
        self._check_stages()
        refuse_undecodable(self.folder)  # OpenCV, which draws into it, crashes over such names
        refuse_unwritable(self.folder)
        self.state = {} if restart else load_state(self.folder, recipe)
        self.data = RunData(recipe, self.class_set, self.quiet)
        self._check_same_run()
        self.images = self.data.read_images()
        if missing := self.data.missing_classes(self.images):  # a wrong file may be the reason
            self._tell(f"no pixel of the training images is {' or '.join(missing)}")
        torch.manual_seed(recipe.seed)
        self.net = build_model(recipe.model, self.outputs, recipe.module_order, recipe.dropout)
        # Grouped from the first step unless a stage evolves the groups.
        gradual = any(stage.grouping for stage in recipe.stages)
        self.targets = densify(self.net) if gradual else {}
        if recipe.init:
            fresh = load_starting_weights(self.net, recipe.init, self.class_set.names, gradual)
            if fresh:
                what = named_briefly(fresh)
                self._tell(f"{recipe.init} has nothing that fits {what}: started afresh")
        self.net.to(device, memory_format=self.memory_format)

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of weights and images; channels_last is faster for some models and machines."""
        return torch.channels_last if self.recipe.channels_last else torch.contiguous_format

    def prepare(self, images: Tensor) -> Tensor:
        """Uint8 N×3×H×W → float32 in [0, 1] on the device."""
        images = images.to(self.device, memory_format=self.memory_format, non_blocking=True)
        return images.float() / 255

    def autocast(self) -> AbstractContextManager:
        """Context in which the network computes in the recipe's precision."""
        dtype = getattr(torch, self.recipe.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def run(self) -> Path:
        """Go through the stages that are left; no other run may write to the folder meanwhile."""
        with output_lock(self.folder) if self.processes.first else nullcontext():
            return self._run()

    def _run(self) -> Path:
        if self.processes.first:
            text = json.dumps(self.recipe.to_dict(), indent=1)
            (self.folder / "recipe.json").write_text(text, encoding="utf-8")
            if self.restart:  # or a run that is killed before its first save would go on from there
                (self.folder / STATE_FILE).unlink(missing_ok=True)
        self.processes.barrier()
        self.log = Logbook(self.folder, self.state.get("rows")) if self.processes.first else None
        self.clock = Clock(*self.state.get("seconds", (0.0, 0.0)))
        reached = self.state.get("stage", 0)
        for stage in self.recipe.stages[:reached]:
            self._only_fold(stage)
        if "between_stages" in self.state:
            self.net.load_state_dict(self.state["between_stages"])
        for index, stage in enumerate(self.recipe.stages[reached:], start=reached):
            StageRun(self, index, stage).run(self.state if index == reached else {})
        if self.processes.first:
            self._finish()
        self.processes.barrier()
        return self.final

    def _check_stages(self) -> None:
        """Find what only this machine and the other checkpoints can tell of the stages."""
        if self.recipe.init:
            read_info(find_checkpoint(self.recipe.init))
        for index, stage in enumerate(self.recipe.stages):
            parts = stage.accumulate * self.processes.world
            if stage.batch_size % parts:
                raise ErfSegError(
                    f"stages.{index}: batch_size {stage.batch_size} does not divide by accumulate "
                    f"{stage.accumulate} × {self.processes.world} processes"
                )
            if stage.distillation:
                teacher = stage.distillation.teacher
                info = read_info(find_checkpoint(teacher))
                if (info.class_set.names, info.num_outputs) != (self.class_set.names, self.outputs):
                    raise ErfSegError(f"teacher {teacher} has other classes than this recipe")

    def _tell(self, what: str) -> None:
        if not self.quiet:
            tqdm.write(what, file=sys.stderr)

    def _check_same_run(self) -> None:
        """Other images or classes would go on to other weights than the run would have had."""
        if self.state.get("data", self.data.fingerprint) != self.data.fingerprint:
            raise ErfSegError(
                f"{self.folder} holds a run with other training images or classes of the same "
                "recipe; choose another --output, or --restart to overwrite it"
            )
        before = self.state.get("processes", self.processes.world)
        if before != self.processes.world:
            self._tell(
                f"the run had {before} processes and goes on with {self.processes.world}: the "
                "statistics of its batch norms will not be those that it would have had"
            )

    def _only_fold(self, stage: Stage) -> None:
        """Give the network the structure it has after a stage that an earlier process finished."""
        if stage.grouping:
            GradualGrouping(self.net, self.targets, lambda step: 0.0).fold()

    def say_it_will_stop(self) -> None:
        """Tell whoever pressed Ctrl-C what they wait for."""
        self._tell("stopping after this step, to save it; once more stops at once")

    def save_state(self, stage: int, state: dict[str, Any]) -> None:
        """Write everything needed to go on; the file appears whole or not at all."""
        if not self.processes.first:
            return
        common = {
            "recipe": self.recipe.to_dict(),
            "data": self.data.fingerprint,
            "stage": stage,
            "processes": self.processes.world,
            "seconds": (self.clock.wall, self.clock.cpu),
        }
        write_state(self.folder, {**common, "rows": self.log.rows, **state})

    def scores(self, net: nn.Module) -> dict[str, dict[str, Any]]:
        """Score a network, which may be the encoder with a head, on every validation set."""
        return {
            name: validate(net, labelled, self.class_set, self.recipe.input_size).to_dict()
            for name, labelled in self.data.validation.items()
        }

    def _finish(self) -> None:
        """Score the final network; write checkpoint, metrics and pictures."""
        self.net.eval()
        metrics = {
            **self.scores(self.net),
            TRAINING: {
                "images": len(self.images),
                "epochs": sum(s.epochs for s in self.recipe.stages),
                "minutes": round(self.clock.wall / 60, 2),
                "cpu_minutes": round(self.clock.cpu / 60, 2),
                "final_loss": self.log.rows[-1]["loss"],
            },
        }
        info = CheckpointInfo(
            model=self.recipe.model,
            num_outputs=self.net.num_classes,
            class_set=self.class_set,
            input_size=self.recipe.input_size,
            module_order=self.recipe.module_order,
            recipe=self.recipe.to_dict(),
            metrics=metrics,
            notes=self.recipe.notes,
        )
        save_checkpoint(self.final, self.net, info)
        text = json.dumps(metrics, indent=1)
        (self.folder / "metrics.json").write_text(text, encoding="utf-8")
        self.log.close()
        self._draw()

    def _draw(self) -> None:
        predict = network_predictor(self.net, self.recipe.input_size, self.class_set.num_classes)
        triples = []
        with torch.no_grad():
            for labelled in self.data.validation.values():
                for i in _spread(labelled, 3):
                    image, truth = labelled.load(i)
                    triples.append((image, truth, predict(image, truth.shape)))
        if triples:
            draw_predictions(triples, self.class_set, self.folder / "predictions.png")


def _check_device(recipe: Recipe, device: torch.device) -> None:
    if recipe.channels_last and recipe.precision == "bfloat16" and device.type == "cpu":
        # Seen with torch 2.13 on an AVX-512 CPU: the weight gradient of dilated depthwise convs
        # is then partly uninitialised memory. Either option alone is right.
        raise ErfSegError("channels_last with bfloat16 gives wrong gradients on the CPU: drop one")
    if recipe.precision == "float16" and device.type == "cpu":
        raise ErfSegError("precision float16 is for GPUs: on the CPU use bfloat16 or float32")


def _spread(labelled: LabelledSet, count: int) -> list[int]:
    """A few frame numbers, evenly over the set."""
    n = len(labelled.frames)
    return sorted({round(i * (n - 1) / max(1, count - 1)) for i in range(count)})
