//! Which runs of the simulator are worth repeating: those that failed once, and fresh ones.

use anyhow::{Context as _, Result};

/// Runs of the simulator that differ in their seeds only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    /// The scenario's name.
    pub(crate) scenario: String,
    /// How many machines.
    pub(crate) nodes: u32,
    /// The first seed.
    pub(crate) seed: u64,
    /// How many seeds, counted up.
    pub(crate) seeds: u32,
}

impl Runs {
    /// The command line of `sim` for them.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let options = [
            ("--scenario", self.scenario.clone()),
            ("--nodes", self.nodes.to_string()),
            ("--seed", self.seed.to_string()),
            ("--seeds", self.seeds.to_string()),
        ];
        options
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }
}

/// Reads `seeds.txt`: in each line a scenario, a number of machines and a seed; `#` begins a
/// comment.
///
/// # Errors
///
/// If a line is something else.
pub(crate) fn kept(text: &str) -> Result<Vec<Runs>> {
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| (index + 1, line.split('#').next().unwrap_or_default().trim()))
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            read_line(line).with_context(|| {
                format!(
                    "line {number}: `{line}` is not a scenario, a number of machines and a seed"
                )
            })
        })
        .collect()
}

fn read_line(line: &str) -> Result<Runs> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [scenario, nodes, seed] = words[..] else {
        anyhow::bail!("{} words instead of three", words.len());
    };
    Ok(Runs {
        scenario: scenario.to_owned(),
        nodes: nodes.parse()?,
        seed: seed.parse()?,
        seeds: 1,
    })
}

/// Runs that no commit before has made: their seeds derive from the commit's hash.
///
/// # Errors
///
/// If `commit` is no hash.
pub(crate) fn fresh(commit: &str) -> Result<Vec<Runs>> {
    let digits = commit.get(..SEED_DIGITS).unwrap_or(commit);
    let seed =
        u64::from_str_radix(digits, 16).with_context(|| format!("`{commit}` is no commit hash"))?;
    let runs = SCENARIOS.map(|(scenario, nodes)| Runs {
        scenario: scenario.to_owned(),
        nodes,
        seed,
        seeds: SEEDS_EACH,
    });
    Ok(runs.into())
}

/// The scenarios of `sim` and how many machines each is run with, but for those that take minutes.
/// Source: guess, enough that some are not neighbours.
const SCENARIOS: [(&str, u32); 20] = [
    ("steady", 5),
    ("churn", 5),
    ("partition", 5),
    ("relay-death", 5),
    ("revocation", 5),
    ("enrolment", 5),
    ("roll-back", 5),
    ("commands", 4),
    ("late-joiner", 4),
    ("everyone-publishes", 3),
    ("eclipse", 8),
    ("droppers", 6),
    ("cold-start", 4),
    ("insiders", 5),
    ("storm", 5),
    ("everything", 5),
    ("bit-rot", 5),
    ("mass-failure", 10),
    ("halves", 5),
    ("sites", 9),
];

/// Fresh seeds of each scenario for each commit, two hundred in all at least.
const SEEDS_EACH: u32 = 12;

/// Hexadecimal digits of the hash that make a seed; 60 bits, so that counting up cannot overflow.
const SEED_DIGITS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_seeds_are_read_and_comments_are_not() {
        let runs = kept("# all\n\nchurn 7 42 # lost a block\n").unwrap();

        let arguments = runs[0].arguments().join(" ");
        assert_eq!(arguments, "--scenario churn --nodes 7 --seed 42 --seeds 1");
        assert_eq!(runs.len(), 1);
    }

    #[test]
    fn a_line_that_is_no_seed_is_named() {
        let error = kept("churn 7 42\nchurn seven 42\n").unwrap_err();

        assert!(error.to_string().starts_with("line 2:"), "{error}");
    }

    #[test]
    fn each_commit_has_two_hundred_seeds_of_its_own() {
        let one = fresh("afe7a36000000000000000000000000000000000").unwrap();
        let other = fresh("a9143a7000000000000000000000000000000000").unwrap();

        assert!(one.iter().map(|runs| runs.seeds).sum::<u32>() >= 200);
        assert_ne!(one, other);
        assert!(fresh("HEAD").is_err());
    }
}
