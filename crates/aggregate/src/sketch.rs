//! Quantiles: a DDSketch whose bins are found by integer arithmetic.
//!
//! Implements DDSketch (Masson, Rim, Lee, VLDB 2019) with the collapsing of the lowest bins.
//!
//! # Where we differ from the paper
//!
//! - Bins are equal parts of an octave, taken from the bits of the double (the paper's
//!   "linearly interpolated" mapping), not logarithms: `ln` and `exp` come from the platform's
//!   libm and may differ in the last bit between an ARM and an x86 relay, and then a value next to
//!   a border falls into another bin. This is why `sketches-ddsketch` is not used. It costs 50
//!   bins an octave where logarithms need 35.
//! - Bins are kept sparse: most windows have few readings, and there are many windows.

/// Counts of values by bin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sketch {
    /// Bins in the order of their values, with counts.
    bins: Vec<(i64, u64)>,
    /// Where the last value went; the next one is often there too.
    recent: usize,
    count: u64,
}

impl Sketch {
    /// Adds a finite value.
    pub(crate) fn add(&mut self, value: f64) {
        let bin = bin_of(value);
        self.count += 1;
        if let Some(recent) = self.bins.get_mut(self.recent)
            && recent.0 == bin
        {
            recent.1 += 1;
            return;
        }
        match self.bins.binary_search_by_key(&bin, |&(bin, _)| bin) {
            Ok(index) => {
                self.bins[index].1 += 1;
                self.recent = index;
            }
            Err(index) => {
                self.bins.insert(index, (bin, 1));
                self.recent = index;
                self.collapse();
            }
        }
    }

    /// Merges the two lowest bins when there are too many; low quantiles lose accuracy then.
    fn collapse(&mut self) {
        if self.bins.len() > BINS_MAX {
            let (_, count) = self.bins.remove(0);
            self.bins[0].1 += count;
            self.recent = self.recent.saturating_sub(1);
        }
    }

    /// Returns the value of rank `(count - 1) * permille / 1000`, rounded down, within 1 % of it;
    /// `None` without values.
    pub(crate) fn quantile(&self, permille: u32) -> Option<f64> {
        let last = u128::from(self.count.checked_sub(1)?);
        let rank = last * u128::from(permille) / 1_000;
        let mut seen = 0;
        let bin = self.bins.iter().find(|(_, count)| {
            seen += u128::from(*count);
            seen > rank
        });
        bin.map(|&(bin, _)| value_of(bin))
    }
}

/// The bin of a finite value: its sign, exponent, and which part of the octave. Values below the
/// smallest normal double count as zero.
fn bin_of(value: f64) -> i64 {
    let bits = value.to_bits();
    let exponent = (bits >> MANTISSA_BITS) & 0x7ff;
    if exponent == 0 {
        return 0;
    }
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    let part = (mantissa * BINS_PER_OCTAVE) >> MANTISSA_BITS;
    let bin = (exponent * BINS_PER_OCTAVE + part).cast_signed();
    if value.is_sign_negative() { -bin } else { bin }
}

/// The value with the same greatest relative distance to both ends of a bin.
fn value_of(bin: i64) -> f64 {
    let magnitude = bin.unsigned_abs();
    let octave = f64::from_bits((magnitude / BINS_PER_OCTAVE) << MANTISSA_BITS);
    let low = (BINS_PER_OCTAVE + magnitude % BINS_PER_OCTAVE) as f64;
    let high = low + 1.0;
    let middle = 2.0 * low * high / ((low + high) * BINS_PER_OCTAVE as f64);
    match bin {
        0 => 0.0,
        1.. => middle * octave,
        _ => -(middle * octave),
    }
}

/// Equal parts of an octave. The first is the widest relative to its values, 1/50, and its middle
/// is off by at most 1/101. Source: relative error of 1 %, design, section 10.
const BINS_PER_OCTAVE: u64 = 50;
/// Most bins. Source: conventions, "Aggregates". Forty octaves of one sign fit, from a millionth
/// to a million.
const BINS_MAX: usize = 2_048;
/// Bits of a double's mantissa. Source: IEEE 754, binary64.
const MANTISSA_BITS: u32 = 52;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quantile_is_within_one_percent_of_the_exact_one(
            mut values in prop::collection::vec(
                prop_oneof![-1e6..1e6f64, -1e-3..1e-3f64, Just(0.0), 1e200..1e300f64],
                1..400,
            ),
            permille in 0..=1_000u32,
        ) {
            let mut sketch = Sketch::default();
            values.iter().for_each(|&value| sketch.add(value));

            values.sort_by(f64::total_cmp);
            let exact = values[(values.len() - 1) * permille as usize / 1_000];
            let found = sketch.quantile(permille).expect("not empty");
            prop_assert!((found - exact).abs() <= exact.abs() * 0.01, "{found} for {exact}");
        }
    }

    #[test]
    fn beyond_its_limit_of_bins_the_high_quantiles_stay_accurate() {
        let mut sketch = Sketch::default();
        let values: Vec<f64> = (0..60).map(|octave| f64::from(octave).exp2()).collect();

        for octave in &values {
            (0..50).for_each(|part| sketch.add(octave * (1.0 + f64::from(part) / 50.0)));
        }

        assert_eq!(sketch.bins.len(), BINS_MAX);
        let top = sketch.quantile(1_000).expect("not empty");
        assert!((top - values[59] * 1.98).abs() <= values[59] * 0.02);
    }

    #[test]
    fn bins_are_fixed_for_ever() {
        assert_eq!(bin_of(1.0), 1_023 * 50);
        assert_eq!(bin_of(-1.5), -(1_023 * 50 + 25));
        assert_eq!(bin_of(f64::MIN_POSITIVE / 2.0), 0);
        assert_eq!(value_of(bin_of(1.0)).to_bits(), 0x3ff0_288d_f0ca_c5b4);
    }
}
