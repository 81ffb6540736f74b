//! A few seeds in every run of the tests; `hack/history simulated --runs 1000` has more.

use history::{Report, disk::ForgetfulDisk};

#[test]
fn nothing_is_lost_doubled_or_reordered() {
    let mut total = Report::default();
    for seed in 1..=12 {
        let report = history::simulated::run(seed).expect("everything works again after the faults");
        println!("seed {seed}: {report}; {:?}", report.faults);
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        total.add(report);
    }
    assert!(total.operations > 2000 && total.events > 1000, "too little happened: {total}");
}

/// The runs find what they are there for: a store whose fsync does nothing loses acknowledged writes.
#[test]
fn a_disk_that_lies_is_found_out() {
    let found = (1..=8).any(|seed| {
        history::simulated::run_on(seed, ForgetfulDisk::lying()).is_ok_and(|report| !report.violations.is_empty())
    });
    assert!(found, "the writes that were lost were not missed");
}
