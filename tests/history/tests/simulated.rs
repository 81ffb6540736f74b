//! A few seeds in every run of the tests; `hack/history simulated --runs 1000` has more.

use history::Report;

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
