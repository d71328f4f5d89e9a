//! Turns: a test that checks times runs alone, also among processes of one test each.

use std::fs::File;
use std::path::Path;

/// A test's turn; the next one's begins when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: File,
}

/// Waits until no other test runs, and keeps it so.
pub(crate) fn alone() -> Turn {
    let file = file();
    file.lock().expect("the lock of the tests");
    Turn { _lock: file }
}

/// Waits until no test runs that must be alone. Others may run beside this one.
pub(crate) fn beside_others() -> Turn {
    let file = file();
    file.lock_shared().expect("the lock of the tests");
    Turn { _lock: file }
}

fn file() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e.lock");
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
}
