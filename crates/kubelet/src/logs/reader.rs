//! Streams one log file: from where was asked for, in the form that was asked for, following it across rotation.

use super::line::{Line, parse};
use api_types::k8s_openapi::jiff::Timestamp;
use bytes::Bytes;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

const BLOCK: usize = 32 * 1024;
/// How often a log that is followed is looked at when it does not grow.
const POLL: Duration = Duration::from_millis(100);
/// Every so many looks the container is asked whether it still runs.
const ALIVE_EVERY: u32 = 10;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Go on while the container runs.
    pub follow: bool,
    /// With the time before each line.
    pub timestamps: bool,
    /// So many lines from the end.
    pub tail: Option<u64>,
    /// So many bytes at most.
    pub limit: Option<u64>,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// One of the two streams only.
    pub stream: Option<&'static str>,
}

/// Turns lines of the file into what the client sees.
struct Formatter<'a> {
    wanted: &'a Wanted,
    left: u64,
    /// A line that is not complete yet.
    rest: Vec<u8>,
    /// The last line goes on.
    within: bool,
}

impl<'a> Formatter<'a> {
    fn new(wanted: &'a Wanted) -> Self {
        Self { wanted, left: wanted.limit.unwrap_or(u64::MAX), rest: Vec::new(), within: false }
    }

    fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Takes in a part of the file; what to send of it.
    fn feed(&mut self, data: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(data);
        let mut out = Vec::new();
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |index| index + 1);
        let complete: Vec<u8> = self.rest.drain(..end).collect();
        for line in complete.split(|byte| *byte == b'\n').filter_map(parse) {
            self.line(&line, &mut out);
        }
        let keep = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        out.truncate(keep);
        self.left -= keep as u64;
        out
    }

    fn line(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        let other = self.wanted.stream.is_some_and(|stream| stream != line.stream);
        let old = self.wanted.since.is_some_and(|since| line.time.parse::<Timestamp>().is_ok_and(|time| time < since));
        if other || old {
            return;
        }
        if self.wanted.timestamps && !self.within {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
        self.within = line.partial;
    }
}

/// Sends what is wanted of the log to `sender`; `alive` says whether the container runs.
pub(crate) async fn stream<F: Future<Output = bool>>(
    path: &Path,
    wanted: &Wanted,
    sender: mpsc::Sender<Bytes>,
    alive: impl Fn() -> F,
) -> io::Result<()> {
    let mut file = File::open(path).await?;
    if let Some(lines) = wanted.tail {
        let start = tail_start(&mut file, lines).await?;
        file.seek(SeekFrom::Start(start)).await?;
    }
    let mut format = Formatter::new(wanted);
    let mut looks = 0_u32;
    let mut running = true;
    loop {
        if copy(&mut file, &mut format, &sender).await? || !wanted.follow {
            return Ok(());
        }
        if let Some(next) = reopened(path, &file).await? {
            // What came between the last read and the rotation.
            copy(&mut file, &mut format, &sender).await?;
            file = next;
            continue;
        }
        // One more read after the end of the container: its last words may have come in between.
        if !running {
            return Ok(());
        }
        looks += 1;
        if looks.is_multiple_of(ALIVE_EVERY) {
            running = alive().await;
        }
        tokio::select! {
            () = sender.closed() => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Copies to the file's present end; whether nothing more is wanted.
async fn copy(file: &mut File, format: &mut Formatter<'_>, sender: &mpsc::Sender<Bytes>) -> io::Result<bool> {
    let mut block = vec![0; BLOCK];
    loop {
        let count = file.read(&mut block).await?;
        if count == 0 {
            return Ok(false);
        }
        let out = format.feed(&block[..count]);
        if !out.is_empty() && sender.send(Bytes::from(out)).await.is_err() {
            return Ok(true);
        }
        if format.is_done() {
            return Ok(true);
        }
    }
}

/// The new file of that name, when the log was rotated.
async fn reopened(path: &Path, file: &File) -> io::Result<Option<File>> {
    let old = file.metadata().await?;
    match tokio::fs::metadata(path).await {
        Ok(now) if now.ino() != old.ino() => Ok(Some(File::open(path).await?)),
        Ok(_) => Ok(None),
        // Between the renaming and the creation of the next.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the last `lines` lines begin.
async fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let size = file.metadata().await?.len();
    if lines == 0 {
        return Ok(size);
    }
    let mut end = size;
    let mut seen = 0;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(part).await?;
        for (index, byte) in part.iter().enumerate().rev() {
            // The newline at the very end ends the last line and begins none.
            if *byte == b'\n' && start + index as u64 + 1 != size {
                seen += 1;
                if seen == lines {
                    return Ok(start + index as u64 + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stderr P tw\n\
                       2026-01-01T00:00:01Z stderr F o\n2026-01-01T00:00:02Z stdout F three\n";

    async fn read(wanted: Wanted) -> String {
        let path =
            std::env::temp_dir().join(format!("kubelet-log-{}-{}", std::process::id(), component_base::rng::suffix(6)));
        tokio::fs::write(&path, LOG).await.unwrap();
        let (sender, mut receiver) = mpsc::channel(16);
        stream(&path, &wanted, sender, || async { false }).await.unwrap();
        tokio::fs::remove_file(&path).await.unwrap();
        let mut out = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            out.extend_from_slice(&chunk);
        }
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn forms() {
        let wanted = Wanted::default;
        assert_eq!(read(wanted()).await, "one\ntwo\nthree\n");
        assert_eq!(read(Wanted { tail: Some(1), ..wanted() }).await, "three\n");
        assert_eq!(read(Wanted { tail: Some(0), ..wanted() }).await, "");
        assert_eq!(read(Wanted { tail: Some(99), limit: Some(5), ..wanted() }).await, "one\nt");
        assert_eq!(
            read(Wanted { timestamps: true, stream: Some("stderr"), ..wanted() }).await,
            "2026-01-01T00:00:01Z two\n"
        );
        let since = "2026-01-01T00:00:01Z".parse().ok();
        assert_eq!(read(Wanted { since, ..wanted() }).await, "two\nthree\n");
        assert_eq!(
            read(Wanted { follow: true, tail: Some(1), ..wanted() }).await,
            "three\n",
            "ends with the container"
        );
    }
}
