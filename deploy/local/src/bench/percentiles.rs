//! Latencies, and what share of them is below which value.

/// Latencies in ascending order.
pub(super) struct Latencies(Vec<u32>);

impl Latencies {
    /// Sorts latencies in microseconds.
    pub(super) fn of(mut microseconds: Vec<u32>) -> Self {
        microseconds.sort_unstable();
        Self(microseconds)
    }

    /// Returns how many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the smallest latency in milliseconds that at least `per_cent` of all do not exceed;
    /// `None` if there are none. 100 per cent is the largest.
    pub(super) fn at(&self, per_cent: f64) -> Option<f64> {
        let rank = (per_cent / 100.0 * self.0.len() as f64).ceil() as usize;
        let microseconds = self.0.get(rank.saturating_sub(1))?;
        Some(f64::from(*microseconds) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_latency_that_was_measured() {
        let latencies = Latencies::of((1..=100).rev().map(|n| n * 1_000).collect());
        assert_eq!(latencies.at(50.0), Some(50.0));
        assert_eq!(latencies.at(95.0), Some(95.0));
        assert_eq!(latencies.at(99.0), Some(99.0));
        assert_eq!(latencies.at(100.0), Some(100.0));
    }

    #[test]
    fn few_latencies_have_percentiles_too() {
        let latencies = Latencies::of(vec![3_000, 1_000]);
        assert_eq!(latencies.at(50.0), Some(1.0));
        assert_eq!(latencies.at(99.0), Some(3.0));
        assert_eq!(Latencies::of(Vec::new()).at(50.0), None);
    }
}
