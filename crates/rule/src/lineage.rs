//! Which rules led to a reading: a label of its series, by which circles of rules are noticed.

use model::{Labels, MachineId};
use sha2::{Digest as _, Sha256};

use command::Lineage;

/// The label of a derived series that names the rules that led to it, oldest first.
pub(crate) const LINEAGE_LABEL: &str = "lineage";

/// The number of a rule in lineages.
///
/// Two rules of a site share a number with a chance of one in four thousand million; they would
/// then be taken for a circle if one fed the other.
#[must_use]
pub(crate) fn number(machine: &MachineId, rule: &str) -> u32 {
    let digest = Sha256::new()
        .chain_update(machine.as_bytes())
        .chain_update(rule)
        .finalize();
    digest
        .iter()
        .take(4)
        .fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

/// The rules that led to a series; none if it has no such label or one that does not read.
pub(crate) fn of(labels: &Labels) -> Vec<u32> {
    let label = labels.iter().find(|(key, _)| *key == LINEAGE_LABEL);
    let numbers = label.iter().flat_map(|(_, text)| text.split('-'));
    numbers
        .filter_map(|text| u32::from_str_radix(text, 16).ok())
        .collect()
}

/// As it stands in the label.
pub(crate) fn label(lineage: &Lineage) -> String {
    let numbers = lineage.rules().iter();
    let numbers: Vec<String> = numbers.map(|number| format!("{number:08x}")).collect();
    numbers.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_lineage_fits_into_a_label_and_reads_back() {
        let rules: Vec<u32> = (0..12).map(|n| u32::MAX - n).collect();
        let text = label(&Lineage::new(rules.clone()).expect("as long as may be"));

        assert!(text.len() <= Labels::BYTES_MAX);
        let labels = Labels::new([(LINEAGE_LABEL.to_owned(), text)].into()).expect("labels");
        assert_eq!(of(&labels), rules);
    }
}
