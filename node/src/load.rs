//! How busy this machine is, as its candidacies say it.

use std::fs;
use std::num::NonZero;
use std::thread;

/// Returns the load average of the last minute for each core, in percent of what keeps all cores
/// busy, 100 at most; `None` where the operating system does not say (only Linux does here).
pub(crate) fn percent() -> Option<u8> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    percent_of(&text, cores)
}

/// `/proc/loadavg` begins with the average of the last minute, with two decimals.
fn percent_of(text: &str, cores: usize) -> Option<u8> {
    let (whole, cents) = text.split_whitespace().next()?.split_once('.')?;
    let cents = whole.parse::<u64>().ok()?.checked_mul(100)? + cents.parse::<u64>().ok()?;
    let percent = cents / u64::try_from(cores).ok()?.max(1);
    u8::try_from(percent.min(100)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_a_share_of_all_cores() {
        assert_eq!(percent_of("0.50 0.40 0.30 1/234 567\n", 2), Some(25));
        assert_eq!(percent_of("17.08 9.00 3.00 1/234 567\n", 4), Some(100));
        assert_eq!(percent_of("", 4), None);
    }
}
