"""The cell, its fading and its moving clients: laws, limits, determinism, error texts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.special import j0

from stsflora.models.cell.cell import (
    Cell,
    Clients,
    advance,
    channel_gain,
    drop,
    mean_gain,
    path_gain,
    shadowing_gain,
    simulate,
)
from stsflora.models.cell.fading import (
    doppler_hz,
    fading_power,
    gauss_markov_step,
    jakes_correlation,
    jakes_scattered,
    scattered,
)
from stsflora.models.cell.mobility import (
    chord_standing_s,
    poisson_active,
    random_velocity,
    standing_s,
    takes_part,
    uniform_in_ring,
)
from stsflora.solver import OptionError, ProblemError

SAMPLES = 20_000
SIGNIFICANCE = 1e-3
"""Seeds are fixed, so a right law passes for good; a wrong one fails at this sample size."""


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def follows(sample: np.ndarray, law: str, *shape: float) -> bool:
    return bool(stats.kstest(sample, law, args=shape).pvalue > SIGNIFICANCE)


class TestPlacement:
    def test_area_is_covered_evenly(self) -> None:
        place = uniform_in_ring(SAMPLES, 5.0, 500.0, generator())
        area_share = (np.hypot(*place.T) ** 2 - 5.0**2) / (500.0**2 - 5.0**2)
        assert follows(area_share, "uniform")
        assert follows(np.arctan2(place[:, 1], place[:, 0]) / (2 * np.pi) + 0.5, "uniform")

    def test_speed_and_heading_are_even(self) -> None:
        velocity = random_velocity(SAMPLES, 1.0, 3.0, generator())
        assert follows((np.hypot(*velocity.T) - 1.0) / 2.0, "uniform")
        assert follows(np.arctan2(velocity[:, 1], velocity[:, 0]) / (2 * np.pi) + 0.5, "uniform")

    def test_path_gain_is_the_power_law(self) -> None:
        np.testing.assert_allclose(
            path_gain([1.0, 10.0, 100.0], 2.5, 1e-3), [1e-3, 10**-5.5, 1e-8], rtol=1e-14
        )

    def test_shadowing_is_normal_in_decibels(self) -> None:
        decibels = 10 * np.log10(shadowing_gain(SAMPLES, 8.0, generator()))
        assert follows(decibels / 8.0, "norm")
        np.testing.assert_array_equal(shadowing_gain(3, 0.0, generator()), 1.0)


class TestFading:
    def test_rayleigh_power_is_exponential(self) -> None:
        assert follows(fading_power(scattered(SAMPLES, generator())), "expon")

    @pytest.mark.parametrize("factor", [0.5, 4.0])
    def test_rician_power_is_noncentral_chi_square(self, factor: float) -> None:
        power = fading_power(scattered(SAMPLES, generator()), factor)
        assert follows(2.0 * (1.0 + factor) * power, "ncx2", 2.0, 2.0 * factor)
        assert power.mean() == pytest.approx(1.0, abs=0.03)

    def test_no_fading_is_the_limit(self) -> None:
        np.testing.assert_array_equal(fading_power(scattered(5, generator()), np.inf), 1.0)
        np.testing.assert_allclose(fading_power(scattered(5, generator()), 1e12), 1.0, rtol=1e-4)

    @pytest.mark.parametrize("correlation", [0.95, 0.3, 0.0, -0.4])
    def test_gauss_markov_correlation_falls_as_a_power(self, correlation: float) -> None:
        rng = generator(1)
        path = [scattered(SAMPLES, rng)]
        for _ in range(4):
            path.append(gauss_markov_step(path[-1], correlation, rng))
        for lag in range(5):
            assert np.mean(path[lag] * path[0].conj()) == pytest.approx(correlation**lag, abs=0.03)
        assert follows(fading_power(path[-1]), "expon")

    def test_gauss_markov_ends(self) -> None:
        rng = generator()
        now = scattered(4, rng)
        np.testing.assert_array_equal(gauss_markov_step(now, 1.0, rng), now)
        mixed = gauss_markov_step(now, [1.0, 1.0, 0.0, 0.0], rng)
        np.testing.assert_array_equal(mixed[:2], now[:2])
        assert not np.any(mixed[2:] == now[2:])

    def test_jakes_waves_have_the_bessel_correlation(self) -> None:
        time_s = np.linspace(0.0, 0.02, 9)
        waves = jakes_scattered(time_s, 100.0, SAMPLES, generator())
        measured = np.mean(waves * waves[0].conj(), axis=1)
        np.testing.assert_allclose(measured, j0(2 * np.pi * 100.0 * time_s), atol=0.03)
        np.testing.assert_allclose(jakes_correlation(100.0, time_s), measured.real, atol=0.03)
        assert follows(fading_power(waves[4]), "expon")

    def test_jakes_waves_stand_still_without_doppler(self) -> None:
        waves = jakes_scattered([0.0, 1.0], [0.0, 50.0], 2, generator())
        assert waves[0, 0] == pytest.approx(waves[1, 0])
        assert waves[0, 1] != pytest.approx(waves[1, 1])

    def test_doppler_of_a_car(self) -> None:
        assert doppler_hz(30.0, 2.99792458e9) == pytest.approx(300.0, rel=1e-14)


class TestMobility:
    def test_standing_time_is_equation_7(self) -> None:
        seconds = standing_s([400.0, 490.0, 100.0, 500.0, 600.0], [2.0, 2.0, 0.0, 0.0, 2.0], 500.0, 30.0)
        np.testing.assert_array_equal(seconds, [30.0, 5.0, 30.0, 0.0, 0.0])

    def test_chord_ends_on_the_edge(self) -> None:
        rng = generator()
        place, velocity = uniform_in_ring(500, 5.0, 500.0, rng), random_velocity(500, 0.5, 30.0, rng)
        seconds = chord_standing_s(place, velocity, 500.0)
        np.testing.assert_allclose(np.hypot(*(place + velocity * seconds[:, None]).T), 500.0, rtol=1e-12)

    def test_equation_7_is_the_shortest_chord(self) -> None:
        rng = generator()
        place, velocity = uniform_in_ring(500, 5.0, 500.0, rng), random_velocity(500, 0.5, 30.0, rng)
        shortest = standing_s(np.hypot(*place.T), np.hypot(*velocity.T), 500.0)
        assert np.all(shortest <= chord_standing_s(place, velocity, 500.0) * (1 + 1e-12))
        outwards = place / np.hypot(*place.T)[:, None]
        np.testing.assert_allclose(
            chord_standing_s(place, outwards, 500.0), 500.0 - np.hypot(*place.T), rtol=1e-9
        )

    def test_chord_near_the_edge_keeps_its_digits(self) -> None:
        assert chord_standing_s([[500.0 - 1e-9, 0.0]], [[1.0, 0.0]], 500.0)[0] == pytest.approx(
            1e-9, rel=1e-4
        )

    def test_chord_of_one_at_rest_or_outside(self) -> None:
        seconds = chord_standing_s([[1.0, 0.0], [600.0, 0.0]], [[0.0, 0.0], [-1.0, 0.0]], 500.0, 60.0)
        np.testing.assert_array_equal(seconds, [60.0, 0.0])

    def test_selection_is_equation_9(self) -> None:
        np.testing.assert_array_equal(takes_part([1.0, 2.0, 3.0, np.inf], 2.0), [True, True, False, False])

    def test_activation_probability(self) -> None:
        active = poisson_active(SAMPLES, 0.7, generator()).sum()
        assert stats.binomtest(int(active), SAMPLES, 1 - np.exp(-0.7)).pvalue > SIGNIFICANCE
        np.testing.assert_array_equal(
            poisson_active(3, [0.0, np.inf, 0.0], generator()), [False, True, False]
        )


class TestRounds:
    def test_gain_is_path_loss_times_shadowing_times_fading(self) -> None:
        cell = Cell(shadowing_db=6.0, rician_factor=2.0)
        clients = drop(cell, 50, generator())
        expected = 1e-3 * clients.distance_m**-2.5 * clients.shadowing * fading_power(clients.scattered, 2.0)
        np.testing.assert_allclose(channel_gain(cell, clients), expected, rtol=1e-12)

    def test_path_loss_stops_at_the_inner_radius(self) -> None:
        clients = Clients(np.array([[0.0, 0.0]]), np.zeros((1, 2)), np.ones(1), np.ones(1, complex))
        assert mean_gain(Cell(), clients)[0] == pytest.approx(1e-3 * 5.0**-2.5)

    def test_clients_walk_straight_and_stay_the_same(self) -> None:
        cell = Cell(outer_radius_m=500.0, shadowing_db=6.0)
        rng = generator()
        before = drop(cell, 200, rng)
        after = advance(cell, before, 10.0, rng, correlation=1.0)
        stayed = chord_standing_s(before.position_m, before.velocity_m_per_s, 500.0) > 10.0
        assert 0 < np.sum(~stayed) < 50
        walked = before.position_m + 10.0 * before.velocity_m_per_s
        np.testing.assert_array_equal(after.position_m[stayed], walked[stayed])
        np.testing.assert_array_equal(after.shadowing[stayed], before.shadowing[stayed])
        np.testing.assert_array_equal(after.scattered[stayed], before.scattered[stayed])
        assert np.all(after.shadowing[~stayed] != before.shadowing[~stayed])
        assert np.all(after.distance_m <= 500.0)

    def test_fast_clients_fade_faster(self) -> None:
        """The default correlation is Jakes' at each client's own speed."""
        rng = generator()
        base = drop(Cell(), SAMPLES, rng)
        speed = np.where(np.arange(SAMPLES) % 2, 0.0, 3.0)
        walking = Clients(
            np.tile([100.0, 0.0], (SAMPLES, 1)),
            np.stack([speed, 0 * speed], axis=1),
            base.shadowing,
            base.scattered,
        )
        after = advance(Cell(), walking, 0.01, rng)
        product = after.scattered * base.scattered.conj()
        assert product[1::2].mean() == pytest.approx(1.0, abs=0.03)
        assert product[::2].mean() == pytest.approx(
            j0(2 * np.pi * 3.0 * 3.5e9 / 299_792_458 * 0.01), abs=0.03
        )

    def test_rounds_are_a_chain(self) -> None:
        cell = Cell(activations_per_round=1.0)
        rounds = list(simulate(cell, 300, 4, seed=3, correlation=0.99))
        assert [r.index for r in rounds] == [0, 1, 2, 3]
        for now, following in pairwise(rounds):
            assert np.corrcoef(np.log(now.gain), np.log(following.gain))[0, 1] > 0.9
            assert not np.array_equal(now.active, following.active)
        for r in rounds:
            np.testing.assert_array_equal(r.gain, channel_gain(cell, r.clients))
            assert 0.5 < r.active.mean() < 0.75
            assert np.all((r.standing_s > 0) & (r.standing_s <= cell.longest_stay_s))

    def test_same_seed_same_rounds(self) -> None:
        first, again, other = (
            [r.gain for r in simulate(Cell(shadowing_db=4.0), 20, 5, seed=s)] for s in (7, 7, 8)
        )
        np.testing.assert_array_equal(first, again)
        assert not np.any(np.equal(first, other))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Cell(inner_radius_m=0.0), ProblemError, r"Cell: got inner_radius_m = 0; .*\(0, 500\)"),
        (lambda: Cell(outer_radius_m=4.0), ProblemError, r"inner_radius_m = 5; .*\(0, 4\)"),
        (lambda: Cell(path_loss_exponent=-1), ProblemError, "path_loss_exponent = -1"),
        (lambda: Cell(shadowing_db=float("nan")), ProblemError, "shadowing_db = nan"),
        (lambda: Cell(slowest_m_per_s=9.0), ProblemError, r"slowest_m_per_s = 9; .*\[0, 4\]"),
        (lambda: Cell(carrier_hz="3.5 GHz"), ProblemError, "carrier_hz = type <U7"),
        (lambda: path_gain([3.0, 0.0], 2.5, 1e-3), ProblemError, "path_gain: got distance_m = 0"),
        (lambda: uniform_in_ring(3, 9.0, 5.0, generator()), ProblemError, r"inner_radius_m = 9; .*\[0, 5\)"),
        (lambda: uniform_in_ring(0, 1.0, 5.0, generator()), OptionError, "clients=0; .*>= 1"),
        (lambda: random_velocity(2, 3.0, 1.0, generator()), ProblemError, "slowest_m_per_s = 3"),
        (lambda: shadowing_gain(2, -1.0, generator()), ProblemError, "deviation_db = -1"),
        (lambda: fading_power([1j], -0.5), ProblemError, "rician_factor = -0.5"),
        (
            lambda: gauss_markov_step(np.ones(1, complex), 1.1, generator()),
            ProblemError,
            r"correlation = 1.1; .*\[-1, 1\]",
        ),
        (lambda: jakes_correlation(-1.0, 1.0), ProblemError, "largest_doppler_hz = -1"),
        (lambda: jakes_scattered([0.0], 1.0, 2, generator(), waves=0), OptionError, "waves=0"),
        (lambda: doppler_hz(-3.0, 1e9), ProblemError, "speed_m_per_s = -3"),
        (lambda: standing_s(-1.0, 1.0, 5.0), ProblemError, "distance_m = -1"),
        (lambda: standing_s(1.0, 1.0, 5.0, 0.0), ProblemError, "longest_s = 0"),
        (
            lambda: chord_standing_s([1.0, 2.0], [[1.0, 2.0]], 5.0),
            ProblemError,
            r"position_m of shape \(2,\); .*\(M, 2\)",
        ),
        (lambda: chord_standing_s([[1.0, np.inf]], [[1.0, 2.0]], 5.0), ProblemError, "position_m = inf"),
        (lambda: poisson_active(2, -1.0, generator()), ProblemError, "activations_per_round = -1"),
        (
            lambda: advance(Cell(), drop(Cell(), 2, generator()), -1.0, generator()),
            ProblemError,
            "seconds = -1",
        ),
        (lambda: simulate(Cell(), 2, 0, 0), OptionError, "rounds=0"),
        (lambda: simulate(Cell(), 2, 1, -1), OptionError, "seed=-1; .*>= 0"),
        (lambda: simulate(Cell(), 2, 1, 0, correlation=2.0), ProblemError, "simulate: got correlation = 2"),
    ],
)
def test_bad_arguments_are_named(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call()
