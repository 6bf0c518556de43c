"""Learning rates, as functions of the step or the epoch alone."""

import math

from napari_qmedsam.training.settings import QATSettings, TrainingSettings


def float_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, a plateau, then a cosine down to 1 % of the peak."""
    peak = settings.learning_rate
    if step < settings.warmup:
        return peak * (step + 1) / settings.warmup
    begin = settings.decay_from * settings.steps
    if step < begin:
        return peak
    done = (step - begin) / max(1.0, settings.steps - begin)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def epoch_rate(epoch: int, settings: QATSettings) -> float:
    """Linear warm-up from 1 % over N_w epochs, then a cosine over N_a (QMedSAM, 3.3).

    The half-period of the cosine is N_a - 1, so that the first of its epochs
    has the full rate and the last 0.1 % of it. Epochs count from 0.
    """
    peak, warmup = settings.learning_rate, settings.warmup_epochs
    if epoch < warmup:
        return peak * (0.01 + 0.99 * epoch / warmup)
    done = (epoch - warmup) / max(1, settings.annealing_epochs - 1)
    return peak * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
