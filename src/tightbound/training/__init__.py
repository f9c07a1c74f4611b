"""Callbacks for `fit`. Does not import torch."""

from tightbound.training.callbacks import Callback, TensorBoard, TrainingState

__all__ = ["Callback", "TensorBoard", "TrainingState"]
