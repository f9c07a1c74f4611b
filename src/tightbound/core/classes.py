"""Class labels in the forms in which data hold them."""

from __future__ import annotations

from torch import Tensor


def class_numbers(labels: Tensor | None) -> Tensor | None:
    """Return the class (N,) of each example; None if the labels are no classes.

    Labels are classes if they are whole numbers (N,) or (N, 1), or one-hot rows (N, K).
    """
    if labels is None or labels.dim() not in (1, 2) or labels.is_complex():
        return None
    if labels.dim() == 2 and labels.shape[1] > 1:
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()
        return labels.argmax(1) if one_hot else None
    flat = labels.flatten()
    return flat.long() if not flat.is_floating_point() or bool((flat == flat.round()).all()) else None
