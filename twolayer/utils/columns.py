"""The columns of a history that may pick the best parameters, and what each of them needs."""

from twolayer.utils.text import did_you_mean, expected_got

MONITORS = (
    "val_accuracy", "val_loss", "train_accuracy", "train_loss", "val_f1", "val_balanced_accuracy", "val_auc", "penalty",
    "gradient_norm", "update_ratio_W1", "update_ratio_W2", "weight_norm_W1", "weight_norm_W2", "dead_share",
    "activation_min", "activation_median", "activation_max",
)  # fmt: skip


def larger_is_better(column: str) -> bool:
    """Return True for an accuracy, F1, AUC or a custom score; of all other columns, less is better."""
    return column.endswith(("accuracy", "score", "f1", "auc"))


def needs_validation(column: str) -> bool:
    """Return whether the column has values only with validation rows."""
    return column.startswith("val_")


def needs_hidden_layer(column: str) -> bool:
    """Return whether the column has values only with a hidden layer."""
    return column.endswith("W1") or column.startswith(("dead_", "activation_"))


def require_monitor(monitor: str, *, validation: bool, hidden: bool, score: bool, n_classes: int) -> None:
    """Raise ValueError for a column that no record has, or that has no values in a training without validation rows,
    a hidden layer or a custom score."""
    if monitor not in MONITORS and not (monitor == "score" and score):
        expected = f"one of {', '.join(MONITORS)}, or score with a custom metric"
        raise ValueError(f"monitor: {expected_got(expected, repr(monitor), did_you_mean(monitor, MONITORS))}")
    if needs_validation(monitor) and not validation:
        raise ValueError(f"monitor {monitor!r} needs validation rows")
    if monitor == "val_auc" and n_classes != 2:
        raise ValueError(f"monitor 'val_auc' needs two classes, got {n_classes}; use val_balanced_accuracy or val_f1")
    if needs_hidden_layer(monitor) and not hidden:
        raise ValueError(f"monitor {monitor!r} needs a hidden layer")
