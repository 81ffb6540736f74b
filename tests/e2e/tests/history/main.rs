//! Real API servers, alone or as three on one etcd cluster of three, whose processes are killed while clients work.
//! `hack/history processes` does the same for longer.

mod three;

use history::{Report, processes};

fn check(report: &Report) {
    println!("{report}; {:?}", report.faults);
    assert!(report.operations > 200 && report.events > 20, "too little happened: {report}");
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
}

#[test]
fn embedded_store() {
    check(&processes::run(1, None).expect("everything works again after the faults"));
}

#[test]
fn etcd() {
    let Some(program) = processes::etcd_program() else { return };
    check(&processes::run(2, Some(&program)).expect("everything works again after the faults"));
}
