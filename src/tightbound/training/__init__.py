"""Training: callbacks for `fit`. Free of torch."""

from tightbound.training.callbacks import Callback, TensorBoard, TrainingState

__all__ = ["Callback", "TensorBoard", "TrainingState"]
