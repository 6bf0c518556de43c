import pytest

from napari_qmedsam.training.schedules import epoch_rate, float_rate
from napari_qmedsam.training.settings import QATSettings, TrainingSettings


def test_float_rate_warms_up_rests_and_falls():
    settings = TrainingSettings(
        steps=1000, warmup=100, decay_from=0.5, learning_rate=1.0
    )
    assert float_rate(0, settings) == pytest.approx(0.01)
    assert float_rate(49, settings) == pytest.approx(0.5)
    assert float_rate(300, settings) == 1.0
    assert float_rate(750, settings) == pytest.approx(0.505)
    assert float_rate(1000, settings) == pytest.approx(0.01)


def test_epoch_rate_is_that_of_the_paper():
    settings = QATSettings(learning_rate=1.0, warmup_epochs=5, annealing_epochs=10)
    assert settings.epochs == 15
    rates = [epoch_rate(epoch, settings) for epoch in range(15)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[1] == pytest.approx(0.01 + 0.99 / 5)
    assert rates[5] == 1.0
    assert rates[8] == pytest.approx(0.001 + 0.999 * 0.75)  # a third of the half-period
    assert rates[14] == pytest.approx(0.001)


def test_a_single_annealing_epoch_has_the_full_rate():
    settings = QATSettings(learning_rate=1.0, warmup_epochs=0, annealing_epochs=1)
    assert epoch_rate(0, settings) == 1.0
