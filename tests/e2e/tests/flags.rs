//! Command lines: every daemon takes all of upstream's flags, and says in one line what is wrong with the others.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const DAEMONS: [&str; 5] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];

fn binary(name: &str) -> PathBuf {
    e2e_tests::bin_dir().expect("the test's directory").join(name)
}

/// A value that upstream takes for a flag of this type.
fn sample(kind: &str) -> &'static str {
    match kind {
        "" | "RuntimeDefault" => "true",
        "int" | "int32" | "Level" => "1",
        "float" | "float32" => "1.5",
        "duration" => "1m30s",
        "ip" => "127.0.0.1",
        "ipport" => "127.0.0.1:1000",
        "mapStringString" | "stringToString" => "a=b",
        "mapStringBool" | "colonSeparatedMultimapStringString" => "A=true",
        _ => "x",
    }
}

#[test]
fn all_of_upstreams_flags_are_accepted() -> Result<()> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference");
    let reference = std::env::var("KEELSON_REFERENCE").unwrap_or_else(|_| default.into());
    for daemon in DAEMONS {
        let Ok(text) = std::fs::read_to_string(format!("{reference}/flags/{daemon}.json")) else {
            eprintln!("SKIPPED: {reference} has no list of upstream's flags");
            return Ok(());
        };
        let flags: Vec<Value> = serde_json::from_str(&text)?;
        let given = flags.iter().filter_map(|f| {
            let (name, kind) = (f["flag"].as_str()?, f["type"].as_str()?);
            (name != "help" && name != "version").then(|| format!("--{name}={}", sample(kind)))
        });
        // With --version a daemon parses everything, prints, and ends.
        let output = Command::new(binary(daemon)).args(given).arg("--version").output()?;
        ensure!(output.status.success(), "{daemon}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn a_wrong_command_line_is_one_line() -> Result<()> {
    let cases = [
        ("kube-scheduler", "--leader-elekt", "unknown flag: --leader-elekt (did you mean --leader-elect?)"),
        ("kube-apiserver", "--secure-port=x", "invalid argument \"x\" for \"--secure-port\" flag"),
        (
            "kube-controller-manager",
            "--node-monitor-period=5",
            "invalid argument \"5\" for \"--node-monitor-period\" flag",
        ),
        ("kubelet", "--node-ipp=1", "unknown flag: --node-ipp (did you mean --node-ip?)"),
        ("kube-proxy", "--bind-address=1.2.3", "invalid argument \"1.2.3\" for \"--bind-address\" flag"),
        ("cloud-controller-manager", "--cloud-provider=nowhere", "nowhere"),
    ];
    for (daemon, argument, expected) in cases {
        let output = Command::new(binary(daemon)).arg(argument).output()?;
        let text = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(1), "{daemon} {argument}: {}", output.status);
        let line = text.lines().last().context("no error text")?;
        ensure!(line.contains(expected), "{daemon} {argument}: {text}");
    }
    Ok(())
}
