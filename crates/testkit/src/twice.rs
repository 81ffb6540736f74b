//! Two runs of one test with one seed, in processes of their own: counters and hash seeds that libraries keep per process
//! begin anew in each, and the tests beside it have no part in them.

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use crate::{History, simulate};

/// Where a run leaves its history; set in the processes that are one.
const RESULT: &str = "TESTKIT_HISTORY";

/// Runs `life` twice and compares the histories. `test` is the path of the calling test, as the test runner names it.
///
/// # Panics
/// If a run fails, or the histories differ.
#[track_caller]
pub fn assert_repeats<F>(test: &str, seed: u64, life: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = History>,
{
    if let Some(path) = std::env::var_os(RESULT) {
        let history = simulate(seed, life);
        history.save(Path::new(&path)).expect("the history can be saved");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory for histories");
    let runs = ["one", "two"].map(|name| start(test, dir.path().join(name)));
    let [one, two] = runs.map(|(mut run, path)| {
        let status = run.wait().expect("a run that was started ends");
        assert!(status.success(), "a run of {test} failed: {status}");
        History::load(&path).expect("a run leaves its history")
    });
    assert!(!one.0.is_empty(), "{test} is not the path of this test: nothing was run");
    one.assert_same(&two);
}

fn start(test: &str, path: PathBuf) -> (Child, PathBuf) {
    let program = std::env::current_exe().expect("a running program has a path");
    let run = Command::new(program)
        .args([test, "--exact", "--test-threads=1", "--nocapture"])
        .env(RESULT, &path)
        .spawn()
        .expect("this program can be started again");
    (run, path)
}
