//! Patterns over command names: `*` is one level, `**` any number. Which of two allows more.

/// Whether every name that fits `narrow` also fits `broad`. May say no where it is so, never yes
/// where it is not: the levels that `narrow` leaves open count as levels that nobody knows.
///
/// Takes time proportional to the product of their levels.
pub(crate) fn covers(broad: &str, narrow: &str) -> bool {
    let narrow: Vec<&str> = narrow.split('/').collect();
    // Whether what was read of `broad` covers the first levels of `narrow`, by their number.
    let mut covered = vec![false; narrow.len() + 1];
    covered[0] = true;
    for level in broad.split('/') {
        let before = std::mem::replace(&mut covered, vec![false; narrow.len() + 1]);
        if level == ANY_NUMBER {
            covered[0] = before[0];
        }
        for (at, narrow) in narrow.iter().enumerate() {
            covered[at + 1] = match level {
                ANY_NUMBER => before[at + 1] || covered[at],
                ONE => before[at] && *narrow != ANY_NUMBER,
                name => before[at] && *narrow == name,
            };
        }
    }
    covered[narrow.len()]
}

/// Stands for exactly one level.
const ONE: &str = "*";
/// Stands for any number of levels, also none.
const ANY_NUMBER: &str = "**";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_covers_what_allows_no_more() {
        for (broad, narrow) in [
            ("**", "press/stop"),
            ("**", "**"),
            ("**", "*/**"),
            ("press/*", "press/stop"),
            ("press/*", "press/*"),
            ("press/**", "press/oil/*"),
            ("press/**", "press"),
            ("**/stop", "press/**/stop"),
            ("*/**/stop", "a/b/stop"),
        ] {
            assert!(covers(broad, narrow), "{broad} covers {narrow}");
        }
        for (broad, narrow) in [
            ("press/*", "press/**"),
            ("press/*", "press"),
            ("press/*", "press/a/b"),
            ("*", "**"),
            ("press/stop", "press/*"),
            ("**/stop", "**"),
            ("*/**/stop", "stop"),
        ] {
            assert!(!covers(broad, narrow), "{broad} does not cover {narrow}");
        }
    }

    fn pattern() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "*", "**"]);
        prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
    }

    fn name() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "c"]);
        prop::collection::vec(level, 1..6).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn what_a_covered_pattern_allows_is_allowed_by_the_broader_one(
            broad in pattern(), narrow in pattern(), name in name(),
        ) {
            // A name without stars is a pattern that allows itself alone.
            if covers(&broad, &narrow) && covers(&narrow, &name) {
                prop_assert!(covers(&broad, &name), "{} {} {}", broad, narrow, name);
            }
        }
    }
}
