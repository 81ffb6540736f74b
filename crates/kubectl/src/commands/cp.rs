//! `kubectl cp`: tar over exec.

use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use streaming::remotecommand::{self, Reader, Session};
use tokio::sync::mpsc;

use super::exec;
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::fail;
use crate::resource::Info;
use crate::resource::select;

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Local(PathBuf),
    Pod { namespace: Option<String>, pod: String, path: String },
}

/// Reads `[[namespace/]pod:]path`.
fn place(text: &str) -> Result<Place> {
    match text.split_once(':') {
        None => Ok(Place::Local(PathBuf::from(text))),
        Some(("", _)) => fail!("filespec must match the canonical format: [[namespace/]pod:]file/path"),
        Some((pod, path)) => match pod.split('/').collect::<Vec<_>>().as_slice() {
            [pod] => Ok(Place::Pod { namespace: None, pod: (*pod).to_owned(), path: path.to_owned() }),
            [namespace, pod] => Ok(Place::Pod {
                namespace: Some((*namespace).to_owned()),
                pod: (*pod).to_owned(),
                path: path.to_owned(),
            }),
            _ => fail!("filespec must match the canonical format: [[namespace/]pod:]file/path"),
        },
    }
}

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    let [from, to] = cx.args() else { fail!("source and destination are required") };
    match (place(from)?, place(to)?) {
        (Place::Local(local), Place::Pod { namespace, pod, path }) => {
            let pod = target(cx, namespace, &pod).await?;
            upload(cx, &pod, &local, &path).await
        }
        (Place::Pod { namespace, pod, path }, Place::Local(local)) => {
            let pod = target(cx, namespace, &pod).await?;
            download(cx, &pod, &path, &local).await
        }
        (Place::Local(_), Place::Local(_)) => fail!("one of src or dest must be a remote file specification"),
        _ => fail!("one of src or dest must be a local file specification"),
    }
}

async fn target(cx: &Context, namespace: Option<String>, pod: &str) -> Result<Info> {
    let Some(namespace) = namespace else { return select::one(cx, pod, "pods").await };
    let resource = cx.resource("pods").await?;
    let object = cx.client()?.get(&resource.object_path(Some(&namespace), pod)).await?;
    Ok(Info { resource, namespace: Some(namespace), name: pod.to_owned(), object, source: String::new() })
}

async fn finish(mut session: Session, errors: Option<Reader>) -> Result<()> {
    let text = async {
        let mut text = Vec::new();
        if let Some(mut reader) = errors {
            while let Some(bytes) = reader.recv().await {
                text.extend_from_slice(&bytes);
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    let (status, text) = tokio::join!(remotecommand::read_status(&mut session.error), text);
    session.transport.close().await;
    if !text.is_empty() {
        eprint!("{text}");
    }
    match remotecommand::exit_code(&status) {
        Some(0) => Ok(()),
        Some(code) => Err(Error::Exit(code, format!("command terminated with exit code {code}"))),
        None => Err(Error::Plain(status["message"].as_str().unwrap_or("the copy ended unexpectedly").to_owned())),
    }
}

/// A writer into a channel, for code that writes without waiting.
struct Pipe(mpsc::Sender<Bytes>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A reader out of a channel.
struct Drain {
    chunks: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Drain {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunks.blocking_recv() {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let n = into.len().min(self.rest.len());
        into[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}

async fn upload(cx: &Context, pod: &Info, local: &Path, remote: &str) -> Result<()> {
    if !local.exists() {
        fail!("{} doesn't exist in local filesystem", local.display());
    }
    if remote.is_empty() {
        fail!("filepath can not be empty");
    }
    let container = exec::chosen_container(cx, pod)?;
    // A directory that exists in the container takes the file under its own name.
    let exists = exec::session(cx, pod, &container, &["test", "-d", remote], false).await?;
    let into_directory = finish_quietly(exists).await;
    let base = local.canonicalize()?.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let wanted = if into_directory {
        format!("{}/{base}", remote.trim_end_matches('/'))
    } else {
        remote.trim_end_matches('/').to_owned()
    };
    let (directory, name) =
        wanted.rsplit_once('/').map_or((".", wanted.as_str()), |(d, n)| (if d.is_empty() { "/" } else { d }, n));
    let mut command = vec!["tar", "-xmf", "-", "-C", directory];
    if cx.flags.bool("no-preserve") {
        command = vec!["tar", "--no-same-permissions", "--no-same-owner", "-xmf", "-", "-C", directory];
    }
    let mut session = exec::session(cx, pod, &container, &command, true).await?;
    let Some(stdin) = session.stdin.take() else { fail!("the container took no input") };
    let (sender, mut chunks) = mpsc::channel(16);
    let (source, name) = (local.to_owned(), name.to_owned());
    let packed = tokio::task::spawn_blocking(move || pack(&source, &name, Pipe(sender)));
    let feed = async {
        while let Some(bytes) = chunks.recv().await {
            if stdin.write(bytes).await.is_err() {
                return;
            }
        }
        // A tar that has ended early says why on its error output.
        let _ended = stdin.close().await;
    };
    let errors = session.stderr.take();
    let (packed, (), result) = tokio::join!(packed, feed, finish(session, errors));
    result?;
    packed.map_err(|e| Error::Plain(e.to_string()))??;
    Ok(())
}

async fn finish_quietly(mut session: Session) -> bool {
    let status = remotecommand::read_status(&mut session.error).await;
    session.transport.close().await;
    remotecommand::exit_code(&status) == Some(0)
}

fn pack(source: &Path, name: &str, into: Pipe) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(std::io::BufWriter::with_capacity(32 << 10, into));
    archive.follow_symlinks(false);
    if source.is_dir() {
        archive.append_dir_all(name, source)?;
    } else {
        archive.append_path_with_name(source, name)?;
    }
    archive.into_inner()?.flush()
}

async fn download(cx: &Context, pod: &Info, remote: &str, local: &Path) -> Result<()> {
    if remote.is_empty() {
        fail!("filepath can not be empty");
    }
    let container = exec::chosen_container(cx, pod)?;
    let mut session = exec::session(cx, pod, &container, &["tar", "cf", "-", remote], false).await?;
    let Some(chunks) = session.stdout.take() else { fail!("the container gave no output") };
    let prefix = relative(Path::new(remote));
    let target = if local.is_dir() {
        prefix.file_name().map_or_else(|| local.to_owned(), |n| local.join(n))
    } else {
        local.to_owned()
    };
    let unpacked = tokio::task::spawn_blocking(move || unpack(Drain { chunks, rest: Bytes::new() }, &prefix, &target));
    let errors = session.stderr.take();
    let (unpacked, result) = tokio::join!(unpacked, finish(session, errors));
    result?;
    unpacked.map_err(|e| Error::Plain(e.to_string()))?
}

/// A path without its root and without steps upwards: how tar names it, and safe to create.
fn relative(path: &Path) -> PathBuf {
    path.components().filter(|c| matches!(c, Component::Normal(_))).collect()
}

fn unpack(from: Drain, prefix: &Path, target: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = relative(&entry.path()?);
        let Ok(rest) = path.strip_prefix(prefix) else {
            eprintln!("warning: file {:?} is outside target destination, skipping", path.display().to_string());
            continue;
        };
        let into = if rest.as_os_str().is_empty() { target.to_owned() } else { target.join(rest) };
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&into)?,
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                if let Some(parent) = into.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                let mut file = std::fs::File::create(&into)?;
                std::io::copy(&mut entry, &mut file)?;
                if let Ok(mode) = entry.header().mode() {
                    use std::os::unix::fs::PermissionsExt;
                    file.set_permissions(std::fs::Permissions::from_mode(mode & 0o777))?;
                }
            }
            // A link could lead later files out of the target.
            tar::EntryType::Symlink | tar::EntryType::Link => {
                eprintln!("warning: skipping symlink: {:?}", into.display().to_string())
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(place("a/b").unwrap(), Place::Local("a/b".into()));
        assert_eq!(place("p:/x").unwrap(), Place::Pod { namespace: None, pod: "p".into(), path: "/x".into() });
        assert_eq!(
            place("n/p:x").unwrap(),
            Place::Pod { namespace: Some("n".into()), pod: "p".into(), path: "x".into() }
        );
        assert!(place(":x").is_err() && place("a/b/c:x").is_err());
    }

    #[tokio::test]
    async fn what_is_packed_unpacks_inside_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("src"), dir.path().join("out"));
        std::fs::create_dir_all(source.join("sub")).unwrap();
        std::fs::write(source.join("sub/f"), "text").unwrap();
        let (sender, chunks) = mpsc::channel(64);
        let packed = tokio::task::spawn_blocking(move || pack(&source, "data/dir", Pipe(sender)));
        let into = target.clone();
        let unpacked = tokio::task::spawn_blocking(move || {
            unpack(Drain { chunks, rest: Bytes::new() }, Path::new("data/dir"), &into)
        });
        packed.await.unwrap().unwrap();
        unpacked.await.unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(target.join("sub/f")).unwrap(), "text");
        assert_eq!(relative(Path::new("/../a/./../b")), Path::new("a/b"));
    }
}
