//! Drives a real local cluster from tests: the `keelson` program and `kubectl` as a user would call them.
//!
//! Invariant: looks at the cluster only through its front door; no API client of our own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// A cluster that lives as long as the value.
pub struct Cluster {
    name: String,
    bin_dir: PathBuf,
    kubeconfig: PathBuf,
    keep: bool,
}

/// Which kubectl is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kubectl {
    Ours,
    Upstream,
}

impl Cluster {
    /// Creates the cluster with the binaries beside the running test.
    pub fn up(name: &str, options: &[&str]) -> Result<Self> {
        let bin_dir = bin_dir()?;
        let mut args = vec!["up", "--name", name];
        args.extend(options);
        let kubeconfig = PathBuf::from(format!("/var/lib/keelson/{name}/kubeconfigs/admin.kubeconfig"));
        // From here on dropping the value removes whatever has been made.
        let keep = std::env::var_os("KEELSON_KEEP").is_some();
        let cluster = Cluster { name: name.into(), bin_dir, kubeconfig, keep };
        cluster.keelson(&args)?;
        Ok(cluster)
    }

    /// Runs `keelson` with `args`.
    pub fn keelson(&self, args: &[&str]) -> Result<String> {
        run(Command::new(self.bin_dir.join("keelson")).args(args))
    }

    /// A `keelson` command on this cluster: `stop`, `start`.
    pub fn fault(&self, command: &str, target: &str) -> Result<String> {
        self.keelson(&[command, "--name", &self.name, target])
    }

    /// The command line of `kubectl`, not yet run.
    pub fn command(&self, which: Kubectl, args: &[&str]) -> Command {
        let program = match which {
            Kubectl::Ours => self.bin_dir.join("kubectl"),
            Kubectl::Upstream => PathBuf::from("/usr/bin/kubectl"),
        };
        let mut command = Command::new(program);
        command.args(args).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    /// Runs our kubectl and returns what it prints.
    pub fn kubectl(&self, line: &str) -> Result<String> {
        self.kubectl_of(Kubectl::Ours, line)
    }

    /// Runs a kubectl with the words of `line` (split at spaces; no quoting).
    pub fn kubectl_of(&self, which: Kubectl, line: &str) -> Result<String> {
        run(&mut self.command(which, &line.split_whitespace().collect::<Vec<_>>()))
    }

    pub fn node(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.name)
    }

    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Removes the cluster and says whether that worked.
    pub fn down(mut self) -> Result<()> {
        self.keep = true;
        self.keelson(&["down", "--name", &self.name]).map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = self.keelson(&["down", "--name", &self.name])
        {
            eprintln!("the cluster could not be removed: {error:#}");
        }
    }
}

/// The directory of the binaries: tests run from `<target>/<profile>/deps`.
pub fn bin_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    Ok(exe.parent().and_then(Path::parent).context("the test's own directory")?.to_owned())
}

/// Runs a command; a failure shows the command and all that it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}):\n{}", output.status, text(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Repeats `check` until it succeeds; after `seconds` its last error is the result.
pub fn eventually<T>(seconds: u64, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let tries = seconds * 4;
    for _ in 0..tries {
        if let Ok(value) = check() {
            return Ok(value);
        }
        pause();
    }
    check().with_context(|| format!("not within {seconds} s"))
}

/// A quarter of a second: these tests watch real processes from outside, where there is no clock to pause.
#[allow(clippy::disallowed_methods)]
fn pause() {
    std::thread::sleep(Duration::from_millis(250));
}

/// A process that is killed when the value goes.
pub struct Background(pub Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
