//! The file that events are written to: rotated by size, old ones forgotten by number and age, as the library of upstream's does it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use jiff::{SignedDuration, civil::DateTime, tz::TimeZone};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Sink;

/// The time in the names of old files, in UTC.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// When requests wait for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each event is written at once; failures are passed over.
    Blocking,
    /// The same, but a request whose arrival can't be written is refused.
    BlockingStrict,
    /// Events are written behind the requests' backs; so many may wait, what comes then is dropped.
    Batch(usize),
}

/// Where events go.
#[derive(Clone, Debug)]
pub struct Options {
    /// `-` stands for the standard output.
    pub path: PathBuf,
    pub mode: Mode,
    /// In MiB, before a file is put away; 0: 100.
    pub max_size: u64,
    /// Old files that are kept; 0: all of them.
    pub max_backups: usize,
    /// Days that old files are kept; 0: for ever.
    pub max_age: u32,
    /// Whether old files are compressed.
    pub compress: bool,
}

/// The open file.
enum Output {
    Standard,
    File { file: File, size: u64 },
}

struct Writer {
    options: Options,
    output: Output,
}

/// The log.
pub struct Log {
    writer: Arc<Mutex<Writer>>,
    mode: Mode,
    queue: mpsc::Sender<Bytes>,
    waiting: Mutex<Option<mpsc::Receiver<Bytes>>>,
    dropped: AtomicU64,
}

impl Log {
    /// Opens the file.
    ///
    /// # Errors
    /// It can't be.
    pub fn open(options: Options) -> io::Result<Log> {
        let mode = options.mode;
        let depth = if let Mode::Batch(depth) = mode { depth.max(1) } else { 1 };
        let (queue, waiting) = mpsc::channel(depth);
        let output = open(&options.path)?;
        let writer = Arc::new(Mutex::new(Writer { options, output }));
        Ok(Log { writer, mode, queue, waiting: Mutex::new(Some(waiting)), dropped: AtomicU64::new(0) })
    }

    /// Writes what waits, until `shutdown` and then to the end.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let Some(mut waiting) = self.waiting.lock().take() else { return };
        loop {
            tokio::select! {
                biased;
                event = waiting.recv() => match event {
                    Some(event) => _ = self.now(&event),
                    None => return,
                },
                () = shutdown.cancelled() => break,
            }
        }
        while let Ok(event) = waiting.try_recv() {
            self.now(&event);
        }
    }

    fn now(&self, event: &[u8]) -> bool {
        let written = self.writer.lock().write(event);
        if let Err(error) = &written {
            tracing::error!(%error, "audit event can't be written");
        }
        written.is_ok()
    }
}

impl Sink for Log {
    fn write(&self, event: Bytes) -> bool {
        match self.mode {
            Mode::Blocking => {
                self.now(&event);
                true
            }
            Mode::BlockingStrict => self.now(&event),
            Mode::Batch(_) => {
                if self.queue.try_send(event).is_err() {
                    let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                    tracing::error!(dropped, "audit events come faster than they are written");
                }
                true
            }
        }
    }
}

fn open(path: &Path) -> io::Result<Output> {
    if path == Path::new("-") {
        return Ok(Output::Standard);
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir)?;
    }
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok(Output::File { file, size })
}

impl Writer {
    fn write(&mut self, event: &[u8]) -> io::Result<()> {
        let most = if self.options.max_size == 0 { 100 } else { self.options.max_size } << 20;
        if let Output::File { size, .. } = &self.output
            && *size > 0
            && size + event.len() as u64 > most
        {
            self.rotate()?;
        }
        match &mut self.output {
            Output::Standard => io::stdout().lock().write_all(event),
            Output::File { file, size } => {
                file.write_all(event)?;
                *size += event.len() as u64;
                Ok(())
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let now = component_base::clock::now();
        let path = &self.options.path;
        let old = backup_name(path, now);
        fs::rename(path, &old)?;
        self.output = open(path)?;
        let options = self.options.clone();
        // Nobody's request waits for what happens to old files.
        std::thread::spawn(move || {
            if let Err(error) = tidy(&options, &old, now) {
                tracing::warn!(%error, "old audit logs can't be tidied");
            }
        });
        Ok(())
    }
}

/// `audit.log` → (`audit-`, `.log`).
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map_or_else(String::new, |extension| format!(".{}", extension.to_string_lossy()));
    (format!("{}-", text(path.file_stem())), extension)
}

fn backup_name(path: &Path, now: jiff::Timestamp) -> PathBuf {
    let (prefix, extension) = parts(path);
    let stamp = now.to_zoned(TimeZone::UTC).strftime(STAMP);
    path.with_file_name(format!("{prefix}{stamp}{extension}"))
}

/// Compresses the file that was put away last, and forgets those that are too old or too many.
fn tidy(options: &Options, newest: &Path, now: jiff::Timestamp) -> io::Result<()> {
    if options.compress {
        compress(newest)?;
    }
    let dir = options.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    for name in forgotten(&names, options, now) {
        fs::remove_file(dir.join(name))?;
    }
    Ok(())
}

/// The old files to delete. Pure.
fn forgotten<'a>(names: &'a [String], options: &Options, now: jiff::Timestamp) -> Vec<&'a str> {
    let (prefix, extension) = parts(&options.path);
    let age = |name: &str| {
        let stamp = name.strip_prefix(&prefix)?;
        let stamp = stamp.strip_suffix(".gz").unwrap_or(stamp).strip_suffix(&extension)?;
        let written = DateTime::strptime(STAMP, stamp).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(now.duration_since(written))
    };
    let mut old: Vec<(SignedDuration, &str)> =
        names.iter().filter_map(|name| Some((age(name)?, name.as_str()))).collect();
    old.sort_unstable();
    let days = SignedDuration::try_from(Duration::from_secs(u64::from(options.max_age) * 24 * 3600));
    let days = days.unwrap_or(SignedDuration::MAX);
    let is_forgotten = |(index, (age, _)): &(usize, &(SignedDuration, &str))| {
        (options.max_backups > 0 && *index >= options.max_backups) || (options.max_age > 0 && *age > days)
    };
    old.iter().enumerate().filter(is_forgotten).map(|(_, (_, name))| *name).collect()
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let mut packed = GzEncoder::new(File::create(&name)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut packed)?;
    packed.finish()?.sync_all()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(path: &Path) -> Options {
        Options {
            path: path.to_owned(),
            mode: Mode::Blocking,
            max_size: 1,
            max_backups: 2,
            max_age: 3,
            compress: false,
        }
    }

    #[test]
    fn old_files_are_forgotten_by_number_and_age() {
        let now: jiff::Timestamp = "2026-05-10T00:00:00Z".parse().expect("a time");
        let options = options(Path::new("/var/log/audit.log"));
        assert_eq!(backup_name(&options.path, now), Path::new("/var/log/audit-2026-05-10T00-00-00.000.log"));
        let names = [
            "audit.log",
            "audit-2026-05-09T00-00-00.000.log",
            "audit-2026-05-08T00-00-00.000.log.gz",
            "audit-2026-05-07T12-00-00.000.log",
            "audit-2026-05-01T00-00-00.000.log",
            "audit-notes.log",
            "other-2026-05-01T00-00-00.000.log",
        ]
        .map(str::to_owned);
        let gone = ["audit-2026-05-07T12-00-00.000.log", "audit-2026-05-01T00-00-00.000.log"];
        assert_eq!(forgotten(&names, &options, now), gone);
        let all = Options { max_backups: 0, ..options.clone() };
        assert_eq!(forgotten(&names, &all, now), gone[1..]);
        assert!(forgotten(&names, &Options { max_age: 0, ..all }, now).is_empty());
    }

    #[test]
    fn files_are_put_away_when_they_are_full() {
        let dir = std::env::temp_dir().join(format!("audit-{}", component_base::rng::uuid()));
        let log = Log::open(options(&dir.join("audit.log"))).expect("opens");
        let event = Bytes::from(vec![b'x'; 600 << 10]);
        assert!(log.write(event.clone()) && log.write(event.clone()));
        let files = fs::read_dir(&dir).expect("a directory").count();
        let size = fs::metadata(dir.join("audit.log")).expect("a file").len();
        assert_eq!((files, size), (2, event.len() as u64));
        fs::remove_dir_all(&dir).expect("is removed");
    }
}
