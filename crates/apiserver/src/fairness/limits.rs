//! How many seats each priority level may use: its share, and what levels lend each other by how much they asked for (KEP-1040).

use std::time::Duration;

use tokio::time::Instant;

/// How slowly a level's smoothed demand falls, per adjustment.
const SMOOTHING: f64 = 0.977;
/// A level that wants nothing still counts as wanting this.
const LEAST_TARGET: f64 = 0.001;

/// The seats of a level that follow from the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Its share.
    pub(super) nominal: u32,
    /// What nobody may borrow of them.
    pub(super) lower: u32,
    /// With all that it may borrow.
    pub(super) upper: u32,
}

impl Bounds {
    /// Of a level with `shares` of `all_shares` of a server with `total` seats.
    pub(super) fn new(total: u32, shares: u32, all_shares: u64, lendable: u32, borrowing: Option<u32>) -> Bounds {
        let nominal = (u64::from(total) * u64::from(shares)).div_ceil(all_shares.max(1)) as u32;
        let percent = |percent: u32| (f64::from(nominal) * f64::from(percent) / 100.0).round() as u32;
        Bounds {
            nominal,
            lower: nominal.saturating_sub(percent(lendable)),
            upper: nominal.saturating_add(borrowing.map_or(total, percent)),
        }
    }
}

/// What a level asked for since the last adjustment: the seats in use and waited for, over time.
#[derive(Debug)]
pub(super) struct Demand {
    since: Instant,
    as_of: Instant,
    current: f64,
    highest: f64,
    /// Integrals of the demand and of its square, in seconds.
    sum: f64,
    square_sum: f64,
    smoothed: f64,
}

impl Demand {
    pub(super) fn new(now: Instant) -> Demand {
        Demand { since: now, as_of: now, current: 0.0, highest: 0.0, sum: 0.0, square_sum: 0.0, smoothed: 0.0 }
    }

    /// From now on it is `seats`.
    pub(super) fn observe(&mut self, seats: u32, now: Instant) {
        self.advance(now);
        self.current = f64::from(seats);
        self.highest = self.highest.max(self.current);
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.as_of).as_secs_f64();
        self.as_of = now;
        self.sum += self.current * passed;
        self.square_sum += self.current * self.current * passed;
    }

    /// Ends the period, and says what the level wants for the next.
    fn settle(&mut self, bounds: Bounds, now: Instant) -> Wish {
        self.advance(now);
        let period = now.saturating_duration_since(self.since);
        if period > Duration::ZERO {
            let average = self.sum / period.as_secs_f64();
            let variance = self.square_sum / period.as_secs_f64() - average * average;
            let envelope = average + variance.max(0.0).sqrt();
            self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
        }
        let nominal = f64::from(bounds.nominal);
        let lower = f64::from(bounds.lower).max(nominal.min(self.highest));
        (self.since, self.highest, self.sum, self.square_sum) = (now, self.current, 0.0, 0.0);
        Wish { lower, upper: f64::from(bounds.upper), target: lower.max(self.smoothed) }
    }
}

/// What a level gets at least and at most, and what it wants.
#[derive(Clone, Copy, Debug)]
struct Wish {
    lower: f64,
    upper: f64,
    target: f64,
}

impl Wish {
    fn target(&self) -> f64 {
        self.target.max(LEAST_TARGET)
    }

    /// What it gets when everybody gets this part of their target.
    fn at(&self, part: f64) -> f64 {
        (self.target() * part).min(self.upper).max(self.lower)
    }
}

/// Shares the seats out anew between the levels.
pub(super) fn adjust(levels: &mut [(Bounds, &mut Demand)], now: Instant) -> Vec<u32> {
    let total: f64 = levels.iter().map(|(bounds, _)| f64::from(bounds.nominal)).sum();
    let wishes: Vec<Wish> = levels.iter_mut().map(|(bounds, demand)| demand.settle(*bounds, now)).collect();
    allocate(total, &wishes).into_iter().map(|seats| seats.round() as u32).collect()
}

/// Everybody gets the same part of their target, within their bounds, so that the sum is `total`.
fn allocate(total: f64, wishes: &[Wish]) -> Vec<f64> {
    let sum = |part: f64| wishes.iter().map(|w| w.at(part)).sum::<f64>();
    // The sum grows with the part, along a straight line between the parts at which somebody reaches a bound.
    let mut bends: Vec<f64> = wishes.iter().flat_map(|w| [w.lower / w.target(), w.upper / w.target()]).collect();
    bends.sort_by(f64::total_cmp);
    let enough = bends.partition_point(|part| sum(*part) < total);
    let part = match (bends[..enough].last(), bends.get(enough)) {
        (Some(&below), Some(&above)) => below + (above - below) * (total - sum(below)) / (sum(above) - sum(below)),
        (below, above) => above.or(below).copied().unwrap_or_default(),
    };
    wishes.iter().map(|w| w.at(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(lower: f64, target: f64, upper: f64) -> Wish {
        Wish { lower, upper, target }
    }

    #[test]
    fn bounds_follow_the_shares() {
        for (shares, lendable, borrowing, [nominal, lower, upper]) in [
            (30, 0, None, [74, 74, 674]),
            (40, 50, Some(0), [98, 49, 98]),
            (5, 0, Some(30), [13, 13, 17]),
            (0, 100, None, [0, 0, 600]),
        ] {
            assert_eq!(Bounds::new(600, shares, 245, lendable, borrowing), Bounds { nominal, lower, upper });
        }
    }

    #[test]
    fn seats_go_where_they_are_wanted_within_bounds() {
        for (total, wishes, expected) in [
            (30.0, vec![wish(5.0, 10.0, 40.0), wish(5.0, 20.0, 40.0)], vec![10.0, 20.0]),
            // Nobody takes what another has reserved, and nobody gets more than it may.
            (30.0, vec![wish(10.0, 10.0, 40.0), wish(5.0, 90.0, 15.0)], vec![15.0, 15.0]),
            (30.0, vec![wish(20.0, 20.0, 40.0), wish(5.0, 90.0, 90.0)], vec![20.0, 10.0]),
            // Those that want nothing leave everything to the others.
            (30.0, vec![wish(0.0, 0.0, 40.0), wish(5.0, 5.0, 30.0)], vec![0.0, 30.0]),
            (9.0, vec![wish(3.0, 3.0, 3.0), wish(6.0, 6.0, 9.0)], vec![3.0, 6.0]),
            (0.0, vec![], vec![]),
        ] {
            let got = allocate(total, &wishes);
            let close = got.len() == expected.len() && got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.01);
            assert!(close, "{wishes:?} of {total}: {got:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn demand_rises_at_once_and_falls_slowly() {
        let bounds = Bounds { nominal: 10, lower: 2, upper: 30 };
        let mut demand = Demand::new(Instant::now());
        demand.observe(20, Instant::now());
        tokio::time::advance(Duration::from_secs(10)).await;
        let wish = demand.settle(bounds, Instant::now());
        assert_eq!((wish.lower, wish.target, wish.upper), (10.0, 20.0, 30.0));

        demand.observe(0, Instant::now());
        tokio::time::advance(Duration::from_secs(10)).await;
        // The highest of a period includes what was there at its start.
        assert_eq!(demand.settle(bounds, Instant::now()).lower, 10.0);
        tokio::time::advance(Duration::from_secs(10)).await;
        let wish = demand.settle(bounds, Instant::now());
        assert_eq!(wish.lower, 2.0);
        assert!((wish.target - 20.0 * SMOOTHING * SMOOTHING).abs() < 1e-9, "{wish:?}");
    }
}
