"""Grey values for slices that stand for nothing in particular."""

import math

import numpy as np


class GreyChooser:
    """Grey values of one slice: few clusters for CT, anything for MR."""

    def __init__(self, rng: np.random.Generator, is_mr: bool) -> None:
        self.rng = rng
        soft = rng.uniform(90, 165)
        spread = rng.uniform(3, 16)
        if is_mr:
            count = int(rng.integers(3, 8))
            self.centres = rng.uniform(8, 245, count)
            self.spreads = rng.uniform(2, 14, count)
            self.weights = rng.dirichlet(np.ones(count))
        else:
            self.centres = np.array(
                [soft, rng.uniform(20, 70), 0.0, 255.0, rng.uniform(150, 240)]
            )
            self.spreads = np.array([spread, 8.0, 3.0, 25.0, 20.0])
            self.weights = rng.dirichlet([12.0, 4.0, 1.0, 1.0, 1.5])
        self.texture = float(np.exp(rng.uniform(np.log(0.5), np.log(7.0))))

    def draw(self, near: float | None) -> tuple[float, float]:
        """Return a mean and a texture amplitude."""
        rng = self.rng
        if near is not None and rng.random() < 0.5:
            step = math.exp(rng.uniform(math.log(6), math.log(70)))
            mean = near + (step if rng.random() < 0.5 else -step)
        else:
            index = rng.choice(self.centres.size, p=self.weights)
            mean = self.centres[index] + rng.normal(0, self.spreads[index])
        texture = self.texture * float(np.exp(rng.normal(0, 0.6)))
        if rng.random() < 0.06:
            texture += rng.uniform(10, 40)
        return float(np.clip(mean, 0, 255)), texture
