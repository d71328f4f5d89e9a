//! Who imports whom, compared with the table.

use cargo_metadata::{DependencyKind, Metadata};

use super::Finding;
use super::table::{EXCEPTIONS, IMPURE, Kind, row};

/// What one package of ours imports directly.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    name: String,
    imports: Vec<Import>,
}

/// One import.
#[derive(Clone, Debug)]
struct Import {
    name: String,
    /// It is a package of ours.
    ours: bool,
    /// Only tests need it.
    for_tests: bool,
    features: Vec<String>,
}

/// Takes what matters from what cargo says; what only build scripts import is not part of a crate.
pub(crate) fn read(metadata: &Metadata) -> Vec<Package> {
    let packages = metadata.workspace_packages().into_iter();
    packages
        .map(|package| Package {
            name: package.name.to_string(),
            imports: package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind != DependencyKind::Build)
                .map(|dependency| Import {
                    name: dependency.name.clone(),
                    ours: dependency.path.is_some(),
                    for_tests: dependency.kind == DependencyKind::Development,
                    features: dependency.features.clone(),
                })
                .collect(),
        })
        .collect()
}

/// Compares packages with the table.
pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let name = package.name.as_str();
    let Some(row) = row(name) else {
        return vec![Finding::new(
            name,
            "is not in the table of imports; add a row where it belongs",
        )];
    };
    let refused = |import: &&Import| match (import.ours, import.for_tests) {
        (true, true) => import.name != "testkit" && !row.may_import(&import.name),
        (true, false) => {
            !row.may_import(&import.name)
                || (row.kind == Kind::Pure && import.features.iter().any(|f| f == "grpc"))
        }
        (false, true) => false,
        (false, false) => row.kind == Kind::Pure && is_impure(name, &import.name),
    };
    package
        .imports
        .iter()
        .filter(refused)
        .map(|import| Finding::new(name, format!("must not import `{}`", import.name)))
        .collect()
}

fn is_impure(package: &str, import: &str) -> bool {
    let banned = IMPURE.iter().any(|banned| {
        import
            .strip_prefix(banned)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    });
    banned && !EXCEPTIONS.contains(&(package, import))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, import: &str, ours: bool, for_tests: bool) -> Vec<Finding> {
        check(&[Package {
            name: name.to_owned(),
            imports: vec![Import {
                name: import.to_owned(),
                ours,
                for_tests,
                features: Vec::new(),
            }],
        }])
    }

    #[test]
    fn a_protocol_that_imports_another_is_found() {
        assert_eq!(findings("overlay", "statemachine", true, false), []);
        assert_eq!(
            findings("overlay", "gossip", true, false),
            [Finding::new("overlay", "must not import `gossip`")]
        );
    }

    #[test]
    fn an_effect_that_imports_another_is_found_also_in_its_tests() {
        assert_eq!(findings("uplink", "engine", true, false), []);
        assert_eq!(findings("uplink", "store", true, true).len(), 1);
        assert_eq!(findings("store", "testkit", true, true), []);
        assert_eq!(findings("store", "testkit", true, false).len(), 1);
    }

    #[test]
    fn a_pure_crate_that_imports_a_runtime_or_entropy_is_found() {
        for import in [
            "tokio",
            "tokio-util",
            "libp2p-core",
            "rand",
            "sled",
            "rustix",
        ] {
            assert_eq!(
                findings("gossip", import, false, false).len(),
                1,
                "{import}"
            );
            assert_eq!(findings("swarm", import, false, false), [], "{import}");
        }
        assert_eq!(findings("gossip", "bytes", false, false), []);
        assert_eq!(findings("statemachine", "rand_chacha", false, false), []);
    }

    #[test]
    fn a_pure_crate_that_turns_the_stubs_on_is_found() {
        let with = |features: &[&str]| {
            check(&[Package {
                name: "wire".to_owned(),
                imports: vec![Import {
                    name: "proto".to_owned(),
                    ours: true,
                    for_tests: false,
                    features: features.iter().map(|f| (*f).to_owned()).collect(),
                }],
            }])
        };

        assert_eq!(with(&[]), []);
        assert_eq!(with(&["grpc"]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let package = Package {
            name: "misc".to_owned(),
            imports: Vec::new(),
        };

        assert_eq!(check(&[package]).len(), 1);
    }
}
