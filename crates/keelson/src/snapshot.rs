//! `keelson snapshot`: what a running API server holds, into a file, and from there into the directory of a new one.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, Result, anyhow};
use futures::AsyncReadExt as _;
use kube::Client;
use storage::snapshot::{PATH, Summary, verify};

/// What is taken from the connection at once.
const CHUNK: usize = 64 << 10;

/// Fetches a snapshot and puts it at `file` when all of it has arrived and is on disk; until then what was there stays.
///
/// # Errors
/// If the server gives none (the user may not, its state is in etcd), or what arrived is not whole.
pub async fn save(client: &Client, file: &Path) -> Result<Summary> {
    let dir = match file.parent() {
        Some(dir) if dir != Path::new("") => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut temporary =
        tempfile::NamedTempFile::new_in(&dir).with_context(|| format!("create a file in {}", dir.display()))?;
    let request = http::Request::get(PATH).body(Vec::new())?;
    let mut body = client.request_stream(request).await.map_err(refused)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = body.read(&mut chunk).await.context("fetch the snapshot")?;
        if read == 0 {
            break;
        }
        temporary.write_all(&chunk[..read]).with_context(|| format!("write in {}", dir.display()))?;
    }
    temporary.as_file().sync_all().with_context(|| format!("write in {}", dir.display()))?;
    let summary = verify(temporary.path()).context("check what the server sent")?;
    temporary.persist(file).with_context(|| format!("create {}", file.display()))?;
    File::open(&dir).and_then(|dir| dir.sync_all()).with_context(|| format!("write {}", dir.display()))?;
    Ok(summary)
}

/// The server's words alone, where it answered.
fn refused(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => anyhow!("the API server gives no snapshot: {}", status.message),
        other => Error::new(other).context("fetch the snapshot"),
    }
}
