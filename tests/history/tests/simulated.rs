//! A few seeds in every run of the tests; `history simulated --runs 1000` has more.

#[test]
fn nothing_is_lost_doubled_or_reordered() {
    for seed in 1..=12 {
        let report = history::simulated::run(seed).expect("everything works again after the faults");
        println!("seed {seed}: {report}; {:?}", report.faults);
        assert!(report.operations > 200 && report.events > 100, "{report}");
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
    }
}
